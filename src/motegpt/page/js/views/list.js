/** The data: built-in lists, a pasted list, a file. */
import {byId, counted, make, setText, withCode} from "../dom.js";
import {symbol} from "../draw.js";

const OWN = "own"; // value of the selection for a list that is not built in

export const listView = {
  id: "list",
  title: "Data",
  needs: ["description"],

  mount(element, {actions, boot, state}) {
    this.select = make("select", {id: "lists", onchange: () => this.choose(actions, state)});
    this.boot = boot;
    this.about = make("p", {class: "hint", id: "list-about"});
    this.first = make("p", {class: "documents", "aria-label": "The first documents"});
    this.letters = make("p", {class: "letters", "aria-label": "The vocabulary"});
    this.error = make("p", {class: "error", id: "list-error", role: "alert"});
    this.paste = make("textarea", {
      id: "paste", rows: 6, spellcheck: "false", placeholder: "One document per line",
      "aria-label": "Your own list, one document per line",
    });
    const own = make("details", {id: "own-list"}, make("summary", {}, "Your own list"), this.paste,
      make("div", {class: "row"},
        make("button", {type: "button", id: "use-list", onclick: () => this.usePasted(actions)}, "Train on this"),
        make("button", {type: "button", class: "quiet", onclick: () => byId("files").click()}, "Open a file")),
      make("p", {class: "hint"}, ...withCode("Or drop a file anywhere: UTF-8, one document per line. " +
        "`motegpt play FILE` reads tables, JSON and other encodings. Nothing leaves your computer.")));
    element.append(
      make("label", {class: "wide"}, make("span", {class: "hidden"}, "List"), this.select),
      this.about, this.first, this.letters, this.error, own,
    );
    this.drawn = null;
  },

  choose(actions, state) {
    if (this.select.value === OWN) return;
    actions.setList(this.select.value).catch(() => {
      this.select.value = state.list.builtIn ? state.list.name : OWN;
    });
  },

  usePasted(actions) {
    actions.setList({name: "your list", title: "pasted", text: this.paste.value}).catch(() => {});
  },

  draw({state, data}) {
    setText(this.error, state.errors.list ?? "");
    this.paste.setAttribute("aria-invalid", String(Boolean(state.errors.list)));
    if (this.drawn === data.description) return;
    this.drawn = data.description;
    this.drawSelect(state.list);
    if (!data.description) return;
    const {documents, vocabulary} = data.description;
    const held = documents.validation ? `, ${counted(documents.validation, "document")} held out` : "";
    setText(this.about, documents.training
      ? `${counted(documents.training, "document")}${held}, ${counted(vocabulary.length, "token")} in the vocabulary.`
      : "The list that this model learned from is not part of the page.");
    setText(this.first, (documents.first ?? []).join(" · "));
    const shown = vocabulary.length > 150 ? [...vocabulary.slice(0, 150), "…"] : vocabulary;
    this.letters.replaceChildren(...shown.map((label) => make("span", {}, symbol(label))));
  },

  drawSelect(list) {
    const options = this.boot.lists.map(({name, title}) => make("option", {value: name}, `${name}: ${title}`));
    const isOwn = list && !list.builtIn;
    if (isOwn) options.push(make("option", {value: OWN}, `${list.name}: ${list.title ?? "your list"}`));
    if (!list) options.push(make("option", {value: OWN}, "a trained model"));
    this.select.replaceChildren(...options);
    this.select.value = list?.builtIn ? list.name : OWN;
  },
};
