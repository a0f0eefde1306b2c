/** Samples of the model; those that occur in the list are marked, and the meter shows how many they are. */
import {counted, grouped, make, setText, withCode} from "../dom.js";
import {ink} from "../draw.js";

const HOTTEST = 2; // temperature at the right end of the slider

export const samplesView = {
  id: "samples",
  title: "Samples",
  needs: ["samples", "description"],

  mount(element, {actions}) {
    this.about = make("p", {class: "hint", id: "samples-about"});
    this.list = make("ol", {class: "samples", id: "samples"});
    this.meter = make("div", {
      class: "meter", role: "meter", "aria-label": "Memorized samples", "aria-valuemin": 0, "aria-valuemax": 100,
    }, make("div", {class: "filled"}));
    this.canvas = make("canvas", {class: "shares", width: 600, height: 60, "aria-hidden": "true"});
    this.share = make("p", {class: "hint", id: "share"});
    this.temperature = make("input", {
      type: "range", id: "temperature", min: 0, max: HOTTEST, step: 0.05,
      oninput: () => actions.setTemperature(Number(this.temperature.value)),
    });
    this.shown = make("output", {for: "temperature"});
    this.prefix = make("input", {
      type: "text", id: "prefix", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
      oninput: () => actions.setPrefix(this.prefix.value),
    });
    this.error = make("p", {class: "error", id: "samples-error", role: "alert"});
    this.memory = make("div", {class: "memory"}, make("h3", {}, "Memorized"), this.meter, this.share, this.canvas);
    element.append(
      make("div", {class: "setting"}, make("label", {for: "temperature"}, "Temperature"),
        make("span", {class: "slider"}, this.temperature, this.shown)),
      make("div", {class: "setting"}, make("label", {for: "prefix"}, "Begins with"), this.prefix),
      this.error, this.about, this.list, this.memory,
    );
    this.drawn = null;
  },

  draw({state, data}) {
    this.temperature.value = state.temperature;
    setText(this.shown, state.temperature.toFixed(2));
    if (document.activeElement !== this.prefix) this.prefix.value = state.prefix;
    setText(this.error, state.errors.samples ?? "");
    const {samples} = data;
    this.memory.hidden = samples?.share == null;
    if (samples === this.drawn) return;
    this.drawn = samples;
    this.about.replaceChildren(...(samples ? withCode(aboutSamples(samples, data)) : []));
    this.list.replaceChildren(...(samples?.texts ?? []).map(sampleItem));
    if (samples?.share != null) this.drawMemory(samples, data.shares);
  },

  drawMemory({texts, share}, shares) {
    const percent = Math.round(100 * share);
    this.meter.setAttribute("aria-valuenow", percent);
    this.meter.firstChild.style.width = `${percent}%`;
    const known = texts.filter((one) => one.known).length;
    setText(this.share, `${grouped(known)} of ${counted(texts.length, "sample")} (${percent} %) are in the list, letter for ` +
      "letter. The rest is invented.");
    drawShares(this.canvas, shares);
  },
};

/** One sample: what occurs in the list has a mark, in words too. */
function sampleItem({text, known, cut}) {
  const item = make("li", {class: known ? "known" : ""}, text === "" ? make("i", {}, "(empty)") : text, cut ? "…" : null);
  if (known) item.append(make("span", {class: "hidden"}, " (in the list)"));
  return item;
}

function aboutSamples({step, last, texts, temperature}, {description}) {
  const marked = description.documents?.training ? " ● occurs in the list: memorized." : "";
  if (last) return `The samples that \`motegpt train\` prints at the end of this training.${marked}`;
  return `${counted(texts.length, "sample")} at step ${grouped(step)}, temperature ${temperature}.${marked}`;
}

/** The memorized share over the training: a filled line, 0 to 100 %. */
function drawShares(canvas, shares) {
  canvas.hidden = shares.length < 2;
  if (canvas.hidden) return;
  const context = canvas.getContext("2d");
  const {width, height} = canvas;
  const last = shares.at(-1).step || 1;
  context.clearRect(0, 0, width, height);
  context.beginPath();
  context.moveTo(shares[0].step / last * width, height);
  for (const {step, share} of shares) context.lineTo(step / last * width, height - 2 - share * (height - 4));
  context.lineTo(width, height);
  context.closePath();
  context.fillStyle = ink("series-2");
  context.globalAlpha = 0.35;
  context.fill();
  context.globalAlpha = 1;
}
