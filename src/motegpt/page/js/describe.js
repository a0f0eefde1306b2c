// The description of a model, which the page gets when it is made or opened.

import {baselineLosses} from "./baselines.js";
import {longestSequence} from "./plan.js";
import {flatSettings} from "./settings.js";
import {tensors} from "./spec.js";

const SHOWN_DOCUMENTS = 10;

/** The Description of a run. */
export function describeRun(run) {
  const {config, tokenizer, documents} = run;
  return {
    settings: flatSettings(config),
    seed: config.train.seed,
    parameters: run.model.size,
    step: run.done,
    tensors: tensors(config.model).map(({name, shape, offset, role, group}) => ({
      name,
      shape,
      offset,
      role,
      group,
    })),
    vocabulary: tokenizer.labels,
    bos: tokenizer.bos,
    stop: tokenizer.stop,
    block_size: config.model.block_size,
    documents: {
      training: run.training.length,
      validation: run.validation.length,
      characters: documents?.reduce((sum, document) => sum + document.length, 0) ?? 0,
      first: documents?.slice(0, SHOWN_DOCUMENTS) ?? [],
    },
    baselines: baselinesOf(run),
    average: run.average && {order: run.average.order, weight: run.average.weight},
    canTrain: run.plan !== null,
    whyNoStep: run.whyNoStep,
    hasGenerator: run.hasGenerator,
    dtype: config.train.dtype,
    slots: run.slots,
  };
}

/**
 * Losses of n-grams counted on the training documents, as `motegpt plot` draws them: on the held-out
 * documents where there are any, else on the training data as they are trained on. null without a list.
 */
export function baselinesOf(run) {
  if (!run.plan) return null;
  const {model, data, train} = run.config;
  const {never} = run.tokenizer;
  if (run.validation.length) {
    const [counted, evaluated] = [run.training, run.validation].map((part) => run.wholeSequences(part));
    return baselineLosses(counted, evaluated, model.vocab_size, "tokens", never);
  }
  if (data.format === "stream") {
    const {stream} = run.plan;
    const blocks = [];
    for (let at = 0; at + 1 < stream.length; at += model.block_size) {
      blocks.push(stream.subarray(at, at + model.block_size + 1));
    }
    return baselineLosses([stream], blocks, model.vocab_size, train.loss_mean, never);
  }
  const longest = longestSequence(model.block_size, data.cut);
  const cut = run.wholeSequences(run.training).map((ids) => ids.subarray(0, longest));
  return baselineLosses(cut, cut, model.vocab_size, train.loss_mean, never);
}
