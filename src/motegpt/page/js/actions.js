/** What a person or a script can do. Every action is async; it resolves when the worker has done it. */
import {newestOnly} from "./client.js";
import {EMPTY_MASK, emptyData, isMasked} from "./state.js";

const SAMPLES = 20;

export class Actions {
  /** notify(sentence, button?): shows a message; speak(sentence): announces it to screen readers. */
  constructor({store, client, frames, boot, notify, speak}) {
    Object.assign(this, {store, client, frames, boot, notify, speak});
    this.undoable = []; // {kind: "settings" | "mask" | "edit", act}, newest last
    this.seekNewest = newestOnly((step) => this.#seek(step));
  }

  get state() {
    return this.store.state;
  }

  get data() {
    return this.store.data;
  }

  /** The step that is shown: of the model, or the one looked back at. */
  get step() {
    return this.data.progress?.step ?? 0;
  }

  // The model

  /**
   * A new model. changes: {preset?, settings?, list?, text?}; the rest stays as it is. Where the worker refuses, the old
   * model stays, and the reason is shown beside `place`.
   */
  async create(changes, {place = "settings", said = null} = {}) {
    const {preset, settings, list, running} = this.state;
    const wanted = {preset, settings, list, ...changes};
    let description;
    try {
      if (!wanted.list) throw new Error("list: expected a list to train a new model on, got none; choose one");
      const {name, text} = wanted.list;
      description = await this.client.call("create", {settings: wanted.settings, list: {name, text}});
    } catch (error) {
      this.#refuse(error, place);
      throw error;
    }
    const old = {preset, settings, list, text: this.state.text};
    this.#adopt(description, wanted, changes.text);
    const again = {said: "The settings are the old ones again; the model is new."};
    if (old.list) this.undoable.push({kind: "settings", act: () => this.create(old, again)});
    if (said) this.notify(said, old.list ? {label: "Undo", act: () => this.undo()} : undefined);
    if (running) await this.run();
  }

  #adopt(description, {preset, settings, list}, text) {
    this.#keepUndoable("settings");
    const isOther = list !== this.state.list;
    this.store.receive({...emptyData(), description, progress: {step: 0, tokensPerSecond: 0, stepsPerSecond: 0}});
    const first = Array.from(description.documents?.first?.[0] ?? "").slice(0, description.block_size - 1).join("");
    this.store.set({
      preset, settings, list, errors: {}, mask: EMPTY_MASK, viewing: null, finished: false, running: false,
      opened: false, text: text ?? (isOther ? first : this.state.text),
    });
    this.frames.outdate();
  }

