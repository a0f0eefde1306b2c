// A training in memory: what src/motegpt/training/build.py and loop.py do for a list in the page.

import {Tokenizer, readDocuments, splitDocuments} from "./data.js";
import {slotNames, sourceOf} from "./files.js";
import {checkGeneration, generateSequentially, requestOf} from "./generation.js";
import {DocumentPlan, WindowPlan, trainingSequences} from "./plan.js";
import {NO_LOSSES, boundedRecords, isDueAfter, loggedSteps, lossesAfter, stepsUntil} from "./records.js";
import {checkForPage, completeSettings, sectionsOf, whyNoStep} from "./settings.js";
import {initialize, specificationOf} from "./spec.js";
import {ValidationSample} from "./validation.js";

/** A new run of a list. request: {settings, list}; boot: with presets, fields and lists. */
export function prepareRun(core, boot, {settings: changes, list}) {
  const settings = completeSettings(changes ?? {}, boot);
  if (!list) throw new Error("list: expected a text with one document per line, got none");
  checkForPage(settings, 2);
  const documents = readDocuments(list, settings);
  const tokenizer = Tokenizer.learn(documents, settings);
  checkForPage(settings, tokenizer.vocab_size);
  requestOf(settings.prefix, tokenizer, settings.block_size);
  const found = {vocab_size: tokenizer.vocab_size, ngram_rows: []};
  const isBuiltIn = boot.lists?.[0] !== undefined && boot.lists[0].text === list.text;
  const config = {
    engine: "native",
    ...sectionsOf(settings, boot.fields, found),
    source: sourceOf(list, documents.length, isBuiltIn),
    check: null,
    fits_weight: false,
  };
  return new TrainingRun(core, {config, tokenizer, documents, list});
}

/** One training: model, plan, generator, losses. */
export class TrainingRun {
  /**
   * state: {config, tokenizer, documents, list} of a new run; of a saved one also parameters, slots, done,
   * rng, best, bestParameters, losses, metrics, contexts, average, carried. documents: null where the list
   * is not known.
   */
  constructor(core, state) {
    const {config, tokenizer, documents = null, list = null} = state;
    const {model, train, data} = config;
    Object.assign(this, {
      core,
      config,
      tokenizer,
      documents,
      list,
      training: [],
      validation: [],
      sample: null,
    });
    this.rng = core.random(train.rng, train.seed);
    this.plan = documents ? this.planOf(splitDocuments(documents, data, train.seed), data) : null;
    this.model = core.model(specificationOf(model, state.contexts ?? []), {
      dtype: train.dtype,
      optimizer: train.optimizer,
    });
    try {
      this.restore({
        step: state.done ?? 0,
        parameters: state.parameters ?? initialize(model, this.rng),
        slots: state.slots ?? null,
        rng: state.rng ?? this.rng.state(),
        losses: state.losses ?? NO_LOSSES,
        best: state.best ?? null,
        bestParameters: state.bestParameters ?? null,
        metrics: state.metrics ?? [],
      });
      this.average = state.average ?? null;
      this.nGrams = this.average && {tables: core.nGrams(this.average), weight: this.average.weight};
    } catch (error) {
      this.free();
      throw error;
    }
    // Whether the generator is that of the run: weights alone come without it.
    this.hasGenerator = !state.parameters || Boolean(state.rng);
    this.carried = state.carried ?? [];
    this.contexts = state.contexts ?? [];
    this.known = documents && new Set(documents);
  }

  /** The plan of the training documents; shuffles them with the run's generator. */
  planOf({training, validation}, data) {
    const {core, tokenizer} = this;
    const {model, train} = this.config;
    this.training = training;
    this.validation = validation;
    this.sample = validation.length
      ? new ValidationSample(this.wholeSequences(validation), model.block_size, model.vocab_size, core)
      : null;
    // A stream is shuffled too, as one document: the generator draws nothing for it.
    const order = data.shuffle ? this.rng.shuffle(training.length) : Int32Array.from(training.keys());
    if (data.format === "stream") {
      return new WindowPlan(Int32Array.from(tokenizer.encode(training[0])), train, model.block_size, core);
    }
    const sequences = trainingSequences(training, tokenizer, data, model.block_size);
    return new DocumentPlan(sequences, train, order, data.reshuffle, core);
  }

  /** The ids of whole documents; a stream begins with the separator that is fed before its first token. */
  wholeSequences(documents) {
    const {tokenizer} = this;
    return documents.map((document) =>
      Int32Array.from(
        tokenizer.bos === null
          ? [...tokenizer.prompt(), ...tokenizer.encode(document)]
          : tokenizer.encodeDocument(document),
      ),
    );
  }

  /** Why the page cannot take a step of this run; null if it can. */
  get whyNoStep() {
    return whyNoStep(this.config.model, this.config.train);
  }

  /** The batches of the steps first … first + count - 1; throws where the page cannot take them. */
  batches(first, count) {
    if (this.whyNoStep) throw new Error(this.whyNoStep);
    return this.plan.chunk(first, count);
  }

  /** Whether the last step is done, or early stopping ended the run. */
  get ended() {
    const {steps, patience} = this.config.train;
    return (
      this.done >= steps ||
      (patience !== null && this.best !== null && this.best.evaluations_since_best >= patience)
    );
  }

  /** Everything that decides how the run goes on. */
  snapshot() {
    const {done: step, losses, best, bestParameters, metrics} = this;
    const parameters = this.model.parameters();
    const slots = this.model.slots();
    return {step, parameters, slots, rng: this.rng.state(), losses, best, bestParameters, metrics};
  }

