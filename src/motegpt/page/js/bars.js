/** Next-character probabilities as bars of text: one distribution, or two side by side. */
import {make, setText} from "./dom.js";
import {percent} from "./draw.js";
import {topOf} from "./numbers.js";

/** The most likely characters of one distribution. */
export class NextBars {
  constructor(most = 12) {
    this.most = most;
    this.heading = make("div", {class: "bars-title"});
    this.list = make("ol", {class: "bars"});
    this.element = make("div", {class: "next-bars"}, this.heading, this.list);
  }

  /** probabilities from offset, one per label of the vocabulary. */
  set(vocabulary, probabilities, offset, title) {
    setText(this.heading, title);
    const found = topOf(probabilities, offset, vocabulary.length, this.most);
    const {list} = this;
    while (list.children.length > found.length) list.lastChild.remove();
    while (list.children.length < found.length) {
      list.append(make("li", {}, make("b"), make("i", {"aria-hidden": "true"}), make("span")));
    }
    found.forEach((id, i) => {
      const [label, bar, number] = list.children[i].children;
      const share = probabilities[offset + id];
      setText(label, vocabulary[id]);
      bar.style.setProperty("--share", share.toFixed(4));
      setText(number, percent(share));
    });
  }
}
