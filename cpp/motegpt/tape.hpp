// Everything a pass through the model writes to, carved out of one block of memory.
#pragma once

#include "attention.hpp"
#include "core.hpp"
#include "loss.hpp"
#include "narrow_attention.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// How attention is computed: head by head, or by vectors that hold several heads.
template <class Real>
struct AttentionPlan {
  /// Up to this length · D², computing exp once per channel is cheaper than moving numbers between lanes.
  static constexpr Index narrowest = 2048;

  bool narrow;
  Index units;     // pieces of work in a document: heads, or vectors of channels
  Index tape_row;  // numbers of tape for each position of a document
  Index C, D, longest;

  /// head_by_head: never the latter.
  AttentionPlan(const Shape& shape, bool head_by_head)
      : narrow(!head_by_head && lanes<Real> % shape.head_size() == 0 && shape.n_embd % lanes<Real> == 0 &&
               Index(shape.block_size) * shape.head_size() * shape.head_size() <= narrowest),
        units(narrow ? shape.n_embd / lanes<Real> : shape.n_head),
        tape_row(narrow
                     ? units * narrow_attention_tape<Real>(shape.block_size) / shape.block_size + lanes<Real>
                     : units * padded<Real>(shape.block_size)),
        C(shape.n_embd),
        D(shape.head_size()),
        longest(shape.block_size) {}
};

/// What one layer's backward needs.
template <class Real>
struct LayerTape {
  Real* h;      // (N, C) after the first norm
  Real* r;      // (N) its scales
  Real* qkv;    // (N, 3C)
  Real* p;      // (N, tape_row) attention's probabilities, see AttentionPlan
  Real* a;      // (N, C) attention's output before attn_wo
  Real* h_mid;  // (N, C) after the second norm
  Real* r_mid;  // (N)
  Real* u;      // (N, 4C) before the activation
  Real* g;      // (N, 4C) after it

  void take(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, Index N) {
    const Index C = padded<Real>(shape.n_embd), hidden = padded<Real>(shape.n_hidden);
    h = arena.take<Real>(N * C);
    r = arena.take<Real>(N);
    qkv = arena.take<Real>(N * padded<Real>(3 * shape.n_embd));
    p = arena.take<Real>(N * plan.tape_row);
    a = arena.take<Real>(N * C);
    h_mid = arena.take<Real>(N * C);
    r_mid = arena.take<Real>(N);
    u = arena.take<Real>(N * hidden);
    g = arena.take<Real>(N * hidden);
  }
};

/// One document of a group: its rows, beginning at `first`.
struct Document {
  Index first, length;
};

/// The documents that go through the model together, N rows in all, and the activations they leave.
template <class Real>
struct Group {
  Index N = 0, documents = 0;
  Document* document;
  int *ids, *positions, *targets;  // (N)
  Real* weights;                   // (N)

  Real* x;                  // (N, C) the residual stream
  Real* embedded;           // (N, C) after the embedding's norm
  Real* r;                  // (N) its scales
  Real* logits;             // (N, V), then e, then their gradient
  Real* dx;                 // (N, C)
  Real* dh;                 // (N, C)
  Real* du;                 // (N, 4C)
  Real* dqkv;               // (N, 3C)
  LayerTape<Real>* layers;  // (n_layer); with checkpointing they all share one tape
  Real** inputs;            // (n_layer) x as each layer found it, (N, C); only with checkpointing

  Group(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, bool checkpoint, Index rows)
      : document(arena.take<Document>(rows)),
        ids(arena.take<int>(rows)),
        positions(arena.take<int>(rows)),
        targets(arena.take<int>(rows)),
        weights(arena.take<Real>(rows)) {
    const Index C = padded<Real>(shape.n_embd);
    x = arena.take<Real>(rows * C);
    embedded = arena.take<Real>(rows * C);
    r = arena.take<Real>(rows);
    logits = arena.take<Real>(rows * padded<Real>(shape.vocab_size));
    dx = arena.take<Real>(rows * C);
    dh = arena.take<Real>(rows * C);
    du = arena.take<Real>(rows * padded<Real>(shape.n_hidden));
    dqkv = arena.take<Real>(rows * padded<Real>(3 * shape.n_embd));
    layers = arena.take<LayerTape<Real>>(shape.n_layer);
    inputs = arena.take<Real*>(shape.n_layer);
    LayerTape<Real> tape;
    for (int layer = 0; layer < shape.n_layer; ++layer) {
      if (layer == 0 || !checkpoint) tape.take(arena, shape, plan, rows);
      Real* input = checkpoint ? arena.take<Real>(rows * C) : nullptr;
      if (!layers) continue;
      layers[layer] = tape;
      inputs[layer] = input;
    }
  }

  void clear() { N = documents = 0; }

  /// Adds a document of n rows: tokens (n + 1), weights of its targets (n).
  void add(const int* tokens, const double* weights_of_targets, Index n) {
    document[documents++] = {N, n};
    for (Index t = 0; t < n; ++t, ++N) {
      ids[N] = tokens[t];
      positions[N] = int(t);
      targets[N] = tokens[t + 1];
      weights[N] = Real(weights_of_targets[t]);
    }
  }
};

/// What a thread needs for itself.
template <class Real>
struct Scratch {
  AttentionScratch<Real> attention;
  LossTape<Real> loss;

  Scratch(Arena& arena, const AttentionPlan<Real>& plan, Index rows)
      : attention(arena, plan.narrow ? 0 : plan.longest, plan.narrow ? 0 : plan.D),
        loss{arena.take<Real>(padded<Real>(rows)), arena.take<Real>(padded<Real>(rows))} {}
};

}  // namespace motegpt::MOTEGPT_LEVEL
