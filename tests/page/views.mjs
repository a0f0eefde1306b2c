// What the numerics of the page's views make of the cases of tests/test_page_numbers.py.

import {sourcesOf} from "../../src/motegpt/page/js/anatomy.js";
import {interventions, parameterName, toggled, withWeight} from "../../src/motegpt/page/js/interventions.js";
import {cosine, entropy, histogram, softmax, topOf} from "../../src/motegpt/page/js/numbers.js";
import {Plane} from "../../src/motegpt/page/js/plane.js";
import {Ratios} from "../../src/motegpt/page/js/ratios.js";
import {updateRows} from "../../src/motegpt/page/js/update_rule.js";
import {answer, attempt, given} from "./io.mjs";

const CASES = {
  planes({frames, rows, columns}) {
    const plane = new Plane(rows, columns);
    return frames.map((values) => ({points: plane.update(values).slice(), shares: plane.shares}));
  },
  update: (one) => Object.fromEntries(updateRows(one).map(({name, value}) => [name, value])),
  softmax: ({values, temperature}) => softmax(values, 0, values.length, new Float64Array(values.length), temperature),
  entropy: (values) => entropy(values, 0, values.length),
  top: ({values, n}) => topOf(values, 0, values.length, n),
  cosine: ({values, columns}) => cosine(values, 0, columns, 0, 1),
  histogram({values, low, high, bins}) {
    const counts = new Float64Array(bins);
    return {...histogram(values, 0, values.length, low, high, counts), counts};
  },
  sources: ({map, row, column, anatomy}) => 
    sourcesOf(map, row, column, {...anatomy, places: new Map(anatomy.tensors.map((name) => [name, {shape: [1]}]))}),
  mask({mask, steps}) {
    for (const [name, ...rest] of steps) mask = name === "toggle" ? toggled(mask, ...rest) : withWeight(mask, ...rest);
    return mask;
  },
  interventions: ({mask, tensors}) => interventions(mask, tensors).map(({text, without}) => ({text, without})),
  names: ({tensors, indices}) => indices.map((index) => parameterName(tensors, index)),
  ratios(steps) {
    const ratios = new Ratios();
    for (const step of steps) ratios.add(step, [1, -1], [0.01, -0.01], [{offset: 0, shape: [2]}]);
    return {steps: ratios.steps, last: ratios.of(0).at(-1)};
  },
};

answer(given.map(([name, value]) => attempt(() => CASES[name](value))));
