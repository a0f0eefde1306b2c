// A model in training and everything that one can do with it. No DOM, no worker: worker.js calls it by name.

import {stateOfBootRun} from "./boot_run.js";
import {readDocuments} from "./data.js";
import {describeRun} from "./describe.js";
import {listOfRun, readRun, runFiles, sourceInMemory} from "./files.js";
import {requestOf} from "./generation.js";
import {History} from "./history.js";
import {causeInGeneral, lookInto} from "./inspect.js";
import {TrainingRun, prepareRun} from "./run.js";
import {checkReading} from "./settings.js";
import {parameterValues, slowMotion} from "./update.js";
import {zipOf} from "./zip.js";

const MAX_TEXTS = 1000;

/** One model at a time. Whatever fails leaves the model as it was. */
export class Session {
  /** boot: with presets and fields, and the built-in lists if there are any. */
  constructor(core, boot) {
    Object.assign(this, {core, boot, run: null});
  }

  /**
   * A new model of {settings, list}, or a trained one: {run} as in boot.run, perhaps with a list. ->
   * Description
   */
  create({settings, list, run}) {
    if (!run) return this.open(prepareRun(this.core, this.boot, {settings, list}));
    const state = stateOfBootRun(run, this.boot);
    if (!list) return this.open(new TrainingRun(this.core, state));
    const found = this.withList(state, list);
    const config = {...state.config, source: sourceInMemory(found.documents)};
    return this.open(new TrainingRun(this.core, {...state, ...found, config}));
  }

  /** The documents of a list for a trained model, which has to know all of its characters. */
  withList({config, tokenizer}, list) {
    checkReading(config.data);
    const documents = readDocuments(list, config.data);
    for (const document of documents) {
      try {
        tokenizer.encode(document);
      } catch (error) {
        throw new Error(error.message.replace(/^text/, "list"));
      }
    }
    return {documents, list};
  }

  open(run) {
    const history = new History(run.config.train.steps);
    history.add(run.snapshot());
    if (this.run !== run) this.run?.free();
    Object.assign(this, {run, history, head: run.done, edits: [], pending: [], validations: [], sampled: []});
    this.beginning = run.done === 0 ? history.last : null;
    return describeRun(run);
  }

  /** This session, if it has a model. */
  get ready() {
    if (!this.run) throw new Error("session: expected a model, got none; create one first");
    return this;
  }

  /** Throws unless the model can be trained further. */
  checkTrains() {
    const {run} = this;
    if (!this.ready.run.plan)
      throw new Error("list: expected the list of this run to train it further, got none; add it");
    if (run.whyNoStep) throw new Error(run.whyNoStep);
    if (run.ended) {
      throw new Error(
        `steps: the run has done all its ${run.done} steps; set more \`steps\`, or start again`,
      );
    }
  }

  /**
   * Do at most `limit` steps, up to the next event: evaluation, samples, snapshot, the end. What came after
   * the step viewed is forgotten. Returns the number of steps done.
   */
  advance(limit) {
    this.checkTrains();
    const {run, history} = this;
    this.forgetLater();
    const before = run.done;
    const count = Math.min(limit, run.stepsUntilEvent(), history.stepsUntil(before));
    try {
      const {first, losses, validation, texts} = run.advance(count);
      this.pending.push({first, losses});
      if (validation !== null) this.validations.push({step: run.done, loss: validation});
      if (texts)
        this.sampled.push({step: run.done, ...this.marked(texts.map((text) => ({text, cut: false})))});
    } catch (error) {
      run.restore(history.before(before));
      this.head = run.done;
      throw error;
    }
    this.head = run.done;
    if (history.isDue(run.done) || run.ended) history.add(run.snapshot());
    return count;
  }

  /** What came after the step viewed is no longer; what was edited in it is where training goes on. */
  forgetLater() {
    const {run, history} = this;
    history.dropAfter(run.done);
    if (this.edits.length) this.keepPresent();
    this.head = run.done;
    this.edits = [];
  }

  /** The present state among the snapshots, edits included. */
  keepPresent() {
    this.history.add(this.run.snapshot());
  }

