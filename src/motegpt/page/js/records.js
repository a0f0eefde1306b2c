// What a run reports and when: logged steps, means of the losses, records, as in src/motegpt/training.

const TAIL_FRACTION = 0.1;
const MIN_TAIL_STEPS = 100; // the last steps of a run, by which Python finds divergence
const MAX_RECORDS = 20000; // in memory; beyond them every second one is dropped

/** Whether an event with this interval follows the step counted from 0. */
function isLogged(train, every, step) {
  return (step + train.count_from) % every === 0 || step === 0 || step === train.steps - 1;
}

/** Whether an event with this interval (null: never) follows step number `done`, counted from 1. */
export function isDueAfter(train, every, done) {
  return every !== null && isLogged(train, every, done - 1);
}

/** The number of steps after `done` until an event with this interval. */
export function stepsUntil(train, every, done) {
  if (done === 0) return 1;
  const next = done + ((every - ((done + train.count_from) % every)) % every);
  return Math.min(next, train.steps - 1) + 1 - done;
}

/** Of the steps start … start + count - 1, those with a record. */
export function loggedSteps(train, start, count) {
  const {log_every: every} = train;
  const found = [];
  if (start === 0 && count) found.push(0);
  for (let step = Math.max(start, 1); step < start + count;) {
    const next = step + stepsUntil(train, every, step) - 1;
    if (next < start + count) found.push(next);
    step = next + 1;
  }
  return found;
}

function extended({value, count}, values) {
  for (const one of values) value += (one - value) / ++count;
  return {value, count};
}

const NO_MEAN = {value: 0, count: 0};
export const NO_LOSSES = {recent: NO_MEAN, tail: NO_MEAN};

/** {losses, means}: the means after the steps from `start` on, and the mean of each record. */
export function lossesAfter(before, train, start, losses, logged) {
  let first = 0;
  let {recent} = before;
  const means = logged.map((step) => {
    const mean = extended(recent, losses.subarray(first, step - start + 1)).value;
    [first, recent] = [step - start + 1, NO_MEAN];
    return mean;
  });
  recent = extended(recent, losses.subarray(first));
  const tailStart = Math.max(
    0,
    train.steps - Math.max(MIN_TAIL_STEPS, Math.ceil(TAIL_FRACTION * train.steps)),
  );
  const offset = tailStart - start;
  const tail = extended(offset >= 0 ? NO_MEAN : before.tail, losses.subarray(Math.max(0, offset)));
  return {losses: {recent, tail}, means};
}

/** The records, or every second of them and the last where there are too many. */
export function boundedRecords(records) {
  return records.length <= MAX_RECORDS
    ? records
    : records.filter((_, i) => i % 2 === 0 || i === records.length - 1);
}
