/** The keys of the page: one table, which the help dialog shows. */
import {byId, make, withCode} from "./dom.js";

export const KEYS = [
  {key: " ", shown: "Space", does: "run or pause", act: (app) => app.actions.toggle()},
  {key: ".", shown: ".", does: "train one step", act: (app) => app.actions.train(1)},
  {key: "r", shown: "R", does: "start again from step 0", act: (app) => app.actions.restart()},
  {key: "z", shown: "Z", does: "undo the last change", act: (app) => app.actions.undo()},
  {key: "/", shown: "/", does: "type a text to look at", act: () => focusOn("text")},
  {key: "t", shown: "T", does: "open or close the tour", act: (app) => app.toggleTour()},
  {key: "?", shown: "?", does: "show this help", act: () => byId("keys").showModal()},
];

const OTHERS = [
  ["← →", "with the focus on the time line: an earlier or later snapshot"],
  ["← → ↑ ↓", "with the focus on a matrix: move the cell"],
  ["Esc", "close the tour or this help"],
];

const TYPING = "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select";

function focusOn(id) {
  byId(id).scrollIntoView({block: "nearest"});
  byId(id).focus();
}

/** Whether a key belongs to what has the focus: a field that is typed into, or a button that space presses. */
function isTaken(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  if (event.target.closest("dialog, [contenteditable]") || event.target.matches(TYPING)) return true;
  return event.key === " " && event.target.closest("button, summary, a, [role=button], input[type=checkbox]") !== null;
}

/** Listen to the keys of the page. */
export function listenToKeys(app) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && app.state.chapter !== null) app.toggleTour();
    const found = KEYS.find(({key}) => key === event.key.toLowerCase());
    if (!found || isTaken(event)) return;
    event.preventDefault();
    found.act(app);
  });
}

const HELP = [
  "The page trains a GPT on a list, one document per line, with the same code as `motegpt train`: the same settings " +
    "and seed give the same numbers. Nothing leaves your computer.",
  "`Download` gives the run folder that `motegpt sample`, `motegpt show` and `motegpt train --resume` read, as a zip; " +
    "`Open` goes on with one. A list in another format or encoding: `motegpt play FILE`.",
  "Scripts on the browser's console find all of it in `motegpt`: `motegpt.losses`, `await motegpt.train(100)`, …",
];

/** Fill the help dialog. */
export function mountHelp() {
  const dialog = byId("keys");
  const rows = [...KEYS.map(({shown, does}) => [shown, does]), ...OTHERS];
  const table = make("table", {}, make("tbody", {}, ...rows.map(([key, does]) =>
    make("tr", {}, make("th", {scope: "row"}, make("kbd", {}, key)), make("td", {}, does)))));
  dialog.append(
    make("h2", {id: "keys-title"}, "Keys and help"), table,
    ...HELP.map((text) => make("p", {}, ...withCode(text))),
    make("form", {method: "dialog"}, make("button", {class: "primary"}, "Close")),
  );
}