  /** Do n steps. -> progress */
  step({n = 1} = {}) {
    if (!(Number.isInteger(n) && n >= 1))
      throw new Error(`step: expected a number of steps of at least 1, got ${n}`);
    this.checkTrains();
    for (let left = n; left > 0 && !this.run.ended;) left -= this.advance(left);
    return this.progress();
  }

  /** What happened since it was last asked for: losses, validation, snapshots. */
  progress() {
    const {run, pending} = this.ready;
    const total = pending.reduce((sum, {losses}) => sum + losses.length, 0);
    const losses = new Float64Array(total);
    let at = 0;
    for (const part of pending) {
      losses.set(part.losses, at);
      at += part.losses.length;
    }
    const first = pending[0]?.first ?? run.done;
    const {validations: validation} = this;
    this.pending = [];
    this.validations = [];
    return {
      step: run.done,
      last: this.head,
      first,
      losses,
      validation,
      snapshots: this.history.steps,
      ended: run.ended,
      tokens: run.plan ? run.plan.tokensBefore(run.done) : 0,
    };
  }

  /** Samples that were due with the run's generator since they were last asked for. */
  takeSamples() {
    const {sampled} = this;
    this.sampled = [];
    return sampled;
  }

  /** The same model again from step 0, without edits. -> Description */
  restart() {
    const {run, beginning} = this.ready;
    const {config, tokenizer, documents, list, average, carried, contexts} = run;
    if (beginning) {
      run.restore(beginning);
      return this.open(run);
    }
    if (!run.plan)
      throw new Error("restart: expected the list of this run to begin it again, got none; add it");
    return this.open(
      new TrainingRun(this.core, {config, tokenizer, documents, list, average, carried, contexts}),
    );
  }

  /** Move to the snapshot at or before a step. -> {step, last} */
  seek({step}) {
    const {run, history} = this.ready;
    if (!Number.isFinite(step)) throw new Error(`seek: expected a step, got ${step}`);
    if (run.done === this.head) this.keepPresent();
    run.restore(history.before(step));
    this.edits = [];
    return {step: run.done, last: this.head};
  }

  /** Run `act` at the snapshot at or before `step`; null: at the step viewed. */
  at(step, act) {
    if (step === undefined || step === null) return act();
    const present = this.run.snapshot();
    this.run.restore(this.history.before(step));
    try {
      return act();
    } finally {
      this.run.restore(present);
    }
  }

  /** See lookInto. at: a step to look at instead of the one viewed. */
  look({text = "", mask, at}) {
    return this.ready.at(at, () => lookInto(this.run, text, mask));
  }

  /** What a mask changes: {before, after} for a text, and in general. */
  cause({text = "", mask = {}}) {
    const {run} = this.ready;
    return {
      before: lookInto(run, text),
      after: lookInto(run, text, mask),
      validation: causeInGeneral(run, mask),
    };
  }

  /** {step, kind, values (P)}; see parameterValues. */
  weights({kind = "weights", text}) {
    const {run} = this.ready;
    return {step: run.done, kind, values: parameterValues(run, kind, text)};
  }

  /** The next step as frames; the model stays as it is. */
  slow() {
    return slowMotion(this.ready.run);
  }

  /** Set one weight of the model. -> {index, before, value} */
  edit({index, value}) {
    const {model} = this.ready.run;
    if (!(Number.isInteger(index) && index >= 0 && index < model.size)) {
      throw new Error(`edit: expected the index of one of ${model.size} weights, got ${index}`);
    }
    if (typeof value !== "number" || !Number.isFinite(Math.fround(value)))
      throw new Error(`edit: expected a finite number, got ${value}`);
    const entry = {index, before: this.writeWeight(index, value), value};
    this.edits.push(entry);
    return entry;
  }

  /** Take the last edit back; null where there is none. */
  undo() {
    const entry = this.ready.edits.pop();
    if (!entry) return null;
    this.writeWeight(entry.index, entry.before);
    return entry;
  }

  writeWeight(index, value) {
    const {model} = this.run;
    const parameters = model.parameters();
    const before = parameters[index];
    parameters[index] = value;
    model.load(parameters, model.slots());
    return before;
  }

