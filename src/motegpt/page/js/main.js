/** Puts the page together: worker messages to the store, the store to the views, one animation frame. */
import {Actions} from "./actions.js";
import {Client} from "./client.js";
import {byId, make, setText} from "./dom.js";
import {Frames} from "./frames.js";
import {listenToKeys, mountHelp} from "./keys.js";
import {hashOf, readHash} from "./link.js";
import {scriptInterface} from "./script.js";
import {mountShare} from "./share.js";
import {startWorker, unpacked, whyNot} from "./start.js";
import {Store} from "./state.js";
import {measureBar, mountTabs, mountTheme} from "./theme.js";
import {attentionView} from "./views/attention.js";
import {causeView} from "./views/cause.js";
import {controlsView} from "./views/controls.js";
import {embeddingsView} from "./views/embeddings.js";
import {flowView} from "./views/flow.js";
import {histogramsView} from "./views/histograms.js";
import {lensView} from "./views/lens.js";
import {listView} from "./views/list.js";
import {lossView} from "./views/loss.js";
import {samplesView} from "./views/samples.js";
import {settingsView} from "./views/settings.js";
import {slowView} from "./views/slow.js";
import {textView} from "./views/text.js";
import {timeView} from "./views/time.js";
import {tourView} from "./views/tour.js";

const INSIDE = [flowView, attentionView, lensView, causeView, embeddingsView, histogramsView, slowView];
const COLUMNS = {setup: [listView, settingsView], model: [textView, ...INSIDE], results: [lossView, samplesView]};

/** Show a sentence instead of a page that cannot work. */
function giveUp(sentence) {
  byId("broken").hidden = false;
  setText(byId("broken"), sentence);
  document.body.classList.add("is-broken");
}

/** A message with an optional button {label, act}; it goes away after ten seconds, unless it is read just then. */
function notifier(element) {
  let timer = 0;
  const close = () => {
    element.hidden = true;
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (element.matches(":hover, :focus-within") ? later() : close()), 10000);
  };
  return (sentence, button) => {
    const text = sentence.split("`").map((part, i) => (i % 2 ? make("code", {}, part) : part));
    const act = button && make("button", {type: "button", onclick: () => { close(); button.act(); }}, button.label);
    element.replaceChildren(make("span", {}, ...text), ...(act ? [act] : []),
      make("button", {type: "button", class: "quiet", "aria-label": "Close this message", onclick: close}, "×"));
    element.hidden = false;
    later();
  };
}

/** The section of a view: a heading, and an element that the view fills. */
function section(view) {
  const body = make("div", {class: "body"});
  const heading = make("h2", {id: `${view.id}-title`}, view.title);
  const element = make("section", {class: "view", id: `view-${view.id}`, "aria-labelledby": heading.id}, heading, body);
  return {element, body};
}

/** Buttons that scroll to the views of the inside of the model. */
function contents() {
  const go = (id) => () => byId(`view-${id}`).scrollIntoView();
  return make("nav", {class: "contents", "aria-label": "Views of the model"},
    ...INSIDE.map(({id, short}) => make("button", {type: "button", class: "quiet", onclick: go(id)}, short)));
}

function mountViews(app, frames) {
  for (const [column, views] of Object.entries(COLUMNS)) {
    for (const view of views) {
      const {element, body} = section(view);
      byId(column).append(element);
      if (view === textView) byId(column).append(contents());
      frames.add(view, body);
    }
  }
  const bar = [controlsView, timeView].map((view) => [view, make("div", {class: view.id})]);
  byId("bar").append(...bar.map(([, element]) => element));
  bar.forEach(([view, element]) => frames.add(view, element));
  frames.add(tourView, byId("tour"));
}

/** The model that the page begins with: of the link, of a run or list that came with the page, or the first list. */
async function firstModel(app, boot) {
  const {actions} = app;
  const first = {
    preset: boot.preset, settings: {...boot.presets[boot.preset]}, list: {...boot.lists[0], builtIn: true},
  };
  const orFirst = async (what, make) => {
    try {
      await make();
    } catch (error) {
      await actions.create(first);
      app.notify(`${what} cannot be used: ${error.message}. The page begins with its first list.`);
    }
  };
  const own = boot.list && {...boot.list, title: boot.list.name, builtIn: false};
  let linked = null;
  try {
    linked = await readHash(location.hash, boot.presets);
  } catch {
    app.notify("The link is damaged, so the page begins without it. Copy the whole link and open it again.");
  }
  if (linked) return orFirst("The link's model", () => actions.create(modelOfLink(linked, boot, own ?? first.list)));
  if (boot.run) return orFirst("The run", () => actions.openRun(boot.run, own));
  if (own) return orFirst("The list", () => actions.create({...first, list: own}));
  return actions.create(first);
}

/** What a link asks for; otherList: where it names none that is here. */
function modelOfLink(linked, boot, otherList) {
  const found = boot.lists.find(({name}) => name === linked.list);
  const sent = linked.list?.text !== undefined ? {...linked.list, builtIn: false} : otherList;
  return {
    preset: linked.preset, settings: {...boot.presets[linked.preset], ...linked.set},
    list: found ? {...found, builtIn: true} : sent, text: linked.text || undefined,
  };
}

/** Keep the address of the page in step with the model, so that it can be copied or reloaded. */
function keepHash(app, boot) {
  let timer = 0;
  let last = null;
  return () => {
    const {preset, settings, list, text, opened} = app.state;
    const now = JSON.stringify([preset, settings, list?.name, list?.text.length, text, opened]);
    if (!list || (boot.run && opened) || now === last) return; // a link would replace the run of the page
    last = now;
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const {hash} = await hashOf(app.state, boot);
      history.replaceState(null, "", hash);
    }, 300);
  };
}

async function start() {
  const lacking = whyNot();
  if (lacking) return giveUp(lacking);
  const boot = JSON.parse(new TextDecoder().decode(await unpacked("boot")));
  const store = new Store();
  const app = {
    boot, state: store.state, data: store.data, set: (changes) => store.set(changes), notify: notifier(byId("message")),
    toggleTour: () => store.set({chapter: store.state.chapter === null ? 0 : null}),
  };
  const frames = new Frames(store, app, (name) => app.actions.request(name));
  const client = new Client(await startWorker(), (event) => {
    if (event.event === "progress") app.actions.receiveProgress(event);
    else if (event.event === "failed") app.notify(event.error);
  }, (sentence) => giveUp(`The computation stopped: ${sentence}. Reload the page to begin again.`));
  const speak = (sentence) => setText(byId("spoken"), sentence);
  Object.assign(app, {frames, actions: new Actions({store, client, frames, boot, notify: app.notify, speak})});
  const opened = open(app, client, frames, boot);
  window.motegpt = scriptInterface(app, opened);
  return opened;
}

/** Load the core, make the first model, and show it. */
async function open(app, client, frames, boot) {
  mountTheme(app);
  measureBar();
  mountTabs(app);
  mountHelp();
  const module = await unpacked("module");
  const {preset, presets, fields, lists} = boot; // without a list or a run, which can be large
  await client.call("start", {module, boot: {preset, presets, fields, lists}}, [module]);
  await firstModel(app, boot);
  mountViews(app, frames);
  mountShare(app);
  listenToKeys(app);
  frames.add({always: true, mount() {}, draw: keepHash(app, boot)}, document.body);
}

start().catch((error) => giveUp(`The page could not start: ${error.message}. Reload it to try again.`));
