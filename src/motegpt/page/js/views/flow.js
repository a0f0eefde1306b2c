/** The model as its data flows: from characters along the residual stream to the next character. */
import {anatomyOf} from "../anatomy.js";
import {make, setText} from "../dom.js";
import {percent, symbol} from "../draw.js";
import {Maps} from "../maps.js";
import {MaskNote} from "../mask_note.js";
import {topOf} from "../numbers.js";
import {NextBars} from "../bars.js";

const KINDS = [["weights", "Weights"], ["gradients", "Gradients"], ["activations", "Activations only"]];

class Flow {
  constructor(element, app) {
    Object.assign(this, {app, maps: new Maps(), key: "", open: 0});
    this.picture = make("div", {class: "flow"});
    this.kinds = make("fieldset", {class: "choices"}, make("legend", {}, "Parameters shown as"),
      ...KINDS.map(([kind, title]) => make("label", {}, make("input", {
        type: "radio", name: "matrix-kind", value: kind, onchange: () => app.set({matrixKind: kind})}), title)));
    this.summary = make("p", {class: "hidden"});
    element.append(make("div", {class: "view-tools"}, this.kinds), (this.note = new MaskNote(app)).element,
      this.summary, this.picture);
  }

  draw() {
    const {state, data: {description, look}} = this.app;
    if (!description || !look) return;
    this.maps.anatomy = this.anatomy = anatomyOf(description, look);
    this.#build(description, look);
    this.kinds.querySelectorAll("input").forEach((input) => (input.checked = input.value === state.matrixKind));
    this.picture.classList.toggle("activations-only", state.matrixKind === "activations");
    this.#fill(look);
    this.note.draw();
    this.maps.refresh();
  }

  /** The elements, made again only where the model or what is unfolded has changed. */
  #build({settings, parameters, vocabulary}, {look}) {
    const key = [settings.n_layer, settings.n_embd, settings.n_head, vocabulary.length, parameters, this.open,
      ...Object.keys(look.activations)].join();
    if (key === this.key) return;
    this.key = key;
    this.open = Math.min(this.open, settings.n_layer - 1);
    this.maps.clear();
    this.tokens = make("div", {class: "tokens"});
    this.bars = new NextBars(10);
    this.picture.replaceChildren(this.#embedding(),
      ...Array.from({length: settings.n_layer}, (_, i) => this.#layer(i)).flat(), this.#head());
  }

  #has(hook) {
    return hook in this.anatomy.hooks;
  }