  /**
   * Texts of independent generators, as `motegpt sample --seed`. -> {step, texts: [{text, known, cut}],
   * share}
   */
  sample({n = 20, temperature, seed = 0, prefix = "", top_k = null, top_p = null, min_p = null} = {}) {
    const {run} = this.ready;
    const {tokenizer, config} = run;
    if (!(Number.isInteger(n) && n >= 1 && n <= MAX_TEXTS))
      throw new Error(`n: expected 1 to ${MAX_TEXTS} samples, got ${n}`);
    const heat = temperature ?? config.sample.temperature;
    if (!(heat >= 0 && heat < Infinity))
      throw new Error(`temperature: expected a number of at least 0, got ${heat}`);
    const request = {
      ...requestOf(prefix, tokenizer, config.model.block_size),
      temperature: heat,
      n_grams: run.nGrams,
    };
    for (const [name, value] of Object.entries({top_k, top_p, min_p}))
      if (value !== null) request[name] = value;
    const states = BigUint64Array.from({length: n}, (_, i) => this.core.stream(seed, i));
    const drawn = run.model.generate(request, states);
    const texts = drawn.map((ids) => ({
      text: prefix + tokenizer.decode(ids),
      cut: ids.length === request.max,
    }));
    return {step: run.done, ...this.marked(texts)};
  }

  /** Texts with whether the list has them, and the share that it has; null where the list is not known. */
  marked(texts) {
    const {known, config} = this.run;
    const isStream = config.data.format === "stream";
    if (!known) return {texts: texts.map((one) => ({...one, known: null})), share: null};
    const has = ({text}) => (isStream ? [...known].some((whole) => whole.includes(text)) : known.has(text));
    const all = texts.map((one) => ({...one, known: has(one)}));
    return {texts: all, share: all.filter((one) => one.known).length / Math.max(1, all.length)};
  }

  /**
   * The samples that `motegpt train` prints at the end, with the generator of the run; the run stays as it
   * is.
   */
  finish() {
    const {run} = this.ready;
    const texts = run.finalTexts();
    return {step: run.done, ...this.marked(texts.map((text) => ({text, cut: false})))};
  }

  /** The run folder of the step viewed, which `motegpt sample` reads. -> {files, zip} */
  export({name = "run"} = {}) {
    const {run} = this.ready;
    if (run.average && !run.carried.length) {
      throw new Error(
        "export: the page has the n-grams of this run only in the form in which it generates; keep its " +
          "folder",
      );
    }
    const files = runFiles(run.state());
    const folder = name.replace(/[^\p{L}\p{N} ._-]/gu, "_").replace(/^\.+/, "") || "run";
    return {files, zip: zipOf(files.map((file) => ({...file, name: `${folder}/${file.name}`})))};
  }

  /** Open a run folder: its files, or a zip of them. -> Description with list, step, losses and validation */
  async import({files}) {
    const state = await readRun(files, this.boot);
    const {config} = state;
    const documentsOf = (list) => {
      try {
        return this.withList(state, list).documents;
      } catch {
        return null;
      }
    };
    const builtIn = (this.boot.lists ?? []).map(({name, text}) => ({
      name,
      bytes: new TextEncoder().encode(text),
    }));
    const list = listOfRun([...state.others, ...builtIn], config.source, documentsOf);
    const found = state.rng && list && documentsOf(list) ? this.withList(state, list) : {};
    const description = this.open(new TrainingRun(this.core, {...state, ...found}));
    const text = list && new TextDecoder().decode(list.bytes);
    const {metrics, done} = state;
    const validation = metrics.filter(({val_loss: loss}) => loss !== undefined);
    return {
      ...description,
      list: list && {name: list.name, text},
      losses: spreadLosses(metrics, done),
      validation: validation.map(({step, val_loss: loss}) => ({step, loss})),
    };
  }

  free() {
    this.run?.free();
    this.run = null;
  }
}

/** A loss for each of the first `done` steps: the mean that was recorded for it. */
function spreadLosses(metrics, done) {
  const losses = new Float64Array(done);
  let at = 0;
  for (const {step, mean_loss: mean, loss} of metrics) {
    losses.fill(mean ?? loss, at, step);
    at = step;
  }
  return losses.subarray(0, at).slice();
}