  /** Go on from a snapshot. */
  restore({step, parameters, slots, rng, losses, best, bestParameters, metrics}) {
    const {Real} = this.model;
    this.model.load(Real.from(parameters), slots && Real.from(slots));
    this.rng.restore(rng);
    Object.assign(this, {done: step, losses, best, metrics});
    this.bestParameters = bestParameters && Real.from(bestParameters);
  }

  /** The number of steps until an evaluation, samples or the last step. */
  stepsUntilEvent() {
    const {train} = this.config;
    const intervals = [train.sample_every, this.sample && this.evalEvery];
    const events = intervals
      .filter((every) => every !== null)
      .map((every) => stepsUntil(train, every, this.done));
    return Math.min(train.steps - this.done, ...events);
  }

  get evalEvery() {
    const {eval_every: every, log_every: logged} = this.config.train;
    return every ?? logged;
  }

  /** Options of the core's train and gradients. */
  get options() {
    const {train} = this.config;
    const names = ["clip_node", "clip_value", "clip_norm", "dropout", "ngram_dropout", "seed"];
    return Object.fromEntries(names.map((name) => [name, train[name]]));
  }

  /**
   * Do `count` steps, none of which but the last has an event. -> {first, losses, validation: null or a loss,
   * texts: null or samples}
   */
  advance(count) {
    const {train} = this.config;
    const first = this.done;
    const losses = this.trainSteps(first, count);
    const bad = losses.findIndex((loss) => !Number.isFinite(loss));
    if (bad >= 0) {
      throw new Error(
        `train: the loss of step ${first + bad + 1} is ${losses[bad]}; try a smaller \`lr\` (it was ` +
          `${train.lr}) or \`clip_norm=1\``,
      );
    }
    this.done = first + count;
    const evaluates = this.sample !== null && isDueAfter(train, this.evalEvery, this.done);
    const validation = evaluates ? this.evaluate() : null;
    this.record(first, losses, validation);
    const samples = !this.ended && isDueAfter(train, train.sample_every, this.done);
    return {first, losses, validation, texts: samples ? this.generate() : null};
  }

  /** Train the model's parameters for the steps first … first + count - 1. */
  trainSteps(first, count) {
    const {train, model} = this.config;
    const scalars = this.core.scalars(train, first, count);
    const table_decay = model.ngram_rows.length ? this.core.tableDecay(train, first, count) : null;
    const options = {...this.options, first, table_decay};
    return this.model.train(this.batches(first, count), count, train.batch_size, scalars, options);
  }

  /** The loss on the validation sample, after which the parameters may be the best so far. */
  evaluate() {
    const loss = this.sample.loss(this.model);
    if (this.best === null || loss < this.best.loss) {
      this.best = {step: this.done, loss, evaluations_since_best: 0};
      this.bestParameters = this.model.parameters();
    } else {
      this.best = {...this.best, evaluations_since_best: this.best.evaluations_since_best + 1};
    }
    return loss;
  }

  record(first, losses, validation) {
    const {train} = this.config;
    const last = this.done - 1;
    const logged = loggedSteps(train, first, losses.length);
    if (validation !== null && logged.at(-1) !== last) logged.push(last);
    const {losses: after, means} = lossesAfter(this.losses, train, first, losses, logged);
    this.losses = after;
    const records = logged.map((step, i) => ({
      step: step + 1,
      loss: losses[step - first],
      mean_loss: means[i],
      lr: this.core.rates(train, step, 1)[0],
      tokens: this.plan.tokensBefore(step + 1),
      ...(validation !== null && step === last ? {val_loss: validation} : {}),
    }));
    if (records.length) this.metrics = boundedRecords([...this.metrics, ...records]);
  }

  /** Texts with the generator of the run, which advances. */
  generate() {
    const {sample, model} = this.config;
    const {tokenizer} = this;
    checkGeneration(sample);
    const request = requestOf(sample.prefix, tokenizer, model.block_size);
    const textOf = (ids) => sample.prefix + tokenizer.decode(ids);
    const accepted = new Set();
    const accept = (ids) => {
      const text = textOf(ids);
      const isAccepted = this.meetsConditions(text, ids.length === request.max, accepted);
      if (isAccepted) accepted.add(text);
      return isAccepted;
    };
    return generateSequentially(this.model, request, sample, this.rng, this.average, accept).map(textOf);
  }

  /** Whether a text, perhaps cut by the end of the block, may follow those accepted before. */
  meetsConditions(text, isCut, accepted) {
    const {suffix, unique, novel, on_cut: onCut} = this.config.sample;
    const isKnown = this.config.data.format !== "stream" && (!text || this.known?.has(text));
    return (
      text.endsWith(suffix) &&
      !(isCut && onCut === "redraw") &&
      !(unique && accepted.has(text)) &&
      !(novel && isKnown)
    );
  }

  /**
   * The samples at the end of a run, with its best parameters; its generator stays as it is, as in a
   * checkpoint.
   */
  finalTexts() {
    const before = this.rng.state();
    try {
      return this.withParameters(this.bestParameters, () => this.generate());
    } finally {
      this.rng.restore(before);
    }
  }

  /** What `act` returns while the model has other parameters; null: its own. */
  withParameters(parameters, act) {
    if (parameters === null) return act();
    const own = this.model.parameters();
    const slots = this.model.slots();
    this.model.load(parameters, slots);
    try {
      return act();
    } finally {
      this.model.load(own, slots);
    }
  }

  /** The state that files.js writes. */
  state() {
    const {step: done, ...others} = this.snapshot();
    const {config, tokenizer, carried, list} = this;
    return {...others, done, config, tokenizer, carried, list};
  }

  get slots() {
    return slotNames(this.config.train.optimizer);
  }

  free() {
    this.model.free();
    this.rng.free();
  }
}
