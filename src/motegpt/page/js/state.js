/** The only mutable store of the page: what was chosen (state), and what the worker last said (data). */
import {LossHistory} from "./losses.js";

export const EMPTY_MASK = {heads: [], parts: [], cells: [], weights: []};
export const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500]; // steps per frame

/** Whether a mask changes anything. */
export const isMasked = (mask) => Object.values(mask).some((part) => part.length > 0);

/** The state of the page before anything is known. */
function firstState() {
  return {
    settings: {}, preset: "microgpt", list: null, // preset: null of a run; list: {name, title, text, builtIn}
    text: "", temperature: 0.5, prefix: "", mask: EMPTY_MASK, selected: null, matrixKind: "weights",
    opened: false, // whether the model is a run that was opened, not one of these settings that began here
    running: false, finished: false, speed: 1, viewing: null, // viewing: the step looked back at, or null
    theme: "light", reducedMotion: false, logSteps: false, tab: "model", chapter: null,
    errors: {}, // place -> sentence
  };
}

/** What is known about the model in the worker before there is one. */
export function emptyData() {
  return {
    description: null, progress: null, losses: new LossHistory(), validation: [], snapshots: [], samples: null,
    shares: [], look: null, cause: null, slow: null, weights: null, gradients: null, update: null, m: null, v: null,
  };
}

export class Store {
  constructor() {
    this.state = firstState();
    this.data = emptyData();
    this.stateChanged = true;
    this.dataChanged = new Set();
    this.schedule = () => {};
  }

  /** Merge changes into the state, and draw in the next frame. */
  set(changes) {
    Object.assign(this.state, changes);
    this.stateChanged = true;
    this.schedule();
  }

  /** Merge changes into the data, and draw the views that need them. */
  receive(changes) {
    Object.assign(this.data, changes);
    Object.keys(changes).forEach((name) => this.dataChanged.add(name));
    this.schedule();
  }

  /** Show a sentence beside a place ("list", "text", "files", or a setting); null removes it. */
  fail(place, sentence) {
    const errors = {...this.state.errors};
    if (sentence === null) delete errors[place];
    else errors[place] = sentence;
    this.set({errors});
  }

  /** What changed since the last call: {state: boolean, data: Set of names}. */
  takeChanges() {
    const changes = {state: this.stateChanged, data: this.dataChanged};
    this.stateChanged = false;
    this.dataChanged = new Set();
    return changes;
  }
}
