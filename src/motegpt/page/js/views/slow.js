/** One step in slow motion: forward, loss, backward and update as four frames, with the numbers of one document. */
import {anatomyOf, shownTensors} from "../anatomy.js";
import {make, setText} from "../dom.js";
import {Maps} from "../maps.js";
import {backwardFrame, forwardFrame, lossFrame, updateFrame} from "../slow_frames.js";
import {largestUpdate} from "../update_rule.js";

const FRAMES = [["Forward", forwardFrame], ["Loss", lossFrame], ["Backward", backwardFrame], ["Update", updateFrame]];

class Slow {
  constructor(element, app) {
    Object.assign(this, {app, maps: new Maps(), frame: 0, index: null, shown: null});
    this.ask = make("button", {type: "button", onclick: () => this.#ask()}, "Take the next step slowly");
    this.said = make("span", {class: "view-note inline", role: "status"});
    this.back = make("button", {type: "button", "aria-label": "Previous frame", onclick: () => this.#go(this.frame - 1)}, "‹");
    this.forth = make("button", {type: "button", "aria-label": "Next frame", onclick: () => this.#go(this.frame + 1)}, "›");
    this.tabs = FRAMES.map(([title], i) => make("button", {type: "button", class: "slow-tab", onclick: () => this.#go(i)},
      `${i + 1}  ${title}`));
    this.bar = make("div", {class: "slow-bar", hidden: true, role: "group", "aria-label": "Frames"},
      this.back, ...this.tabs, this.forth);
    this.body = make("div", {class: "slow-frame", tabindex: "-1"});
    const box = make("div", {class: "slow", onkeydown: (event) => this.#key(event)},
      make("div", {class: "view-tools"}, this.ask, this.said), this.bar, this.body);
    element.append(box);
  }

  draw() {
    const {description, slow} = this.app.data;
    const key = slow && `${slow.step} ${document.documentElement.dataset.theme}`;
    if (slow === this.shown && key === this.key) return;
    if (slow !== this.shown) Object.assign(this, {frame: 0, index: null});
    Object.assign(this, {shown: slow, key});
    this.bar.hidden = !slow;
    setText(this.ask, slow ? "Another step slowly" : "Take the next step slowly");
    setText(this.said, slow ? `Step ${slow.step + 1} of ${description.settings.steps ?? "the training"}: looked at, not taken.`
      : "One step in four frames; the model stays as it is.");
    if (slow) this.#show();
    else this.body.replaceChildren();
  }

  async #ask() {
    try {
      await this.app.actions.slow();
    } catch (error) {
      this.app.notify(error.message);
    }
  }

  #go(frame) {
    this.frame = Math.min(Math.max(frame, 0), FRAMES.length - 1);
    this.#show();
  }

  #show() {
    const {description, slow} = this.app.data;
    this.maps.clear();
    const anatomy = this.maps.anatomy = anatomyOf(description, {...slow, look: slow.forward});
    this.index ??= largestUpdate(slow.before, slow.after, shownTensors(description.tensors));
    const onChoose = (index) => {
      this.index = index;
      this.#show();
    };
    this.body.dataset.frame = this.frame;
    this.body.replaceChildren(...FRAMES[this.frame][1]({maps: this.maps, anatomy, slow, description, index: this.index, onChoose})
      .filter(Boolean));
    this.tabs.forEach((tab, i) => (i === this.frame ? tab.setAttribute("aria-current", "step")
      : tab.removeAttribute("aria-current")));
    this.back.disabled = this.frame === 0;
    this.forth.disabled = this.frame === FRAMES.length - 1;
  }

  #key(event) {
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!step || !this.shown || event.target.closest("select, input, .map-box")) return;
    event.preventDefault();
    event.stopPropagation();
    this.#go(this.frame + step);
  }
}

export const slowView = {
  id: "slow",
  title: "One step in slow motion",
  short: "Slow motion",
  needs: ["slow"],
  mount(element, app) {
    this.slow = new Slow(element, app);
  },
  draw() {
    this.slow.draw();
  },
};
