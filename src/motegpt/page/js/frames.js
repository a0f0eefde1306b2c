/** Draws what is visible and has changed, once per animation frame, and asks the worker for what it needs. */

const FRAME = 40; // ms between two requests of a kind: at most 25 per second
const INTERVALS = { // of the needs that are asked of the worker
  look: FRAME, cause: FRAME, weights: FRAME, gradients: FRAME, update: FRAME, m: FRAME, v: FRAME, samples: 400,
};
const KEPT = 240; // frame times, of four seconds

export class Frames {
  /** request(name): asks the worker for a need, and resolves when app.data has it. */
  constructor(store, app, request) {
    this.store = store;
    this.app = app;
    this.request = request;
    this.views = [];
    this.version = 0; // of the model, the text and the mask: whatever changes an answer
    this.asked = new Map(); // need -> {version, at, busy}
    this.times = [];
    this.scheduled = false;
    this.observer = new IntersectionObserver((entries) => entries.forEach((entry) => this.#seen(entry)),
      {rootMargin: "100px"});
    store.schedule = () => this.schedule();
  }

  /** Mount a view into an element, and draw it whenever it is visible, or always where it says so. */
  add(view, element) {
    const one = {view, element, visible: Boolean(view.always), stale: true};
    this.views.push(one);
    view.mount(element, this.app);
    if (!view.always) this.observer.observe(element);
  }

  /** Whatever was asked for is of an earlier model, text or mask. */
  outdate() {
    this.version += 1;
    this.schedule();
  }

  schedule() {
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => this.#frame());
  }

  #seen(entry) {
    const one = this.views.find(({element}) => element === entry.target);
    one.visible = entry.isIntersecting;
    if (one.visible) this.schedule();
  }

  #needs(one) {
    const {needs = []} = one.view;
    return typeof needs === "function" ? needs(this.app.state) : needs;
  }

  #frame() {
    this.scheduled = false;
    const began = performance.now();
    const changes = this.store.takeChanges();
    for (const one of this.views) {
      one.stale ||= changes.state || this.#needs(one).some((name) => changes.data.has(name));
      if (!one.visible || !one.stale) continue;
      one.stale = false;
      try {
        one.view.draw(this.app);
      } catch (error) {
        reportError(error); // the other views go on
      }
    }
    this.#ask();
    this.times.push(performance.now() - began);
    if (this.times.length > KEPT) this.times.shift();
  }

  #ask() {
    if (!this.app.data.description) return;
    const needed = new Set(this.views.filter((one) => one.visible).flatMap((one) => this.#needs(one)));
    const now = performance.now();
    let soon = Infinity;
    for (const name of Object.keys(INTERVALS).filter((one) => needed.has(one))) {
      const last = this.asked.get(name) ?? {version: -1, at: -Infinity, busy: false};
      if (last.busy || last.version === this.version) continue;
      const wait = last.at + INTERVALS[name] - now;
      if (wait > 0) soon = Math.min(soon, wait);
      else this.#send(name, now);
    }
    if (soon < Infinity) setTimeout(() => this.schedule(), soon);
  }

  async #send(name, now) {
    const sent = {version: this.version, at: now, busy: true};
    this.asked.set(name, sent);
    try {
      await this.request(name);
    } finally {
      sent.busy = false;
      this.schedule();
    }
  }
}
