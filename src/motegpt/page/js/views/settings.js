/** The settings of the model: limits and help texts are those of the command line. */
import {compact, counted, make, setText} from "../dom.js";

const SHOWN = { // setting -> its label; the names are those of docs and command line
  n_layer: "Layers", n_embd: "Width", n_head: "Heads", block_size: "Block", batch_size: "Batch", steps: "Steps",
  lr: "Learning rate", optimizer: "Optimizer", seed: "Seed",
};
const MORE = {
  activation: "Activation", n_hidden: "Hidden width", n_kv_head: "Key heads", position: "Positions",
  qk_norm: "Query–key norm", norm: "Norm", norm_gain: "Norm gain", norm_bias: "Norm bias", final_norm: "Final norm",
  embedding_norm: "Embedding norm", bias: "Biases", tied: "Tied head", zero_init: "Zero init",
  scaled_init: "Scaled init", init_std: "Initial std", schedule: "Schedule",
  warmup_steps: "Warmup", beta1: "β₁", beta2: "β₂", momentum: "Momentum", weight_decay: "Weight decay",
  dropout: "Dropout", clip_norm: "Clip norm", val_fraction: "Held out", shuffle: "Shuffle", reshuffle: "Reshuffle",
  loss_mean: "Loss mean", dtype: "Precision",
};
const NUMBERS = {int: "numeric", float: "decimal"};

/** The value that a control holds; the worker checks it, so what is no number stays text. */
function valueOf(control, {type, choices, optional}) {
  if (type === "bool") return control.checked;
  if (choices) return choices.find((choice) => String(choice) === control.value) ?? null;
  const text = control.value.trim();
  if (text === "" && optional) return null;
  const value = Number(text);
  const isNumber = text !== "" && (type === "int" ? Number.isSafeInteger(value) : Number.isFinite(value));
  return type in NUMBERS && isNumber ? value : text;
}

function controlFor(name, field) {
  const id = `setting-${name}`;
  const about = {id, "aria-describedby": `${id}-error`, title: field.help};
  if (field.type === "bool") return make("input", {type: "checkbox", ...about});
  if (!field.choices) return make("input", {type: "text", inputmode: NUMBERS[field.type], autocomplete: "off", ...about});
  const empty = field.optional ? [make("option", {value: ""}, "–")] : [];
  return make("select", about, ...empty, ...field.choices.map((choice) => make("option", {}, String(choice))));
}

export const settingsView = {
  id: "settings",
  title: "Settings",
  needs: ["description"],

  mount(element, app) {
    const {boot, actions} = app;
    this.rows = {};
    this.preset = make("select", {id: "preset", onchange: () => actions.setPreset(this.preset.value).catch(() => {})},
      make("option", {value: "", hidden: true}, "none: settings of a run"),
      ...Object.keys(boot.presets).map((name) => make("option", {}, name)));
    this.count = make("p", {class: "count", id: "parameter-count"});
    const more = make("details", {id: "more-settings"}, make("summary", {}, "More settings"));
    this.error = make("p", {class: "error", id: "settings-error", role: "alert"});
    element.append(this.count, this.row("Preset", "preset", this.preset, "Settings of a reference program."));
    for (const [shown, into] of [[SHOWN, element], [MORE, more]]) {
      for (const [name, label] of Object.entries(shown)) {
        if (boot.fields[name]) into.append(this.field(app, name, label));
      }
    }
    element.append(this.error, more);
  },

  row(label, name, control, help, ...rest) {
    const words = make("label", {for: control.id, title: help}, label, make("code", {}, name));
    return make("div", {class: "setting"}, words, control, ...rest);
  },

  field({boot, actions}, name, label) {
    const field = boot.fields[name];
    const control = controlFor(name, field);
    const error = make("p", {class: "error", id: `${control.id}-error`, role: "alert"});
    control.addEventListener("change", () => this.change(actions, name));
    const element = this.row(label, name, control, field.help, make("p", {class: "help"}, field.help), error);
    this.rows[name] = {control, error, element, field};
    return element;
  },

  change(actions, name) {
    const {control, field} = this.rows[name];
    actions.store.fail(name, null);
    actions.setSetting(name, valueOf(control, field)).catch(() => {});
  },

  draw({state, data}) {
    const {settings, errors} = state;
    this.preset.value = state.preset ?? "";
    for (const [name, {control, error, element, field}] of Object.entries(this.rows)) {
      setText(error, errors[name] ?? "");
      control.setAttribute("aria-invalid", String(name in errors));
      element.hidden = Boolean(field.optimizers) && !field.optimizers.includes(settings.optimizer);
      if (name in errors || control === document.activeElement && control.type === "text") continue;
      if (field.type === "bool") control.checked = Boolean(settings[name]);
      else control.value = settings[name] ?? "";
    }
    setText(this.error, errors.settings ?? "");
    if (data.description) setText(this.count, parameterCount(data.description));
  },
};

/** "4,160 parameters" and how they are spread. */
function parameterCount({parameters, tensors}) {
  const groups = new Map();
  for (const {group, shape} of tensors) {
    groups.set(group, (groups.get(group) ?? 0) + shape.reduce((a, b) => a * b, 1));
  }
  const parts = [...groups].map(([group, size]) => `${group} ${compact(size)}`);
  return `${counted(parameters, "parameter")}: ${parts.join(", ")}.`;
}
