/** A line in the views that interventions change: how many are in force, and a button that ends them. */
import {make, setText} from "./dom.js";

export class MaskNote {
  constructor(app) {
    this.app = app;
    this.text = make("span");
    this.element = make("p", {class: "mask-note", hidden: true}, this.text,
      make("button", {type: "button", class: "quiet", onclick: () => app.actions.setMask({})}, "Remove"));
  }

  draw() {
    const count = Object.values(this.app.state.mask).reduce((sum, list) => sum + list.length, 0);
    this.element.hidden = count === 0;
    setText(this.text, `With ${count} intervention${count === 1 ? "" : "s"}: see Cause and effect.`);
  }
}
