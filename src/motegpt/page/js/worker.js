// Messages -> Session: {id, do: name, ...arguments} -> {id, ok} | {id, error: sentence} | {id, stale:
// true}, and events {event: "progress" | "samples" | "failed", …}. Trains in chunks of about 12 ms between
// messages.

import {loadCore} from "./core.js";
import {Session} from "./session.js";

const CHUNK_MS = 12;
const FRAME_MS = 1000 / 60;
const PROGRESS_MS = 1000 / 30;
const SAMPLES_MS = 1000;
const LIVE_SAMPLES = 10;
const MOST_STEPS = 1 << 20;
const REPLACED = new Set(["look", "cause", "weights"]); // of several that wait, only the last is answered
const ACTIONS = new Set([
  "create",
  "step",
  "restart",
  "look",
  "cause",
  "weights",
  "edit",
  "undo",
  "sample",
  "finish",
  "seek",
  "slow",
  "export",
  "import",
  "progress",
]);
const PAUSING = new Set(["create", "restart", "seek", "import", "edit"]);

/** The buffers in a value that can be handed over instead of copied. */
function buffersIn(value, found = new Set()) {
  if (ArrayBuffer.isView(value)) {
    const whole = value.byteOffset === 0 && value.byteLength === value.buffer.byteLength;
    if (whole) found.add(value.buffer);
  } else if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) buffersIn(part, found);
  }
  return found;
}

/** A session behind messages. post(message, buffers): to the page. */
export class Host {
  constructor(post, now = () => performance.now()) {
    Object.assign(this, {post, now, session: null, queue: [], running: false, stepsPerFrame: Infinity});
    Object.assign(this, {chunk: 1, credit: 0, paced: 0, progressAt: 0, samplesAt: 0, scheduled: false});
    this.channel = new MessageChannel();
    this.channel.port1.onmessage = () => this.tick();
  }

  /** Take a message of the page. */
  receive(message) {
    this.queue.push(message);
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    this.channel.port2.postMessage(null);
  }

  /** Answer what waits, then train a chunk. */
  async tick() {
    const waiting = this.queue;
    this.queue = [];
    for (let i = 0; i < waiting.length; i++) {
      const isStale =
        REPLACED.has(waiting[i].do) &&
        waiting.some((other, j) => j > i && other.do === waiting[i].do && other.kind === waiting[i].kind);
      if (isStale) this.post({id: waiting[i].id, stale: true}, []);
      else await this.answer(waiting[i]);
    }
    if (this.running) this.train();
    this.scheduled = false;
    if (this.queue.length) this.schedule();
    else if (this.running) this.continue();
  }

  /** The next chunk: at once, or where the pace says so after a frame. */
  continue() {
    if (Number.isFinite(this.stepsPerFrame)) setTimeout(() => this.schedule(), FRAME_MS / 2);
    else this.schedule();
  }

  async answer({id, do: name, ...given}) {
    try {
      const ok = (await this.act(name, given)) ?? null;
      this.post({id, ok}, [...buffersIn(ok)]);
    } catch (error) {
      this.post({id, error: error.message}, []);
    }
  }

  async act(name, given) {
    if (name === "start") {
      this.session = new Session(await loadCore(given.module), given.boot);
      return null;
    }
    if (!this.session) throw new Error("session: expected the message start first");
    if (name === "run") return this.start(given);
    if (name === "pause") return this.stop();
    if (!ACTIONS.has(name))
      throw new Error(`session: expected one of ${[...ACTIONS].join(", ")}, got ${name}`);
    if (PAUSING.has(name)) this.stop();
    const result = await this.session[name](given);
    if (name === "step") this.reportSamples();
    return name === "step" ? {...result, running: false, stepsPerSecond: 0, tokensPerSecond: 0} : result;
  }

  start({stepsPerFrame = Infinity}) {
    const pace = stepsPerFrame ?? Infinity;
    if (!(pace > 0)) throw new Error(`stepsPerFrame: expected a number above 0, got ${pace}`);
    this.session.checkTrains();
    this.stepsPerFrame = pace;
    if (!this.running) {
      Object.assign(this, {running: true, credit: 1, paced: this.now(), samplesAt: this.now()});
      this.mark = {at: this.now(), step: this.session.run.done, tokens: this.session.progress().tokens};
    }
    return null;
  }

  stop() {
    if (!this.running) return null;
    this.running = false;
    this.report();
    this.reportSamples(true);
    return null;
  }

  /** The number of steps that the pace allows now. */
  allowed() {
    if (!Number.isFinite(this.stepsPerFrame)) return MOST_STEPS;
    const now = this.now();
    this.credit = Math.min(
      this.credit + ((now - this.paced) / FRAME_MS) * this.stepsPerFrame,
      10 * this.stepsPerFrame + 1,
    );
    this.paced = now;
    return Math.floor(this.credit);
  }

  /** Train for about CHUNK_MS. */
  train() {
    const start = this.now();
    const {session} = this;
    let left = this.allowed();
    try {
      while (left > 0 && !session.run.ended && this.now() - start < CHUNK_MS) {
        const begun = this.now();
        const done = session.advance(Math.min(left, this.chunk));
        const fitting = (done * CHUNK_MS) / Math.max(this.now() - begun, 0.01);
        this.chunk = Math.max(1, Math.min(Math.floor(fitting), 8 * this.chunk, MOST_STEPS));
        left -= done;
        this.credit -= done;
      }
    } catch (error) {
      this.running = false;
      this.post({event: "failed", error: error.message}, []);
      this.report();
      return;
    }
    if (session.run.ended) this.stop();
    else if (this.now() - this.progressAt >= PROGRESS_MS) this.report();
    if (this.running) this.reportSamples(this.now() - this.samplesAt >= SAMPLES_MS);
  }

  report() {
    const progress = this.session.progress();
    const now = this.now();
    const {mark} = this;
    const seconds = Math.max(now - mark.at, 1) / 1000;
    const rate = (end, start) => Math.max(0, end - start) / seconds;
    const speeds = {
      stepsPerSecond: rate(progress.step, mark.step),
      tokensPerSecond: rate(progress.tokens, mark.tokens),
    };
    if (now - mark.at > 1000) this.mark = {at: now, step: progress.step, tokens: progress.tokens};
    this.progressAt = now;
    const event = {event: "progress", ...progress, ...speeds, running: this.running};
    this.post(event, [event.losses.buffer]);
  }

  /** Samples that were due with the run's generator; live ones if asked for. */
  reportSamples(live = false) {
    for (const one of this.session.takeSamples()) this.post({event: "samples", ofRun: true, ...one}, []);
    if (!live) return;
    this.samplesAt = this.now();
    const {seed} = this.session.run.config.train;
    this.post({event: "samples", ofRun: false, ...this.session.sample({n: LIVE_SAMPLES, seed})}, []);
  }
}

/** Serve the page that started this worker. */
function serveWorker(scope) {
  const host = new Host((message, buffers) => scope.postMessage(message, buffers));
  scope.onmessage = ({data}) => host.receive(data);
}

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope)
  serveWorker(globalThis);
