// The buffers of the model: a group of documents in training, a bundle of sequences in generation.
#pragma once

#include "layer.hpp"
#include "loss.hpp"
#include "ngram.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The documents that pass through the model together, N rows in all, and their activations.
template <class Real>
struct Group {
  Index N = 0, documents = 0;
  DropoutMasks masks;  // of the step
  Document* document;
  int *ids, *positions, *targets;  // (N)
  Real* weights;                   // (N)
  NGramRows<Real> ngrams;          // (N), if there are any; dx of all groups of a step is then one array

  Real* x;                     // (N, C) the residual stream
  NormTape<Real> embedded;     // after the embedding's norm
  NormTape<Real> final;        // with a final norm
  Real* logits;                // (N, V), then e, then their gradient
  Real* dx;                    // (N, C)
  LayerGradients<Real> inner;  // of one layer at a time
  LayerTape<Real>* layers;     // (n_layer); with checkpointing they all share one tape
  Real** inputs;               // (n_layer) x before each layer, (N, C); only with checkpointing

  Group(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, bool checkpoint, Index rows)
      : document(arena.take<Document>(rows)),
        ids(arena.take<int>(rows)),
        positions(arena.take<int>(rows)),
        targets(arena.take<int>(rows)),
        weights(arena.take<Real>(rows)),
        x(arena.take<Real>(rows * padded<Real>(shape.n_embd))),
        embedded(NormTape<Real>::take(arena, false, rows, shape.n_embd)),
        final(Norm<Real>::take(arena, shape, shape.final_norm ? rows : 0)),
        logits(arena.take<Real>(rows * padded<Real>(shape.vocab_size))),
        dx(arena.take<Real>(rows * padded<Real>(shape.n_embd))),
        inner(LayerGradients<Real>::take(arena, shape, plan, rows)),
        layers(arena.take<LayerTape<Real>>(shape.n_layer)),
        inputs(arena.take<Real*>(shape.n_layer)) {
    LayerTape<Real> tape;
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      if (layer == 0 || !checkpoint) tape = LayerTape<Real>::take(arena, shape, plan, rows);
      Real* input = checkpoint ? arena.take<Real>(rows * padded<Real>(shape.n_embd)) : nullptr;
      if (!layers) continue;
      layers[layer] = tape;
      inputs[layer] = input;
    }
  }

  Part part(Share share) const { return {document, documents, N, masks, positions, share}; }

  void clear(const DropoutMasks& of_step) {
    N = documents = 0;
    masks = of_step;
  }

  /// Adds document `index` of the batch with n rows: tokens (n + 1), weights of its targets (n).
  void add(Index index, const int* tokens, const double* weights_of_targets, Index n) {
    document[documents++] = {N, n, index};
    for (Index t = 0; t < n; ++t, ++N) {
      ids[N] = tokens[t];
      positions[N] = int(t);
      targets[N] = tokens[t + 1];
      weights[N] = Real(weights_of_targets[t]);
    }
  }
};

/// Scratch of one thread.
template <class Real>
struct Scratch {
  HeadScratch<Real> attention;
  LossTape<Real> loss;

  Scratch(Arena& arena, const AttentionPlan<Real>& plan, Index rows)
      : attention(plan.take_scratch(arena)), loss(LossTape<Real>::take(arena, rows)) {}
};

/// A few sequences at the same position: `width` columns, a whole number of vectors.
///
/// A sequence is a column: every matrix is (channels, width), so that a vector holds one channel of
/// neighboring sequences, and no norm, attention or softmax sums across a vector.
template <class Real>
struct Bundle {
  StepWidth width;
  Index position = 0;
  AttentionCache<Real>* caches;  // (n_layer)
  Real* x;                       // (C, width)
  Real* logits;                  // (V, width)
  LayerStep<Real> scratch;
  NGramStep<Real> ngrams;

  /// orders: tables of the n-gram embedding
  Bundle(Arena& arena, const Shape& shape, int orders, StepWidth width_)
      : Bundle(arena, shape, orders, width_, arena.take<Real>(shape.n_embd * width_),
               arena.take<Real>(shape.vocab_size * width_), LayerStep<Real>::take(arena, shape, width_)) {}

  /// With the residual stream, logits and scratch of another that is at least as wide.
  Bundle(Arena& arena, const Shape& shape, int orders, StepWidth width_, const Bundle& other)
      : Bundle(arena, shape, orders, width_, other.x, other.logits, other.scratch) {}

 private:
  Bundle(Arena& arena, const Shape& shape, int orders, StepWidth width_, Real* x_, Real* logits_,
         const LayerStep<Real>& scratch_)
      : width(width_),
        caches(arena.take<AttentionCache<Real>>(shape.n_layer)),
        x(x_),
        logits(logits_),
        scratch(scratch_),
        ngrams(NGramStep<Real>::take(arena, orders, shape.n_embd, width)) {
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      const auto cache = AttentionCache<Real>::take(arena, shape, width);
      if (caches) caches[layer] = cache;
    }
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
