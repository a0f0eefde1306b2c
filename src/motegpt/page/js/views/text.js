/** The text that the model is looked at with. */
import {make, setText} from "../dom.js";

export const textView = {
  id: "look",
  title: "A text to look at",
  needs: ["look", "description"],

  mount(element, {actions}) {
    this.input = make("input", {
      type: "text", id: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
      "aria-describedby": "text-about text-error", oninput: () => actions.setText(this.input.value),
    });
    this.about = make("p", {class: "hint", id: "text-about"});
    this.error = make("p", {class: "error", id: "text-error", role: "alert"});
    element.append(
      make("label", {class: "wide"}, make("span", {class: "hidden"}, "Text"), this.input), this.about, this.error,
    );
  },

  draw({state, data}) {
    if (this.input.value !== state.text) this.input.value = state.text;
    const error = state.errors.text ?? "";
    setText(this.error, error);
    this.input.setAttribute("aria-invalid", String(error !== ""));
    setText(this.about, data.look && !error ? summary(data.look) : "");
  },
};

/** What the model says of a text, in one sentence. */
function summary({loss, losses}) {
  if (!Number.isFinite(loss)) return "";
  const count = losses?.length ? ` over ${losses.length} targets` : "";
  return `Loss ${loss.toFixed(3)} nats${count}: on average the model gave the next character ` +
    `a probability of ${(100 * Math.exp(-loss)).toFixed(loss > 4 ? 2 : 0)} %.`;
}
