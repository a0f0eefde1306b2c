// The transformer: embedding, layers and head, in training and one position at a time.
#pragma once

#include "dropout.hpp"
#include "embedding.hpp"
#include "tape.hpp"
#include "textbook.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Calculus: the backward of every operation, Textbook or NodeClip.
template <class Real, class Calculus>
class Model {
 public:
  Model(const Shape& shape, const Layout<Real>& layout, const AttentionPlan<Real>& plan, Rope<Real>& rope,
        bool checkpoint, Calculus calculus)
      : shape_(shape),
        layout_(layout),
        rope_(rope),
        layers_(shape, layout, plan, rope, calculus),
        final_norm_(shape, layout, shape.final_norm ? "ln_f" : nullptr),
        checkpoint_(checkpoint),
        back_(calculus),
        row_(padded<Real>(shape.n_embd)),
        logits_row_(padded<Real>(shape.vocab_size)) {}

  /// ids -> logits (N, V), in group.logits.
  void forward(const Parameters<Real>& w, Group<Real>& group, const Scratch<Real>& scratch,
               Share share) const {
    const Part part = group.part(share);
    const Index first = part.first, N = part.N;
    Real* x = group.x + first * row_;
    embedding(N, shape_.n_embd, group.ids + first, group.positions + first, w.matrix(layout_.wte()),
              layout_.has_wpe() ? w.matrix(layout_.wpe()) : Columns<Real>{}, x);
    if (group.ngrams.rows) ngram_embedding(N, shape_.n_embd, group.ngrams.from(first), x);
    if (shape_.embedding_norm) {
      const NormTape<Real> tape = group.embedded.from(first, shape_.n_embd);
      rmsnorm(N, shape_.n_embd, eps(), x, tape);
      copy(N * row_, tape.y, x);
    }
    if (part.masks.ordinary) dropout(part, shape_.n_embd, embedding_site, x, x, false);
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      if (checkpoint_) copy(N * row_, x, group.inputs[layer] + first * row_);
      layers_.forward(layer, w, part, group.layers[layer], group.inner, scratch.attention, x);
    }
    const NormTape<Real> tape = group.final.from(first, shape_.n_embd);
    if (shape_.final_norm) final_norm_.forward(0, w, N, x, tape);
    linear(N, shape_.final_norm ? tape.out : x, layout_.head(), w, group.logits + first * logits_row_, false);
  }

  /// Loss in nats of this share, from the logits; then, by `pass`, the gradient of every parameter.
  double backward(Group<Real>& group, const Scratch<Real>& scratch, Share share,
                  const BackwardPass<Real>& pass) const {
    const Part part = group.part(share);
    const Index first = part.first, N = part.N;
    Real *x = group.x + first * row_, *dx = group.dx + first * row_;
    Real* dlogits = group.logits + first * logits_row_;
    const double loss =
        back_.loss(N, shape_.vocab_size, dlogits, group.targets + first, group.weights + first, scratch.loss);
    const NormTape<Real> tape = group.final.from(first, shape_.n_embd);
    back_.linear(N, dlogits, layout_.head(), shape_.final_norm ? tape.out : x, dx, pass);
    if (shape_.final_norm) final_norm_.backward(0, pass, back_, N, dx, tape, dx, false);
    for (int layer = shape_.n_layer - 1; layer >= 0; --layer) {
      const LayerTape<Real>& tape = group.layers[layer];
      if (checkpoint_ && layer < shape_.n_layer - 1) {
        copy(N * row_, group.inputs[layer] + first * row_, x);
        layers_.forward_to_hidden(layer, pass.w, part, tape, group.inner, scratch.attention, x);
      }
      layers_.backward(layer, pass, part, tape, group.inner, scratch.attention, dx);
    }
    dropout_backward(part, shape_.n_embd, embedding_site, dx, dx);
    if (shape_.embedding_norm)
      back_.rmsnorm(N, shape_.n_embd, dx, group.embedded.from(first, shape_.n_embd), dx, false);
    if (!pass.accumulate) clear_embeddings(pass);
    back_.embedding(N, shape_.n_embd, group.ids + first, group.positions + first, dx,
                    pass.gradient(layout_.wte()),
                    layout_.has_wpe() ? pass.gradient(layout_.wpe()) : Columns<Real>{});
    return loss;
  }

  /// Append a token to each sequence of a bundle.   w (P) canonical, ids (width) -> bundle.logits (V, width)
  template <class Hooks = NoHooks>
  void step(const Real* w, const int* ids, Bundle<Real>& bundle, const Hooks& hooks = {}) const {
    begin_step(w, ids, bundle, hooks);
    end_step(w, bundle, hooks);
  }

  /// The part of a step that depends on the token and the position alone, unless there are n-gram tables: the
  /// residual stream, q in the scratch, k and v of the first layer.
  template <class Hooks = NoHooks>
  void begin_step(const Real* w, const int* ids, Bundle<Real>& bundle, const Hooks& hooks = {}) const {
    const Index C = shape_.n_embd, t = bundle.position;
    const StepWidth width = bundle.width;
    Real* x = bundle.x;
    rope_.reserve(t + 1);
    embedding_step(width, C, ids, t, w + layout_.wte().flat,
                   layout_.has_wpe() ? w + layout_.wpe().flat : nullptr, x);
    ngram_step(layout_.contexts(), width, C, ids, t, w + layout_.tables().flat, bundle.ngrams, x);
    if (shape_.embedding_norm) {
      rmsnorm_step(width, C, eps(), x, x);
      hooks.note("embed.ln.hook_normalized", C, x);
    }
    layers_.project_step(0, w, width, t, bundle.caches[0], bundle.scratch, x, hooks);
  }

  /// The rest of a step.
  template <class Hooks = NoHooks>
  void end_step(const Real* w, Bundle<Real>& bundle, const Hooks& hooks = {}) const {
    const Index t = bundle.position++;
    const StepWidth width = bundle.width;
    layers_.attend_step(0, w, width, t, bundle.caches[0], bundle.scratch, bundle.x, hooks);
    for (int layer = 1; layer < shape_.n_layer; ++layer)
      layers_.step(layer, w, width, t, bundle.caches[layer], bundle.scratch, bundle.x, hooks);
    hooks.enter(-1);
    step_head(w, bundle, hooks);
  }

  /// The logits of the residual stream.   w (P) canonical, bundle.x (C, width) -> bundle.logits (V, width)
  template <class Hooks = NoHooks>
  void step_head(const Real* w, Bundle<Real>& bundle, const Hooks& hooks = {}) const {
    if (shape_.final_norm) {
      final_norm_.step(0, w, bundle.width, bundle.x, bundle.x);
      hooks.note("ln_final.hook_normalized", shape_.n_embd, bundle.x);
    }
    linear_step(bundle.width, bundle.x, layout_.head(), w, bundle.logits, false);
  }

 private:
  Real eps() const { return Real(shape_.norm_eps); }

  void clear_embeddings(const BackwardPass<Real>& pass) const {
    if (!shape_.tied) pass.clear(layout_.wte());  // if tied, the head's gradient is already there
    if (layout_.has_wpe()) pass.clear(layout_.wpe());
  }

  const Shape& shape_;
  const Layout<Real>& layout_;
  Rope<Real>& rope_;
  Layers<Real, Calculus> layers_;
  Norm<Real> final_norm_;
  bool checkpoint_;
  Calculus back_;
  Index row_, logits_row_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
