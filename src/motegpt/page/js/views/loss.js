/** The loss: training mean, validation, and the n-gram baselines as lines to beat. */
import {grouped, make, setText} from "../dom.js";
import {context2d, ink, roundUp, ticks} from "../draw.js";

const MARGIN = {left: 34, right: 82, top: 10, bottom: 22}; // CSS pixels
const HEIGHT = 240;
const LABEL = 13; // least distance of two labels
const WINDOW = 1 / 16; // of the steps: how many the drawn mean is over

/** Positions moved apart so that neighbors differ by `least`; they stay in order. */
export function spread(positions, least) {
  const moved = [...positions];
  for (let i = 1; i < moved.length; i += 1) moved[i] = Math.max(moved[i], moved[i - 1] + least);
  return moved;
}

/** Maps steps and losses to pixels. */
class Scale {
  constructor({width, steps, low, high, log}) {
    Object.assign(this, {steps, low, high, log});
    this.width = width - MARGIN.left - MARGIN.right;
    this.height = HEIGHT - MARGIN.top - MARGIN.bottom;
  }

  x(step) {
    const share = this.log ? Math.log1p(step) / Math.log1p(this.steps) : step / this.steps;
    return MARGIN.left + share * this.width;
  }

  step(x) {
    const share = Math.min(1, Math.max(0, (x - MARGIN.left) / this.width));
    return this.log ? Math.expm1(share * Math.log1p(this.steps)) : share * this.steps;
  }

  y(loss) {
    return MARGIN.top + (this.high - loss) / (this.high - this.low) * this.height;
  }

  stepTicks() {
    if (this.log) return [0, ...[1, 10, 100, 1000, 1e4, 1e5, 1e6].filter((step) => step <= this.steps)];
    return ticks(0, this.steps, 5).filter(Number.isInteger);
  }
}

export const lossView = {
  id: "loss",
  title: "Loss",
  needs: ["progress", "description"],

  mount(element, app) {
    this.app = app;
    this.hover = null; // step under the pointer or the keyboard's mark
    this.canvas = make("canvas", {
      class: "chart", id: "loss-chart", role: "img", tabindex: 0, "aria-describedby": "loss-summary",
      onpointermove: (event) => this.point(this.scale?.step(event.offsetX)),
      onpointerleave: () => this.point(null), onblur: () => this.point(null), onkeydown: (event) => this.move(event),
    });
    this.canvas.setAttribute("aria-label", "Loss by step");
    this.values = make("p", {class: "hint values", id: "loss-values"});
    this.summary = make("p", {class: "hidden", id: "loss-summary"});
    this.log = make("input", {
      type: "checkbox", id: "log-steps", onchange: () => app.set({logSteps: this.log.checked}),
    });
    this.held = make("span", {class: "key validation"}, "validation");
    element.append(this.canvas, make("div", {class: "row spread"},
      make("span", {class: "keys"}, make("span", {class: "key training"}, "training"), this.held,
        make("span", {class: "key baseline"}, "counting")),
      make("label", {class: "check"}, this.log, "log steps")), this.values, this.summary);
    new ResizeObserver(() => app.set({})).observe(this.canvas);
  },

  point(step) {
    if (step === undefined) return;
    this.hover = step === null ? null : Math.round(step);
    this.app.set({});
  },

  /** The arrow keys move the mark by a fiftieth of the axis. */
  move(event) {
    const direction = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!direction || !this.scale) return;
    event.preventDefault();
    const x = this.scale.x(this.hover ?? this.app.data.losses.steps);
    this.point(this.scale.step(x + direction * this.scale.width / 50));
  },

  draw({state, data, actions}) {
    const {description, losses, validation} = data;
    this.log.checked = state.logSteps;
    if (!description) return;
    const {pen: context, width} = context2d(this.canvas);
    this.width = width;
    const baselines = Object.entries(description.baselines ?? {}).sort((a, b) => b[1] - a[1]);
    this.scale = this.scaleFor(state, losses, validation, baselines);
    const pen = new Pen(context, this.scale);
    pen.axes();
    pen.baselines(baselines);
    if (losses.steps) pen.training(losses);
    if (validation.length) pen.validation(validation);
    if (state.viewing !== null) pen.mark(state.viewing, "accent");
    if (this.hover !== null) pen.mark(this.hover, "muted");
    const at = this.hover ?? actions.step;
    setText(this.values, losses.steps ? reading(at, data) : "Loss is in nats per token; lower is better.");
    this.held.hidden = !validation.length;
    if (!state.running) setText(this.summary, summary(data, baselines));
  },

  scaleFor({settings, logSteps}, losses, validation, baselines) {
    const steps = Math.min(roundUp(Math.max(losses.steps, 100)), Math.max(settings.steps ?? 100, losses.steps, 1));
    const known = [...baselines.map(([, loss]) => loss), ...validation.map(({loss}) => loss)];
    const span = windowOf(losses.steps);
    for (let step = span; step <= losses.steps && losses.steps; step += span) known.push(losses.mean(step - span, step));
    const finite = known.filter(Number.isFinite);
    const low = Math.max(0, Math.min(...finite, 2) - 0.25);
    return new Scale({width: this.width, steps, low, high: Math.max(...finite, low + 1) + 0.25, log: logSteps});
  },
};

