// What losses.js keeps, for the cases of tests/test_page_losses.py.

import {LossHistory} from "../../src/motegpt/page/js/losses.js";
import {answer, given} from "./io.mjs";

const {capacity, chunks, ranges} = given;
const kept = new LossHistory(capacity);
for (const {first, losses} of chunks) kept.append(first, losses);
answer({
  width: kept.width, steps: kept.steps, values: kept.values(), means: ranges.map(([first, end]) => kept.mean(first, end)),
});
