/** The tour's panel: a chapter at a time, each of which sets the page up. */
import {CHAPTERS} from "../chapters.js";
import {newestOnly} from "../client.js";
import {byId, make, withCode} from "../dom.js";

const FASTEST = 1000; // steps in one request
const SETTLING = [150, 400, 900]; // ms after which views above are drawn and have moved what is scrolled to

/** Bring the page to where a chapter begins: its list, its model, its step. */
export async function setUp(app, chapter) {
  const {actions, boot, state} = app;
  const [list] = boot.lists;
  const settings = boot.presets[boot.preset];
  const isOther = state.list?.name !== list.name || !state.list.builtIn ||
    Object.keys(settings).some((name) => settings[name] !== state.settings[name]);
  if (state.running) await actions.pause();
  if (isOther) {
    await actions.create({preset: boot.preset, settings: {...settings}, list: {...list, builtIn: true}},
      {said: "The tour uses its own list and settings; undo brings yours back."});
  }
  if (actions.step > chapter.step || state.viewing !== null) await actions.restart();
  while (actions.step < chapter.step) await actions.train(Math.min(FASTEST, chapter.step - actions.step));
  if (chapter.text) actions.setText(chapter.text);
  if (chapter.slow) await actions.slow();
  if (chapter.speed) await actions.setSpeed(chapter.speed);
  if (chapter.run) await actions.run();
}

export const tourView = {
  id: "tour",
  always: true,

  mount(element, app) {
    this.element = element;
    this.app = app;
    this.shown = null;
    this.begin = newestOnly((chapter) => this.setUp(chapter));
    element.addEventListener("keydown", (event) => this.turn(event));
  },

  /** Left and right turn the page while the tour has the focus. */
  turn(event) {
    const direction = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    const chapter = this.app.state.chapter + (direction ?? 0);
    if (!direction || !CHAPTERS[chapter]) return;
    event.preventDefault();
    this.app.set({chapter});
  },

  draw({state}) {
    if (state.chapter === this.shown) return;
    const was = this.shown;
    this.shown = state.chapter;
    this.element.hidden = state.chapter === null;
    document.body.classList.toggle("has-tour", state.chapter !== null);
    document.querySelectorAll(".view.is-told").forEach((view) => view.classList.remove("is-told"));
    if (state.chapter === null) {
      if (was !== null) byId("open-tour").focus();
      return;
    }
    this.show(state.chapter);
  },

  show(index) {
    const chapter = CHAPTERS[index];
    const go = (to) => () => this.app.set({chapter: to});
    const dots = CHAPTERS.map(({title}, i) => make("button", {
      type: "button", class: "dot", "aria-label": `Chapter ${i + 1}: ${title}`, "aria-current": i === index ? "step" : null,
      onclick: go(i),
    }));
    const title = make("h2", {tabindex: -1}, headingOf(index, chapter));
    this.element.replaceChildren(
      make("div", {class: "row spread"}, make("div", {class: "dots"}, ...dots),
        make("button", {type: "button", class: "quiet", "aria-label": "Close the tour", onclick: go(null)}, "×")),
      title,
      ...chapter.paragraphs.map((text) => make("p", {}, ...withCode(text))),
      make("p", {class: "attempt"}, make("b", {}, "Try: "), ...withCode(chapter.attempt)),
      make("div", {class: "row spread"},
        make("button", {type: "button", id: "tour-back", disabled: index === 0, onclick: go(index - 1)}, "Back"),
        index + 1 < CHAPTERS.length
          ? make("button", {type: "button", id: "tour-next", class: "primary", onclick: go(index + 1)}, "Next")
          : make("button", {type: "button", id: "tour-next", class: "primary", onclick: go(null)}, "Done")),
    );
    this.element.scrollTop = 0;
    title.focus({preventScroll: true});
    this.begin(chapter);
  },

  /** Set the page up for a chapter: one at a time, and of those that are turned over meanwhile only the last. */
  async setUp(chapter) {
    try {
      await setUp(this.app, chapter);
    } catch (error) {
      this.app.notify(error.message);
    }
    this.showView(chapter);
    for (const wait of SETTLING) setTimeout(() => this.showView(chapter), wait);
  },

  /** Scroll to the view of a chapter, if it is still the one that is read. */
  showView(chapter) {
    const {chapter: index} = this.app.state;
    const view = byId(`view-${chapter.view}`);
    if (index === null || CHAPTERS[index] !== chapter || !view) return;
    const column = view.closest(".column").id;
    if (document.body.dataset.tab !== column) this.app.showTab(column);
    view.classList.add("is-told");
    view.scrollIntoView({block: "start"});
  },
};

const headingOf = (index, {title}) => `${index + 1}. ${title}`;