  #refuse(error, place) {
    const name = /^([a-z_0-9]+)[:,]/.exec(error.message)?.[1];
    const isShown = name && document.getElementById(`setting-${name}`);
    this.store.fail(isShown ? name : place, error.message);
  }

  /** Change one setting, which starts a new model. */
  setSetting(name, value) {
    return this.setSettings({[name]: value});
  }

  /** Change settings, which starts a new model. */
  async setSettings(changes) {
    const entries = Object.entries(changes).filter(([name, value]) => this.state.settings[name] !== value);
    if (!entries.length) return;
    const old = this.state.settings;
    const words = entries.map(([name, value]) => `\`${name}\` is ${value ?? "none"}, it was ${old[name] ?? "none"}`);
    const settings = {...this.state.settings, ...changes};
    await this.create({settings}, {said: `A new model: ${words.join("; ")}.`});
  }

  /** All settings of a preset, which starts a new model. */
  setPreset(preset) {
    return this.create({preset, settings: {...this.boot.presets[preset]}}, {said: `A new model: the preset ${preset}.`});
  }

  /** Train on a list {name, text}, or on the built-in list of a name; this starts a new model. */
  setList(list) {
    const found = typeof list === "string" ? this.boot.lists.find(({name}) => name === list) : list;
    const names = this.boot.lists.map(({name}) => name).join(", ");
    if (!found) return Promise.reject(new Error(`list: expected ${names}, got ${list}`));
    const changes = {list: {...found, builtIn: this.boot.lists.includes(found)}};
    const {preset} = this.boot; // a run without its list has settings that only its list can have
    if (!this.state.list) Object.assign(changes, {preset, settings: {...this.boot.presets[preset]}});
    return this.create(changes, {place: "list", said: `A new model learns from ${found.name}.`});
  }

  // Training

  /** Whether the model can be trained here; says why not where only its steps are too large. */
  #mayTrain() {
    const {canTrain, whyNoStep} = this.data.description ?? {};
    if (canTrain && whyNoStep) this.notify(whyNoStep);
    return canTrain && !whyNoStep;
  }

  /** Train until pause() or the last step; from the start again when it was at the end. */
  async run() {
    if (!this.#mayTrain()) return;
    if (this.#isDone() && this.state.viewing === null) await this.restart();
    this.#forgetLater();
    this.store.set({running: true, finished: false});
    await this.client.call("run", {stepsPerFrame: this.state.speed});
  }

  async pause() {
    await this.client.call("pause");
    this.store.set({running: false});
    this.frames.outdate();
    this.speak(`Paused at ${this.#where()}.`);
  }

  toggle() {
    return this.state.running ? this.pause() : this.run();
  }

  /** Train n steps, and pause. */
  async train(n = 1) {
    if (!this.#mayTrain() || (this.#isDone() && this.state.viewing === null)) return;
    if (this.state.running) await this.pause();
    this.#forgetLater();
    this.receiveProgress({...await this.client.call("step", {n}), running: false});
    if (n === 1) this.speak(`${this.#where()}.`);
  }

  /** The same model from step 0 on. */
  async restart() {
    const description = await this.client.call("restart");
    this.#keepUndoable("settings", "mask");
    this.store.receive({...emptyData(), description, progress: {step: 0, tokensPerSecond: 0, stepsPerSecond: 0}});
    this.store.set({running: false, finished: false, viewing: null, opened: false});
    this.frames.outdate();
    this.speak("The model is at step 0 again.");
  }

  async setSpeed(speed) {
    this.store.set({speed});
    if (this.state.running) await this.client.call("run", {stepsPerFrame: speed});
  }

  /** Look back at the snapshot at or before a step. */
  seek(step) {
    return this.seekNewest(step);
  }

  async #seek(wanted) {
    const last = this.data.losses.steps;
    const {step} = await this.client.call("seek", {step: wanted});
    this.#keepUndoable("settings", "mask");
    this.store.receive({progress: {...this.data.progress, step}});
    this.store.set({viewing: step < last ? step : null, running: false});
    this.frames.outdate();
  }

  /** Training from a step that is looked back at forgets what came after. */
  #forgetLater() {
    const {viewing} = this.state;
    if (viewing === null) return;
    const {losses, validation, shares, snapshots} = this.data;
    losses.truncate(viewing);
    const earlier = (items, at) => items.filter((one) => at(one) <= viewing);
    this.store.receive({
      losses, validation: earlier(validation, ({step}) => step), shares: earlier(shares, ({step}) => step),
      snapshots: earlier(snapshots, (step) => step),
    });
    this.store.set({viewing: null});
  }

  #isDone() {
    return this.step >= this.state.settings.steps;
  }

  #where() {
    const loss = this.data.losses.recent(this.step);
    return `Step ${this.step}${Number.isNaN(loss) ? "" : `, loss ${loss.toFixed(2)}`}`;
  }

  // Looking and changing

  /** The text that is looked at. */
  setText(text) {
    this.store.set({text});
    this.store.fail("text", null);
    this.frames.outdate();
  }

  setTemperature(temperature) {
    this.store.set({temperature});
    this.frames.outdate();
  }

  setPrefix(prefix) {
    this.store.set({prefix});
    this.store.fail("samples", null);
    this.frames.outdate();
  }

  /** Switch parts of the model off in every look; {} for none. isContinued: of the last change, which it replaces. */
  setMask(mask, isContinued = false) {
    const {mask: old} = this.state;
    if (!isContinued) this.undoable.push({kind: "mask", act: () => this.#applyMask(old)});
    this.#applyMask({...EMPTY_MASK, ...mask});
  }

  #applyMask(mask) {
    this.store.set({mask});
    if (!isMasked(mask)) this.store.receive({cause: null});
    this.frames.outdate();
  }

  /** Write a number into the model: {index: of the parameters, value}. */
  async edit(change) {
    await this.client.call("edit", change);
    const act = async () => {
      await this.client.call("undo");
      this.frames.outdate();
    };
    this.undoable.push({kind: "edit", act});
    this.frames.outdate();
  }

  /** What can still be undone once the weights, or the whole model, are others. */
  #keepUndoable(...kinds) {
    this.undoable = this.undoable.filter(({kind}) => kinds.includes(kind));
  }

  /** Take back the last change of settings, list, mask or weight. */
  async undo() {
    const last = this.undoable.pop();
    if (!last) {
      this.notify("There is nothing to undo.");
      return;
    }
    const depth = this.undoable.length;
    await last.act();
    this.undoable.length = Math.min(this.undoable.length, depth); // an undo is not itself undone
  }

  select(selected) {
    this.store.set({selected});
  }

  /** One step as frames: forward, loss, backward, update. The model stays as it is. */
  async slow() {
    this.store.receive({slow: await this.client.call("slow")});
  }

  /** Ask the worker for what a view needs: "look", "weights", …, "samples". */
  async request(name) {
    try {
      const answer = await this.#answerTo(name);
      if (answer === undefined) return; // a newer request is on its way
      this.store.receive({[name]: answer});
      const place = name === "samples" ? "samples" : "text";
      if (this.state.errors[place]) this.store.fail(place, null);
      if (name === "samples") this.#recordShare();
    } catch (error) {
      if (name === "samples" || name === "look") this.store.fail(name === "samples" ? "samples" : "text", error.message);
    }
  }

  #answerTo(name) {
    const {text, mask} = this.state;
    switch (name) {
      case "look": return this.client.call("look", {text, mask});
      case "cause": return isMasked(mask) ? this.client.call("cause", {text, mask}) : null;
      case "samples": return this.#sample();
      default: return this.client.call("weights", {kind: name, text});
    }
  }

  async #sample() {
    const {temperature, prefix, finished, viewing} = this.state;
    const step = this.step;
    const plain = !prefix && temperature === this.state.settings.temperature && this.data.description.hasGenerator;
    if (finished && viewing === null && plain) return {...await this.client.call("finish"), step, last: true};
    return {...await this.client.call("sample", {n: SAMPLES, temperature, seed: step, prefix}), step, temperature};
  }

  #recordShare() {
    const {samples: {step, share}, shares} = this.data;
    if (share == null || this.state.viewing !== null || (shares.length && shares.at(-1).step >= step)) return;
    const kept = shares.length >= 400 ? shares.filter((_, i) => i % 2) : shares; // twice as far apart
    this.store.receive({shares: [...kept, {step, share}]});
  }

  /** The samples of texts: {texts: [{text, known, cut}], share}. */
  sample(options = {}) {
    return this.client.call("sample", {n: SAMPLES, temperature: this.state.temperature, seed: this.step, ...options});
  }

  // Files

  /** The run folder as {files, zip}. */
  exportRun() {
    return this.client.call("export", {name: this.state.list?.name ?? "run"});
  }

  /** Go on with the files of a run folder, or its zip: [{name, bytes}]. */
  importRun(files) {
    return this.#open("import", {files});
  }

  /** Begin with a run like boot.run, and with its list, null where it is not known. */
  openRun(run, list) {
    return this.#open("create", {run, list: list && {name: list.name, text: list.text}});
  }

  async #open(action, given) {
    let answer;
    try {
      answer = await this.client.call(action, given);
    } catch (error) {
      this.store.fail("files", error.message);
      throw error;
    }
    const found = answer.list ?? given.list;
    const list = found ? {...found, title: "from the run", builtIn: false} : null;
    this.#adopt(answer, {preset: null, settings: answer.settings, list});
    this.data.losses.append(0, answer.losses ?? []);
    this.data.losses.append(answer.step ?? 0, []);
    const progress = {step: answer.step ?? 0, tokensPerSecond: 0, stepsPerSecond: 0};
    this.store.receive({progress, losses: this.data.losses, validation: answer.validation ?? []});
    if (!list) await this.#showFirstSample();
    const temperature = answer.settings.temperature ?? this.state.temperature;
    this.store.set({temperature, opened: true, finished: this.#isDone()});
  }

  /** A text to look at where there is no list to take one from. */
  async #showFirstSample() {
    const {texts} = await this.client.call("sample", {n: 1});
    const most = this.data.description.block_size - 1;
    this.setText(Array.from(texts[0].text).slice(0, most).join(""));
  }

  // Events of the worker

  /** A progress event: the losses of the steps since the last one. */
  receiveProgress(event) {
    const {losses} = this.data;
    if (event.losses?.length) losses.append(event.first, event.losses);
    this.store.receive({
      progress: event, losses, snapshots: event.snapshots ?? this.data.snapshots,
      validation: [...this.data.validation, ...event.validation ?? []],
    });
    this.frames.outdate();
    const {running, finished, viewing} = this.state;
    const isDone = this.#isDone() && viewing === null;
    if (event.running || (!running && finished === isDone)) return;
    this.store.set({running: false, finished: isDone});
    if (isDone) this.speak(`The training has ended: ${this.#where()}.`);
  }
}
