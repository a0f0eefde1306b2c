// Snapshots along a run, in bounded memory: where there are too many, every second one is dropped.

const MAX_SNAPSHOTS = 100;
const MAX_BYTES = 96e6;
const PER_RUN = 50;
const FARTHEST = 20; // snapshots of a run at first; most steps between two of them at first

function bytesOfSnapshot({parameters, slots, bestParameters}) {
  return parameters.byteLength + slots.byteLength + (bestParameters?.byteLength ?? 0);
}

export class History {
  /** steps: of the whole run, over which the first snapshots are spread. */
  constructor(steps) {
    this.distance = Math.min(Math.max(1, Math.floor(steps / PER_RUN)), FARTHEST);
    this.snapshots = [];
  }

  /** Their steps, in order. */
  get steps() {
    return this.snapshots.map(({step}) => step);
  }

  get last() {
    return this.snapshots.at(-1);
  }

  /** The number of steps after `done` until a snapshot is due. */
  stepsUntil(done) {
    return this.distance - (done % this.distance);
  }

  isDue(done) {
    return done % this.distance === 0;
  }

  /** Keep a snapshot; it replaces one of the same step. The first and the last are always kept. */
  add(snapshot) {
    this.snapshots = [...this.snapshots.filter(({step}) => step !== snapshot.step), snapshot];
    this.snapshots.sort((a, b) => a.step - b.step);
    const bytes = this.snapshots.reduce((sum, one) => sum + bytesOfSnapshot(one), 0);
    if (this.snapshots.length > MAX_SNAPSHOTS || (bytes > MAX_BYTES && this.snapshots.length > 2))
      this.thin();
  }

  thin() {
    const [first, last] = [this.snapshots[0], this.last];
    let left = this.snapshots;
    while (left.length > 2 && left.length > this.snapshots.length / 2) {
      this.distance *= 2;
      left = this.snapshots.filter((one) => one === first || one === last || one.step % this.distance === 0);
    }
    this.snapshots = left;
  }

  /** The snapshot at or before a step; the first where there is none. */
  before(step) {
    return this.snapshots.findLast((one) => one.step <= step) ?? this.snapshots[0];
  }

  /** Forget what came after a step. */
  dropAfter(step) {
    this.snapshots = this.snapshots.filter((one) => one.step <= step);
  }
}