const windowOf = (steps) => Math.max(1, Math.round(steps * WINDOW));

/** Draws into the chart; colors are those of the page's theme. */
class Pen {
  constructor(context, scale) {
    this.context = context;
    this.scale = scale;
    context.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    context.textBaseline = "middle";
  }

  line(points, color, {width = 1, dash = []} = {}) {
    const {context} = this;
    context.beginPath();
    points.filter(([, y]) => Number.isFinite(y)).forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.strokeStyle = ink(color);
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(dash);
    context.stroke();
    context.setLineDash([]);
  }

  text(words, x, y, color = "muted", align = "left") {
    this.context.fillStyle = ink(color);
    this.context.textAlign = align;
    this.context.fillText(words, x, y);
  }

  axes() {
    const {scale} = this;
    const right = MARGIN.left + scale.width;
    for (const loss of ticks(scale.low, scale.high, 6)) {
      this.line([[MARGIN.left, scale.y(loss)], [right, scale.y(loss)]], "line");
      this.text(String(Number(loss.toFixed(3))), MARGIN.left - 6, scale.y(loss), "muted", "right");
    }
    for (const step of scale.stepTicks()) {
      const align = step === 0 ? "left" : "center";
      this.text(grouped(step || 0), scale.x(step), HEIGHT - MARGIN.bottom / 2, "muted", align);
    }
  }

  baselines(baselines) {
    const {scale} = this;
    const right = MARGIN.left + scale.width;
    const heights = spread(baselines.map(([, loss]) => scale.y(loss)), LABEL);
    baselines.forEach(([name, loss], i) => {
      this.line([[MARGIN.left, scale.y(loss)], [right, scale.y(loss)]], "muted", {dash: [2, 3]});
      this.text(`${name} ${loss.toFixed(2)}`, right + 6, heights[i]);
    });
  }

  training(losses) {
    const {scale, context} = this;
    const points = [];
    context.save();
    context.beginPath();
    context.rect(MARGIN.left, MARGIN.top, scale.width, scale.height);
    context.clip();
    context.fillStyle = ink("series-1");
    context.globalAlpha = 0.3;
    let last = 0;
    for (let x = MARGIN.left; x <= scale.x(losses.steps) + 0.5; x += 1) {
      const step = Math.min(Math.round(scale.step(x)), losses.steps);
      if (step <= last) continue;
      const y = scale.y(losses.mean(last, step));
      context.fillRect(x - 0.75, y - 0.75, 1.5, 1.5);
      points.push([x, step]);
      last = step;
    }
    context.restore();
    const span = windowOf(losses.steps);
    const means = points.filter(([, step]) => step >= Math.min(span, losses.steps));
    this.line(means.map(([x, step]) => [x, scale.y(losses.mean(step - span, step))]), "series-1", {width: 2});
  }

  validation(validation) {
    const {scale, context} = this;
    const points = validation.map(({step, loss}) => [scale.x(step), scale.y(loss)]);
    this.line(points, "series-2", {width: 2});
    context.fillStyle = ink("series-2");
    if (points.length > 60) return;
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x, y, 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }

  mark(step, color) {
    const x = this.scale.x(step);
    this.line([[x, MARGIN.top], [x, HEIGHT - MARGIN.bottom]], color);
  }
}

/** The losses at a step in words. */
function reading(step, {losses, validation}) {
  const at = Math.min(Math.max(step, 1), losses.steps);
  const span = windowOf(losses.steps);
  const over = span > 1 && at > 1 ? ` (mean of ${grouped(Math.min(span, at))} steps)` : "";
  const held = validation.findLast((one) => one.step <= at);
  const mean = losses.mean(at - span, at); // NaN for steps of a run that came without its losses
  const training = Number.isNaN(mean) ? "its loss is not known here" : `training ${mean.toFixed(3)}${over}`;
  return `Step ${grouped(at)}: ${training}` + (held ? `, validation ${held.loss.toFixed(3)}` : "");
}

/** The chart for those who do not see it. */
function summary(data, baselines) {
  const lines = baselines.map(([name, loss]) => `${name} ${loss.toFixed(2)}`).join(", ");
  const now = data.losses.steps ? `${reading(data.losses.steps, data)}.` : "No step is trained yet.";
  return `${now} Baselines in nats per token: ${lines}.`;
}
