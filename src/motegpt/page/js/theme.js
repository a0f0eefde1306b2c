/** Light or dark, reduced motion, the height of the bar, and the tab that a narrow page shows. */
import {byId} from "./dom.js";

const STORED = "motegpt-theme";

/** The theme chosen earlier; null where there is none, or the browser keeps nothing. */
function storedTheme() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}

function storeTheme(theme) {
  try {
    localStorage.setItem(STORED, theme);
  } catch { /* the choice lasts as long as the page */ }
}

/** Follow the system's theme until the button is used; keep <html data-theme> and the state in step. */
export function mountTheme(app) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const apply = () => {
    const theme = storedTheme() ?? (dark.matches ? "dark" : "light");
    show(app, ["light", "dark"].includes(theme) ? theme : "light");
  };
  byId("theme").addEventListener("click", () => {
    const theme = app.state.theme === "dark" ? "light" : "dark";
    storeTheme(theme);
    show(app, theme);
  });
  dark.addEventListener("change", apply);
  still.addEventListener("change", () => app.set({reducedMotion: still.matches}));
  app.set({reducedMotion: still.matches});
  apply();
}

/** Keep the height of the control bar where the style finds it: what is sticky begins below it. */
export function measureBar() {
  const bar = byId("bar");
  new ResizeObserver(() => document.documentElement.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
}

function show(app, theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").setAttribute("aria-pressed", String(theme === "dark"));
  app.set({theme});
}

/** The bar at the bottom of a narrow page. */
export function mountTabs(app) {
  const buttons = document.querySelectorAll(".tabs [data-tab]");
  const choose = (tab) => {
    if (tab === "tour") return app.toggleTour();
    document.body.dataset.tab = tab;
    for (const button of buttons) button.toggleAttribute("aria-current", button.dataset.tab === tab);
    app.set({tab});
    scrollTo({top: 0});
    return undefined;
  };
  buttons.forEach((button) => button.addEventListener("click", () => choose(button.dataset.tab)));
  app.showTab = choose;
  choose(app.state.tab);
}
