/** The time line: the snapshots along the run, and a handle to look back at them. */
import {grouped, make, setText} from "../dom.js";

export const timeView = {
  id: "time",
  needs: ["progress", "description"],

  mount(element, {actions, data}) {
    this.handle = make("input", {
      type: "range", id: "scrubber", min: 0, max: 0, step: "any", value: 0,
      "aria-label": "Time line: steps of the training",
      oninput: () => actions.seek(Math.round(Number(this.handle.value))),
      onkeydown: (event) => this.move(event, actions, data),
    });
    this.ticks = make("div", {class: "ticks", "aria-hidden": "true"});
    this.words = make("span", {});
    this.again = make("button", {type: "button", id: "run-from-here", onclick: () => actions.run()}, "Run again from here");
    this.back = make("button", {
      type: "button", id: "back-to-now", class: "quiet", onclick: () => actions.seek(data.losses.steps),
    }, "Back to the last step");
    this.looking = make("div", {class: "looking", hidden: true}, this.words, this.again, this.back);
    element.append(make("div", {class: "track"}, this.ticks, this.handle), this.looking);
    this.drawnTicks = "";
  },

  /** The arrow keys go from snapshot to snapshot. */
  move(event, actions, data) {
    const direction = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key];
    if (!direction) return;
    event.preventDefault();
    const steps = [...new Set([0, ...data.snapshots, data.losses.steps])].sort((a, b) => a - b);
    const {step} = actions;
    const next = direction < 0 ? steps.findLast((one) => one < step) : steps.find((one) => one > step);
    if (next !== undefined) actions.seek(next);
  },

  draw({state, data, actions}) {
    const last = Math.max(data.losses.steps, actions.step);
    this.handle.max = Math.max(last, 1);
    this.handle.disabled = last === 0;
    if (document.activeElement !== this.handle || !this.handle.matches(":active")) this.handle.value = actions.step;
    this.handle.setAttribute("aria-valuetext", `step ${actions.step} of ${last}`);
    this.looking.hidden = state.viewing === null;
    setText(this.words, `Everything is as it was at step ${grouped(actions.step)} of ${grouped(last)}.`);
    this.drawTicks(data.snapshots, last);
  },

  drawTicks(snapshots, last) {
    const drawn = `${snapshots.length} ${snapshots.at(-1)} ${last}`;
    if (drawn === this.drawnTicks) return;
    this.drawnTicks = drawn;
    const marks = snapshots.filter((step) => step <= last).map((step) => {
      const at = `${(100 * step / Math.max(last, 1)).toFixed(2)}%`;
      return `linear-gradient(var(--muted), var(--muted)) ${at} 0 / 1px 100% no-repeat`;
    });
    this.ticks.style.background = marks.join(", ");
  },
};
