/** Interventions: switch off a head or a part of a layer, zero an attention cell, change a weight, and see the effect. */
import {anatomyOf} from "../anatomy.js";
import {Changes} from "../changes.js";
import {make, setText} from "../dom.js";
import {four} from "../draw.js";
import {interventions, isIn, toggled} from "../interventions.js";
import {Maps} from "../maps.js";
import {WeightEditor} from "../weight_editor.js";

class Cause {
  constructor(element, app) {
    Object.assign(this, {app, maps: new Maps(), key: ""});
    this.parts = make("div", {class: "cause-parts"});
    this.editor = new WeightEditor(app);
    this.changes = new Changes();
    this.list = make("ul", {class: "cause-list"});
    this.none = make("p", {class: "view-note"}, "Nothing is changed yet. The model itself stays as it is.");
    element.append(
      make("p", {class: "view-note"}, "Click a head or a part to switch it off, a cell of attention to set it to zero; "
        + "drag a weight up or down. What changes in the prediction shows at once; z undoes."),
      make("div", {class: "cause"},
        make("div", {class: "cause-tools"}, this.parts, this.editor.element),
        make("div", {class: "cause-effect"}, make("h3", {}, "Interventions"), this.none, this.list,
          this.changes.element)));
  }

  draw() {
    const {state: {mask}, data} = this.app;
    const {description, look} = data;
    if (!description || !look) return;
    this.maps.anatomy = anatomyOf(description, look);
    this.#build();
    this.#fill(data.cause?.after ?? look, mask);
    this.editor.draw(this.maps.anatomy);
    this.#writeList(interventions(mask, description.tensors));
    this.changes.draw(this.maps.anatomy, data.cause, look);
    this.maps.refresh();
  }

  #toggle(list, entry) {
    const {actions, state} = this.app;
    actions.setMask(toggled(state.mask, list, entry));
  }

  #build() {
    const {layers, heads, positions} = this.maps.anatomy;
    this.parts.style.setProperty("--cell", `${Math.max(5, Math.min(17, Math.floor(86 / positions.length)))}px`);
    const key = [layers, heads].join();
    if (key === this.key) return;
    this.key = key;
    this.maps.clear();
    this.parts.replaceChildren(...Array.from({length: layers}, (_, i) => this.#layer(i, heads)));
  }

  #layer(i, heads) {
    const both = () => this.#toggleLayer(i);
    return make("section", {class: "cause-layer", "data-layer": i},
      make("div", {class: "switches"}, make("h3", {}, `Layer ${i}`), this.#switch("attention", "parts", [i, "attn"]),
        this.#switch("MLP", "parts", [i, "mlp"]),
        make("button", {type: "button", class: "switch", "data-whole": i, onclick: both}, "whole layer")),
      make("div", {class: "attention-heads"}, ...Array.from({length: heads}, (_, head) => make("div", {},
        this.#switch(`head ${head}`, "heads", [i, head]), this.#pattern(i, head)))));
  }

  #switch(title, list, entry) {
    return make("button", {type: "button", class: "switch", "data-switch": `${list} ${entry.join(" ")}`,
      onclick: () => this.#toggle(list, entry)}, title);
  }

  #pattern(layer, head) {
    const zero = (map) => this.#toggle("cells", [layer, head, map.row, map.column]);
    return this.maps.add({name: `blocks.${layer}.attn.hook_pattern`, title: "", head, kind: "sequential", scale: 1,
      triangle: true, onOpen: zero}).element;
  }

  #toggleLayer(i) {
    const {mask} = this.app.state;
    const parts = [[i, "attn"], [i, "mlp"]];
    const off = parts.every((part) => isIn(mask, "parts", part));
    const others = mask.parts.filter(([layer]) => layer !== i);
    this.app.actions.setMask({...mask, parts: off ? others : [...others, ...parts]});
  }

  #fill({look, labels}, mask) {
    const {positions} = this.maps.anatomy;
    for (const map of this.maps.all.values()) {
      const {rows, columns, values} = look.activations[map.name];
      map.set(values, map.head * rows * columns, rows, columns, positions, positions);
      const layer = Number(map.name.split(".")[1]);
      map.mark(mask.cells.filter(([l, h, t, u]) => l === layer && h === map.head && t < labels.length && u <= t)
        .map(([, , t, u]) => ({rows: [t, t + 1], columns: [u, u + 1]})));
      map.describe(`Attention of layer ${layer}, head ${map.head}: Enter sets the cell to zero`);
    }
    for (const button of this.parts.querySelectorAll("[data-switch]")) {
      const [list, layer, which] = button.dataset.switch.split(" ");
      press(button, isIn(mask, list, [Number(layer), list === "heads" ? Number(which) : which]));
    }
    for (const button of this.parts.querySelectorAll("[data-whole]")) {
      const layer = Number(button.dataset.whole);
      press(button, ["attn", "mlp"].every((part) => isIn(mask, "parts", [layer, part])));
    }
  }

  #writeList(found) {
    this.none.hidden = found.length > 0;
    const key = found.map(({text}) => text).join("|");
    if (key === this.listed) return;
    this.listed = key;
    this.list.replaceChildren(...found.map(({list, entry, text, without}) => make("li", {}, make("span", {}, text),
      list === "weights" ? make("button", {type: "button", title: "Write this value into the model", onclick: () => {
        this.app.actions.setMask(without);
        this.app.actions.edit({index: entry[0], value: entry[1]});
      }}, "Keep") : null,
      make("button", {type: "button", "aria-label": `Remove: ${text}`,
        onclick: () => this.app.actions.setMask(without)}, "×"))));
  }
}

function press(button, off) {
  button.setAttribute("aria-pressed", String(off));
  button.classList.toggle("off", off);
}

export const causeView = {
  id: "cause",
  title: "Cause and effect",
  short: "Cause",
  needs: ["look", "cause", "weights"],
  mount(element, app) {
    this.cause = new Cause(element, app);
  },
  draw() {
    this.cause.draw();
  },
};
