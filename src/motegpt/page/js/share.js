/** Links, downloads, and files that are opened or dropped. */
import {decodeText} from "./data.js";
import {byId, setText} from "./dom.js";
import {hashOf} from "./link.js";

const LARGEST_LIST = 50e6; // bytes; larger lists are for `motegpt train`
const OF_RUN = /\.(zip|safetensors)$|^(config|tokenizer)\.json$/i;

/** All files of what was dropped, folders included: [{name, bytes}], names without the folder. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const found = [];
  for (const entry of entries) await collect(entry, found);
  return found;
}

async function collect(entry, found) {
  if (entry.isFile) found.push(await new Promise((resolve, reject) => { entry.file(resolve, reject); }));
  if (!entry.isDirectory) return;
  const reader = entry.createReader();
  for (;;) {
    const entries = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
    if (!entries.length) return;
    for (const one of entries) await collect(one, found);
  }
}

/** Open files: a run folder or its zip, or a list. Errors are shown in place. */
export async function openFiles(app, files) {
  if (!files.length) return;
  const {actions} = app;
  const isRun = files.some(({name}) => OF_RUN.test(name));
  try {
    const contents = await Promise.all(files.map(async (file) =>
      ({name: file.name, bytes: new Uint8Array(await file.arrayBuffer())})));
    actions.store.fail("files", null);
    if (isRun) {
      await actions.importRun(contents);
      app.notify(`Opened ${files[0].name}: the model is at step ${actions.step}.`);
      return;
    }
    if (files.length > 1) {
      throw new Error(`files: expected one list, or the files of a run folder, got ${files.length} files`);
    }
    const [{name, bytes}] = contents;
    if (bytes.length > LARGEST_LIST) {
      throw new Error(`${name}: expected at most ${LARGEST_LIST / 1e6} MB; \`motegpt train\` reads it`);
    }
    await actions.setList({name, title: "your file", text: decodeText(bytes, name)});
  } catch (error) {
    app.notify(error.message);
  }
}

/** Save bytes as a file. */
function save(name, bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], {type}));
  const anchor = Object.assign(document.createElement("a"), {href: url, download: name});
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function copyLink(app) {
  const {hash, remark} = await hashOf(app.state, app.boot);
  const url = `${location.href.split("#")[0]}${hash}`;
  history.replaceState(null, "", hash);
  const button = byId("copy-link");
  try {
    await navigator.clipboard.writeText(url);
    setText(button, "Copied");
    setTimeout(() => setText(button, "Copy link"), 2000);
    app.notify(remark ?? "The link is copied: it opens this page with the same settings, seed, text and list.");
  } catch {
    app.notify(remark ?? "The link is in the address bar: copy it from there.");
  }
}

async function download(app) {
  try {
    const {zip} = await app.actions.exportRun();
    const name = (app.state.list?.name ?? "run").replace(/\.\w+$/, "").replace(/[^\w-]+/g, "-");
    save(`${name}.zip`, zip, "application/zip");
    const more = app.state.list ? ` or \`motegpt train ${name}/list.txt --resume ${name}\`` : "";
    app.notify(`Saved ${name}.zip: unpack it, then \`motegpt sample ${name}\`, \`motegpt show ${name}\`${more}.`);
  } catch (error) {
    app.notify(error.message);
  }
}

function listenToDrops(app) {
  const shade = byId("drop");
  let depth = 0;
  const end = () => {
    depth = 0;
    shade.hidden = true;
  };
  addEventListener("dragenter", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    depth += 1;
    shade.hidden = false;
  });
  addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) end();
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", async (event) => {
    event.preventDefault();
    end();
    await openFiles(app, await droppedFiles(event.dataTransfer));
  });
}

/** The buttons of the header that share the model, and dropped files. */
export function mountShare(app) {
  byId("copy-link").addEventListener("click", () => copyLink(app));
  byId("download").addEventListener("click", () => download(app));
  byId("open-files").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", async (event) => {
    const files = [...event.target.files];
    event.target.value = "";
    await openFiles(app, files);
  });
  byId("open-tour").addEventListener("click", () => app.toggleTour());
  byId("help").addEventListener("click", () => byId("keys").showModal());
  listenToDrops(app);
}
