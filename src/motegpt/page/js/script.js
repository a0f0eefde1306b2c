/** window.motegpt: the state and the actions of the page, for scripts and for tests. */

/** What the page exposes. `ready` resolves when the first model is there. */
export function scriptInterface(app, ready) {
  const {actions, data, state, frames} = app;
  const client = actions.client;
  return {
    ready,
    /** Settings of the model, by name. */
    get config() { return {...state.settings}; },
    /** Steps trained, or the step that is looked back at. */
    get step() { return actions.step; },
    /** Losses in nats: of each step, or means of `lossWidth` steps in a long training. */
    get losses() { return data.losses.values(); },
    get lossWidth() { return data.losses.width; },
    get running() { return state.running; },
    get vocabulary() { return data.description.vocabulary; },
    get baselines() { return data.description.baselines; },
    /** Milliseconds that the last frames took to draw. */
    get frames() { return [...frames.times]; },
    /** Promise of the parameters: {name: {shape, values}}. */
    async parameters() {
      const {values} = await client.call("weights", {kind: "weights", text: state.text});
      return Object.fromEntries(data.description.tensors.map(({name, shape, offset}) =>
        [name, {shape, values: values.slice(offset, offset + shape.reduce((a, b) => a * b, 1))}]));
    },
    /** Promise of everything that a forward pass computes of a text. */
    look: (text = state.text, mask = state.mask) => client.call("look", {text, mask}),
    /** Promise of the attention of a text: for each layer {heads, rows, columns, values}. */
    async attention(text = state.text) {
      const {look} = await client.call("look", {text, mask: state.mask});
      return Object.keys(look).filter((name) => name.endsWith("hook_pattern")).map((name) => look[name]);
    },
    sample: (options) => actions.sample(options),
    run: () => actions.run(),
    pause: () => actions.pause(),
    train: (n) => actions.train(n),
    restart: () => actions.restart(),
    seek: (step) => actions.seek(step),
    undo: () => actions.undo(),
    /** Change settings, which starts a new model: set({n_layer: 2, seed: 1}). */
    set: (settings) => actions.setSettings(settings),
    setPreset: (name) => actions.setPreset(name),
    /** Train on a built-in list by name, or on {name, text}. */
    setList: (list) => actions.setList(list),
    setText: (text) => actions.setText(text),
    setMask: (mask) => actions.setMask(mask),
    edit: (change) => actions.edit(change),
    exportRun: () => actions.exportRun(),
    importRun: (files) => actions.importRun(files),
  };
}
