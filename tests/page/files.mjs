// Read a run folder, or a zip of one, and write it again, for tests/test_page_files.py.

import {readFileSync, readdirSync, writeFileSync} from "node:fs";

import {readRun, runFiles} from "../../src/motegpt/page/js/files.js";
import {parseJson, pythonJson} from "../../src/motegpt/page/js/json.js";
import {kneserNeyTables} from "../../src/motegpt/page/js/kneser_ney.js";
import {completeSettings} from "../../src/motegpt/page/js/settings.js";
import {readTensors} from "../../src/motegpt/page/js/tensor_file.js";
import {unzip, zipOf} from "../../src/motegpt/page/js/zip.js";
import {answer, given} from "./io.mjs";

const {boot} = given;
const bytesOf = (path) => new Uint8Array(readFileSync(path));
const filesIn = (folder) => readdirSync(folder).map((name) => ({name, bytes: bytesOf(`${folder}/${name}`)}));

const CASES = {
  /** Read the folder and write its files to another. */
  async copy({from, to, zip}) {
    const state = await readRun(zip ? [{name: "run.zip", bytes: bytesOf(zip)}] : filesIn(from), boot);
    const type = state.config.train.dtype === "float32" ? Float32Array : Float64Array;
    const typed = {parameters: type.from(state.parameters), slots: type.from(state.slots)};
    const best = state.bestParameters && type.from(state.bestParameters);
    for (const {name, bytes} of runFiles({...state, ...typed, bestParameters: best}))
      writeFileSync(`${to}/${name}`, bytes);
    return {done: state.done, others: state.others.map(({name}) => name)};
  },
  async average({from}) {
    return (await readRun(filesIn(from), boot)).average;
  },
  contexts: async ({from}) => (await readRun(filesIn(from), boot)).contexts,
  zip({names, to}) {
    const files = names.map((name) => ({name, bytes: new TextEncoder().encode(name.repeat(500))}));
    writeFileSync(to, zipOf(files));
  },
  unzip: async ({path}) =>
    (await unzip(bytesOf(path))).map(({name, bytes}) => [name, Buffer.from(bytes).toString("base64")]),
  read: ({path, expected, dtypes}) => readTensors("file", bytesOf(path), expected, dtypes),
  json: (text) => pythonJson(parseJson(text)),
  kneserNey: ({grams, counts, order, vocabSize, never}) =>
    kneserNeyTables(grams, counts, order, vocabSize, never),
  settings: (changes) => completeSettings(changes, boot),
};

const answers = [];
for (const [name, value] of given.cases) {
  try {
    answers.push(await CASES[name](value));
  } catch (error) {
    answers.push({error: error.message});
  }
}
answer(answers);
