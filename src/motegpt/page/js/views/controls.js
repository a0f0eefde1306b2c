/** The control bar: run, pause, one step, start again, steps per frame, and what the training says of itself. */
import {compact, grouped, icon, make, setText} from "../dom.js";
import {SPEEDS} from "../state.js";

const ICONS = {
  run: "M3.5 1.8v12.4l10.5-6.2z",
  pause: "M3.5 2h3.2v12H3.5zM9.3 2h3.2v12H9.3z",
  step: "M2.5 2.2v11.6l7.5-5.8zM11.2 2.2h2.4v11.6h-2.4z",
  restart: "M8 2a6 6 0 1 0 6 6h-1.9A4.1 4.1 0 1 1 8 3.9v2.6l4.2-3.6L8-.7z",
};

function button(name, label, act) {
  const attributes = {type: "button", id: `control-${name}`, title: label, onclick: act};
  return make("button", attributes, icon(ICONS[name]), make("span", {}, label));
}

function readout(name, label) {
  const value = make("output", {id: `shown-${name}`}, "–");
  return {value, element: make("div", {class: "readout"}, make("span", {class: "label"}, label), value)};
}

export const controlsView = {
  id: "controls",
  needs: ["progress", "description"],

  mount(element, {actions}) {
    this.run = button("run", "Run", () => actions.toggle());
    this.run.classList.add("primary");
    this.step = button("step", "Step", () => actions.train(1));
    this.restart = button("restart", "Restart", () => actions.restart());
    this.speed = make("input", {
      type: "range", id: "speed", min: 0, max: SPEEDS.length - 1, step: 1,
      oninput: () => actions.setSpeed(SPEEDS[this.speed.value]),
    });
    this.shownSpeed = make("output", {for: "speed"});
    this.readouts = {step: readout("step", "step"), loss: readout("loss", "loss"), rate: readout("rate", "tokens/s")};
    element.append(
      make("div", {class: "buttons"}, this.run, this.step, this.restart),
      make("label", {class: "speed"}, make("span", {class: "label"}, "steps per frame"), this.speed, this.shownSpeed),
      make("div", {class: "readouts"}, ...Object.values(this.readouts).map((one) => one.element)),
    );
    this.shownAs = null;
  },

  draw({state, data, actions}) {
    const {settings, running, finished, viewing, speed} = state;
    this.showRun(running ? "Pause" : finished && viewing === null ? "Run again" : "Run", running);
    const still = !data.description?.canTrain;
    for (const control of [this.run, this.step, this.restart]) control.disabled = still;
    this.speed.value = SPEEDS.indexOf(speed);
    this.speed.setAttribute("aria-valuetext", `${speed} steps per frame`);
    setText(this.shownSpeed, String(speed));
    setText(this.readouts.step.value, `${grouped(actions.step)} / ${grouped(settings.steps ?? 0)}`);
    const loss = data.losses.recent(actions.step);
    setText(this.readouts.loss.value, Number.isNaN(loss) ? "–" : loss.toFixed(3));
    const rate = running ? data.progress?.tokensPerSecond : 0;
    setText(this.readouts.rate.value, rate ? compact(rate) : "–");
  },

  showRun(label, running) {
    if (this.shownAs === label) return;
    this.shownAs = label;
    this.run.title = label;
    this.run.replaceChildren(icon(ICONS[running ? "pause" : "run"]), make("span", {}, label));
  },
};
