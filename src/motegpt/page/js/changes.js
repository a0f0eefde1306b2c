/** The effect of interventions: losses before and after, and the next-character probabilities that changed most. */
import {make, setText} from "./dom.js";
import {four, percent, symbol} from "./draw.js";
import {largestChanges} from "./interventions.js";

const SHOWN = 10; // characters

export class Changes {
  constructor() {
    this.losses = make("tbody");
    this.position = make("select", {"aria-label": "Position", onchange: () => this.redraw?.()});
    this.chosen = null;
    this.position.addEventListener("change", () => (this.chosen = Number(this.position.value)));
    this.bars = make("ol", {class: "paired"});
    this.said = make("p", {class: "hidden", role: "status"});
    this.element = make("div", {class: "changes"},
      make("table", {class: "cause-losses"}, make("thead", {}, make("tr", {}, ...["Loss, nats", "before", "after",
        "change"].map((title) => make("th", {scope: "col"}, title)))), this.losses),
      make("div", {class: "view-tools"}, make("label", {}, "Next character after ", this.position),
        make("span", {class: "key-before"}, "before"), make("span", {class: "key-after"}, "after")), this.bars, this.said);
  }

  /** cause: as the session answers, or null for no intervention; look: of the model as it is. */
  draw(anatomy, cause, look) {
    this.redraw = () => this.draw(anatomy, cause, look);
    const {before, after} = cause ?? {before: look, after: look};
    this.#writeLosses(before, after, cause?.validation);
    this.#writePositions(look);
    const across = anatomy.vocabulary.length;
    const at = Math.min(this.chosen ?? look.ids.length - 1, look.ids.length - 1);
    this.#writeBars(anatomy.vocabulary, before.probabilities, after.probabilities, at * across);
    setText(this.said, `Loss of the text ${four(before.loss)} before, ${four(after.loss)} after.`);
  }

  #writeLosses(before, after, validation) {
    const rows = [["this text", before.loss, after.loss]];
    if (validation?.before != null) {
      rows.push([`${validation.documents} held-out documents`, validation.before, validation.after]);
    }
    while (this.losses.children.length > rows.length) this.losses.lastChild.remove();
    while (this.losses.children.length < rows.length) {
      this.losses.append(make("tr", {}, make("th", {scope: "row"}), make("td"), make("td"), make("td")));
    }
    rows.forEach(([title, from, to], i) => {
      const cells = this.losses.children[i].children;
      [title, four(from), four(to), signed(to - from)].forEach((text, column) => setText(cells[column], text));
      cells[3].className = to > from ? "worse" : to < from ? "better" : "";
    });
  }

  #writePositions({labels}) {
    const {position} = this;
    const texts = labels.map((label, i) => `${symbol(label)} (position ${i})`);
    if (texts.join() !== this.positions) {
      this.positions = texts.join();
      position.replaceChildren(...texts.map((text, i) => make("option", {value: i}, text)));
    }
    position.value = Math.min(this.chosen ?? labels.length - 1, labels.length - 1);
  }

  #writeBars(vocabulary, before, after, offset) {
    const found = largestChanges(before, after, offset, vocabulary.length, SHOWN);
    while (this.bars.children.length > found.length) this.bars.lastChild.remove();
    while (this.bars.children.length < found.length) {
      this.bars.append(make("li", {}, make("b"), make("div", {"aria-hidden": "true"}, make("i"), make("i")), make("span")));
    }
    found.forEach((id, i) => {
      const [label, {children: [one, other]}, numbers] = this.bars.children[i].children;
      const [from, to] = [before[offset + id], after[offset + id]];
      setText(label, vocabulary[id]);
      one.style.width = `${100 * from}%`;
      other.style.width = `${100 * to}%`;
      setText(numbers, `${percent(from)} → ${percent(to)}`);
    });
  }
}

const signed = (value) => (value > 0 ? `+${four(value)}` : four(value));
