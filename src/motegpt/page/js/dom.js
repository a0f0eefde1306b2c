/** Small helpers to build and fill elements. */

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element: make("button", {class: "quiet", onclick}, "Text", child).
 * Keys that begin with "on" are listeners; true and false set and leave out an attribute; other keys are attributes.
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Set an element's text only where it differs: live regions and layouts stay quiet otherwise. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** An icon of the control bar: a path in a box of 16 by 16. */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["viewBox", "0 0 16 16"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
  shape.setAttribute("d", path);
  svg.append(shape);
  return svg;
}

/** Text with `code` between backticks as code elements. */
export function withCode(text) {
  return text.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
}

/** 12345 -> "12,345". */
export const grouped = (number) => Math.round(number).toLocaleString("en-US");

/** 1234567 -> "1.23 M": three significant digits with the unit's prefix. */
export function compact(number) {
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (number >= size) return `${Number((number / size).toPrecision(3))}${unit}`;
  }
  return String(Math.round(number));
}

/** "1 document", "2 documents". */
export const counted = (number, word) => `${grouped(number)} ${word}${number === 1 ? "" : "s"}`;
