/** What all pictures share: symbols, numbers, colors, the tooltip, and plots of lines with axes. */
import {make, setText} from "./dom.js";

const SYMBOLS = {"<BOS>": "⊢", "<EOS>": "⊣", " ": "␣", "\t": "⇥", "\n": "↵"};

/** A visible character for a label of the vocabulary. */
export const symbol = (label) => SYMBOLS[label] ?? label;

/** Four significant digits, with a true minus sign: 0.01234, −1.5, 1.2e−5. */
export function four(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const isFar = size !== 0 && (size < 1e-3 || size >= 1e6);
  const [digits, power] = isFar ? value.toExponential(3).split("e") : [value.toPrecision(4)];
  return `${Number(digits)}${isFar ? `e${Number(power)}` : ""}`.replaceAll("-", "−");
}

/** A share as a percentage: 12 %, 1.2 %, < 0.1 %. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

// Color scales, from the lowest to the highest value; the middle of the diverging ones is zero. Blue and orange,
// and one hue that only changes in lightness, are told apart with every kind of color vision.
const SCALES = {
  light: {
    diverging: ["#7a3000", "#c9661a", "#f0b27a", "#f4f3ef", "#8fbfe6", "#2f7cc0", "#08366f"],
    sequential: ["#f4f3ef", "#d9d4ec", "#a79bd6", "#6b58b0", "#2f1a6b"],
  },
  dark: {
    diverging: ["#ffd2a0", "#f0913f", "#8a4a17", "#20242b", "#225a8d", "#4aa3e8", "#bfe3ff"],
    sequential: ["#20242b", "#43397a", "#7a62c4", "#b49cf0", "#f3eaff"],
  },
};
const LEVELS = 255; // an odd number: the middle one is zero
const tables = new Map();

const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const themeNow = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

function blend(stops, share) {
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const below = Math.min(Math.floor(at), stops.length - 2);
  const [from, to] = [channels(stops[below]), channels(stops[below + 1])];
  return from.map((channel, i) => Math.round(channel + (to[i] - channel) * (at - below)));
}

/** The colors of a scale in the present theme: {pixels: Uint32Array for ImageData, css: strings}, LEVELS of each. */
export function colors(kind) {
  const key = `${themeNow()} ${kind}`;
  if (!tables.has(key)) {
    const rgb = Array.from({length: LEVELS}, (_, i) => blend(SCALES[themeNow()][kind], i / (LEVELS - 1)));
    const pixels = Uint32Array.from(rgb, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
    tables.set(key, {pixels, css: rgb.map(([r, g, b]) => `rgb(${r} ${g} ${b})`), rgb});
  }
  return tables.get(key);
}

/** Index into the colors of a scale for a value: of −range … range if it diverges, of 0 … range if not. */
export function level(kind, value, range) {
  const share = kind === "diverging" ? 0.5 + (0.5 * value) / range : value / range;
  return Math.round(Math.min(Math.max(share, 0), 1) * (LEVELS - 1));
}

/** The color of a value, and a color for text on it. */
export function cellColors(kind, value, range) {
  const {css, rgb} = colors(kind);
  const at = range > 0 ? level(kind, value, range) : level(kind, 0, 1);
  const [r, g, b] = rgb[at];
  return {background: css[at], color: 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#16181d" : "#ffffff"};
}

/** The largest absolute value of count values from offset, rounded up to 1, 2 or 5 times a power of ten: a scale
 * that does not flicker while its numbers move. 0 when there is none. */
export function rangeOf(values, offset = 0, count = values.length) {
  let most = 0;
  for (let i = offset; i < offset + count; i += 1) {
    const size = Math.abs(values[i]);
    if (size > most && size < 1e29) most = size;
  }
  if (most === 0) return 0;
  const power = 10 ** Math.floor(Math.log10(most));
  const rounded = [1, 2, 5, 10].find((digit) => digit * power >= most * (1 - 1e-9));
  return (rounded ?? 10) * power;
}

let inks = {theme: null};

/** A color of the page's style by its variable's name, such as "muted" or "series-1". */
export function ink(name) {
  if (inks.theme !== themeNow()) inks = {theme: themeNow()};
  inks[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888888";
  return inks[name];
}

let tip = null;

/** Show lines of text beside a point of the window (client pixels); the first line is a heading. */
export function showTip(x, y, lines) {
  tip ??= document.body.appendChild(make("div", {class: "tip", role: "status", "aria-live": "polite"}));
  const host = document.querySelector("dialog[open]") ?? document.body;
  if (tip.parentNode !== host) host.append(tip);
  while (tip.children.length > lines.length) tip.lastChild.remove();
  while (tip.children.length < lines.length) tip.append(make("div"));
  lines.forEach((line, i) => setText(tip.children[i], line));
  tip.hidden = false;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
  const top = y + 16 + height > innerHeight ? y - 12 - height : y + 16;
  tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, top)}px)`;
}

/** Hide the tooltip. */
export function hideTip() {
  if (tip) tip.hidden = true;
}

/** Fit a canvas to its element at the screen's resolution; its context, cleared, in CSS pixels. */
export function context2d(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const [across, down] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, {width: across, height: down});
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return {pen, width, height};
}

/** About `count` round numbers between low and high. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].find((digit) => digit * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / size - 1e-9); i * size <= high + size * 1e-9; i += 1) found.push(i * size);
  return found;
}

/**
 * Lines with axes: lines [{label, x, y, color, dashed?, width?}], x [low, high], y [low, high]; xLabel, yLabel;
 * xTick(value), yTick(value) -> text; marks [{y, label}]: dashed horizontal lines. Returns toX, toY (CSS pixels).
 */
export function plot(canvas, {lines, x, y, xLabel = "", yLabel = "", xTick = four, yTick = four, marks = []}) {
  const {pen, width, height} = context2d(canvas);
  const box = {left: 44, right: width - 8, top: 16, bottom: height - 30};
  const toX = (value) => box.left + ((value - x[0]) / (x[1] - x[0] || 1)) * (box.right - box.left);
  const toY = (value) => box.bottom - ((value - y[0]) / (y[1] - y[0] || 1)) * (box.bottom - box.top);
  drawAxes(pen, box, {x, y, toX, toY, xLabel, yLabel, xTick, yTick});
  pen.save();
  pen.beginPath();
  pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  pen.clip();
  for (const mark of marks) drawMark(pen, box, toY(mark.y), mark.label);
  for (const line of lines) drawLine(pen, line, toX, toY);
  pen.restore();
  return {toX, toY};
}

function drawAxes(pen, box, {x, y, toX, toY, xLabel, yLabel, xTick, yTick}) {
  pen.lineWidth = 1;
  pen.strokeStyle = ink("line");
  pen.fillStyle = ink("muted");
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of ticks(y[0], y[1], (box.bottom - box.top) / 36)) {
    pen.beginPath();
    pen.moveTo(box.left, Math.round(toY(value)) + 0.5);
    pen.lineTo(box.right, Math.round(toY(value)) + 0.5);
    pen.stroke();
    pen.fillText(yTick(value), box.left - 6, toY(value));
  }
  pen.textAlign = "center";
  pen.textBaseline = "top";
  for (const value of ticks(x[0], x[1], (box.right - box.left) / 70)) {
    pen.fillText(xTick(value), Math.min(toX(value), box.right - 10), box.bottom + 4);
  }
  pen.textAlign = "right";
  pen.fillText(xLabel, box.right, box.bottom + 17);
  pen.textAlign = "left";
  pen.fillText(yLabel, 2, 0);
}

function drawMark(pen, box, at, label) {
  pen.save();
  pen.setLineDash([4, 4]);
  pen.strokeStyle = pen.fillStyle = ink("muted");
  pen.beginPath();
  pen.moveTo(box.left, at);
  pen.lineTo(box.right, at);
  pen.stroke();
  pen.textAlign = "right";
  pen.textBaseline = "bottom";
  pen.fillText(label, box.right - 2, at - 2);
  pen.restore();
}

function drawLine(pen, {x, y, color, dashed = false, width = 1.5}, toX, toY) {
  pen.strokeStyle = pen.fillStyle = color;
  if (x.length === 1) pen.fillRect(toX(x[0]) - 2, toY(y[0]) - 2, 5, 5);
  pen.lineWidth = width;
  pen.setLineDash(dashed ? [4, 4] : []);
  pen.beginPath();
  let down = false;
  for (let i = 0; i < x.length; i += 1) {
    if (!Number.isFinite(y[i])) down = false;
    else if (down) pen.lineTo(toX(x[i]), toY(y[i]));
    else {
      pen.moveTo(toX(x[i]), toY(y[i]));
      down = true;
    }
  }
  pen.stroke();
  pen.setLineDash([]);
}