  #map(name, title, more = {}) {
    const {element} = this.maps.add({name, title, ...more});
    element.classList.toggle("hidden-layer", name.includes(".mlp.hook_"));
    element.classList.toggle("by-token", name === "logits" || name === "probabilities");
    return element;
  }

  /** A tensor's heat map, if the model has it. */
  #tensor(name) {
    if (!this.anatomy.places.has(name) || this.maps.get({name})) return null;
    const map = this.maps.add({name, title: name.split(".").pop()});
    map.element.classList.add("parameter");
    return map.element;
  }

  #unit(...elements) {
    return make("div", {class: "unit"}, ...elements);
  }

  #stream(name, title, note) {
    return make("div", {class: "stream"}, this.#map(name, title, {note}));
  }

  #embedding() {
    const terms = [["hook_embed", "token", this.#tensor("wte")], ["hook_pos_embed", "position", this.#tensor("wpe")],
      ["hook_ngram_embed", "n-grams", null]];
    const norm = this.anatomy.embeddingNorm ? "their sum, normalized" : "their sum";
    return make("section", {class: "stage", "aria-label": "Embedding"},
      make("h3", {}, "Characters become vectors"), this.tokens,
      make("div", {class: "branch from-text"}, make("div", {class: "units"}, ...terms.filter(([hook]) => this.#has(hook))
        .map(([hook, title, w]) => this.#unit(w, this.#map(hook, `${title} embedding`))))),
      this.#stream("blocks.0.hook_resid_pre", "residual stream x", norm));
  }

  #layer(i) {
    const many = this.anatomy.layers > 1;
    if (many && i !== this.open) return [this.#folded(i)];
    const at = `blocks.${i}`;
    const title = many ? `Layer ${i}: ` : "";
    return [make("section", {class: "stage", "aria-label": `Layer ${i}, attention`},
      make("h3", {}, `${title}${many ? "a" : "A"}ttention moves information between positions`),
      make("div", {class: "branch"}, make("div", {class: "units"}, ...this.#attention(i))),
      this.#stream(`${at}.hook_resid_mid`, "x after attention", "x + attention")),
    make("section", {class: "stage", "aria-label": `Layer ${i}, MLP`},
      make("h3", {}, `${title}${many ? "t" : "T"}he MLP works on each position`),
      make("div", {class: "branch"}, make("div", {class: "units"}, ...this.#mlp(i))),
      this.#stream(`${at}.hook_resid_post`, `x after layer ${i}`, "x + MLP"))];
  }

  #attention(i) {
    const [at, w] = [`blocks.${i}`, `layer${i}`];
    const [q, k, v] = [["q", "query"], ["k", "key"], ["v", "value"]].map(([letter, title]) =>
      this.#product(`${w}.attn_w${letter}`, `${at}.attn.hook_${letter}`, `${title} ${letter}`));
    const heads = Array.from({length: this.anatomy.heads}, (_, head) => this.#pattern(i, head));
    return [...this.#norm(`${at}.ln1`, `${w}.ln1`), make("div", {class: "unit-group"}, q, k, v),
      this.#unit(make("div", {class: "heads", style: `--across: ${Math.ceil(Math.sqrt(heads.length))}`}, ...heads)), this.#unit(this.#map(`${at}.attn.hook_z`, "heads’ output z")),
      this.#product(`${w}.attn_wo`, `${at}.hook_attn_out`, "attention adds")];
  }

  /** A norm with its gain and bias, if the model has them. */
  #norm(hooks, place) {
    if (!this.#has(`${hooks}.hook_normalized`)) return [];
    return [this.#unit(this.#tensor(`${place}_gain`), this.#tensor(`${place}_bias`),
      this.#map(`${hooks}.hook_normalized`, "norm h"))];
  }

  /** The product with a matrix, and its bias, if the model has one. */
  #product(matrix, hook, title) {
    return this.#unit(this.#tensor(matrix), this.#tensor(`${matrix}_bias`), this.#map(hook, title));
  }

  #pattern(i, head) {
    return this.#map(`blocks.${i}.attn.hook_pattern`, `head ${head}`,
      {head, kind: "sequential", scale: 1, triangle: true});
  }

  #mlp(i) {
    const [at, w] = [`blocks.${i}`, `layer${i}`];
    const hidden = this.#has(`${at}.mlp.hook_pre_linear`)
      ? [this.#product(`${w}.mlp_gate`, `${at}.mlp.hook_pre`, "gate a"),
        this.#product(`${w}.mlp_fc1`, `${at}.mlp.hook_pre_linear`, "hidden layer u")]
      : [this.#product(`${w}.mlp_fc1`, `${at}.mlp.hook_pre`, "hidden layer u")];
    return [...this.#norm(`${at}.ln2`, `${w}.ln2`), ...hidden, this.#unit(this.#map(`${at}.mlp.hook_post`, "activation g")),
      this.#product(`${w}.mlp_fc2`, `${at}.hook_mlp_out`, "MLP adds")];
  }

  /** A folded layer: its heads and what leaves it, and a button that unfolds it. */
  #folded(i) {
    const unfold = () => {
      this.open = i;
      this.draw();
      this.picture.querySelector(`[data-map="blocks.${i}.attn.hook_q"] .map-box`)?.focus();
    };
    const heads = Array.from({length: this.anatomy.heads}, (_, head) => this.#pattern(i, head));
    return make("section", {class: "stage folded", "aria-label": `Layer ${i}, folded`},
      make("h3", {}, make("button", {type: "button", class: "unfold", "aria-expanded": "false", onclick: unfold},
        `Layer ${i}: attention and MLP`)),
      make("div", {class: "branch"}, make("div", {class: "units"}, make("div", {class: "heads"}, ...heads))),
      this.#stream(`blocks.${i}.hook_resid_post`, `x after layer ${i}`));
  }

  #head() {
    return make("section", {class: "stage last", "aria-label": "Prediction"},
      make("h3", {}, "The stream becomes the next character"),
      make("div", {class: "branch to-text"}, make("div", {class: "units"}, ...this.#norm("ln_final", "ln_f"),
        this.#unit(this.#tensor(this.anatomy.head), this.#map("logits", "logits"),
          this.#map("probabilities", "probabilities", {kind: "sequential", scale: 1})),
        this.#unit(this.bars.element))));
  }

  #fill({look, probabilities, ids, labels}) {
    const {state, data} = this.app;
    const flat = data[state.matrixKind]?.values;
    const across = this.anatomy.vocabulary.length;
    const activations = {...look.activations, logits: {rows: ids.length, columns: across, values: look.logits},
      probabilities: {rows: ids.length, columns: across, values: probabilities}};
    for (const map of this.maps.all.values()) {
      if (map.name in activations) this.maps.setActivation(map, activations[map.name]);
      else if (flat?.length === data.description.parameters) this.maps.setTensor(map, flat);
      map.describe(`${map.name}${map.head === undefined ? "" : `, head ${map.head}`}, ${map.rows} by ${map.columns}`);
    }
    this.#writeTokens(ids, labels);
    const {over} = this.maps;
    const at = over && ["logits", "probabilities"].includes(over.map.name) ? over.row : ids.length - 1;
    this.bars.set(this.anatomy.vocabulary, probabilities, at * across, `after “${symbol(labels[at])}”`);
    this.#summarize(probabilities, (ids.length - 1) * across);
  }

  #writeTokens(ids, labels) {
    const {children} = this.tokens;
    while (children.length > ids.length) this.tokens.lastChild.remove();
    while (children.length < ids.length) this.tokens.append(make("span", {}, make("b"), make("small")));
    ids.forEach((id, i) => {
      setText(children[i].firstChild, symbol(labels[i]));
      setText(children[i].lastChild, String(id));
    });
  }

  /** The three most likely next characters in words; while training, every two seconds and without a voice. */
  #summarize(probabilities, offset) {
    const now = performance.now();
    if (this.app.state.running && now - (this.saidAt ?? -Infinity) < 2000) return;
    this.saidAt = now;
    this.summary.setAttribute("aria-live", this.app.state.running ? "off" : "polite");
    const {vocabulary} = this.anatomy;
    const said = topOf(probabilities, offset, vocabulary.length, 3).map((id) =>
      `${vocabulary[id]} ${percent(probabilities[offset + id])}`);
    setText(this.summary, `Most likely next characters: ${said.join(", ")}`);
  }
}

export const flowView = {
  id: "flow",
  title: "The model as its data flows",
  short: "Flow",
  needs: ({matrixKind}) => (matrixKind === "activations" ? ["look"] : ["look", matrixKind]),
  mount(element, app) {
    this.flow = new Flow(element, app);
  },
  draw() {
    this.flow.draw();
  },
};
