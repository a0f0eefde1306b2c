// What spec.js, hash.js, data.js, plan.js and baselines.js make of the cases of tests/test_page_data.py.

import {baselineLosses} from "../../src/motegpt/page/js/baselines.js";
import {Tokenizer, decodeText, readDocuments, splitDocuments} from "../../src/motegpt/page/js/data.js";
import {crc32, sha256} from "../../src/motegpt/page/js/hash.js";
import {DocumentPlan, trainingSequences, windowsOf} from "../../src/motegpt/page/js/plan.js";
import {initialize, tensors} from "../../src/motegpt/page/js/spec.js";
import {answer, attempt, countingRandom, given} from "./io.mjs";

const bytesOf = (text) => Uint8Array.from(Buffer.from(text, "base64"));

const CASES = {
  tensors: (model) => tensors(model),
  initialize: (model) => initialize(model, countingRandom()),
  hashes: (base64) => ({sha256: sha256(bytesOf(base64)), crc32: crc32(bytesOf(base64))}),
  documents: ({base64, data}) => readDocuments({name: "list", bytes: bytesOf(base64)}, data),
  decode: (base64) => decodeText(bytesOf(base64), "list"),
  learn({documents, data, values}) {
    const tokenizer = values ? new Tokenizer(values) : Tokenizer.learn(documents, data);
    const ids = documents.map((document) => tokenizer.encodeDocument(document));
    const {bos, stop, vocab_size, never} = tokenizer;
    return {
      values: tokenizer.values(),
      ids,
      texts: ids.map((one) => tokenizer.decode(one)),
      bos,
      stop,
      vocab_size,
      never,
      prompt: tokenizer.prompt(),
    };
  },
  split: ({documents, data, seed}) => splitDocuments(documents, data, seed),
  chunks({documents, data, train, blockSize, order, spans}) {
    const tokenizer = Tokenizer.learn(documents, data);
    const plan = new DocumentPlan(
      trainingSequences(documents, tokenizer, data, blockSize),
      train,
      order,
      false,
    );
    return spans.map(([start, count]) => ({...plan.chunk(start, count), before: plan.tokensBefore(start)}));
  },
  windows: ([targets, blockSize]) => windowsOf(targets, blockSize),
  baselines: ({training, evaluated, vocabSize, lossMean, never}) =>
    baselineLosses(training, evaluated, vocabSize, lossMean, never),
};

answer(given.map(([name, value]) => attempt(() => CASES[name](value))));
