// One layer of the transformer, composed of operations: forward, backward, and the step of generation.
#pragma once

#include "activation.hpp"
#include "attention.hpp"
#include "dropout.hpp"
#include "linear.hpp"
#include "norm.hpp"
#include "qk_norm.hpp"
#include "rope.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The values that the backward of each operation needs.
template <class Real>
struct LayerTape {
  NormTape<Real> ln1;
  QKNormTape<Real> qk_norm;
  AttentionTape<Real> attention;
  NormTape<Real> ln2;
  ActivationTape<Real> activation;

  static LayerTape take(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, Index N) {
    return {Norm<Real>::take(arena, shape, N), QKNormTape<Real>::take(arena, shape, N),
            AttentionTape<Real>::take(arena, plan, N), Norm<Real>::take(arena, shape, N),
            ActivationTape<Real>::take(arena, shape, N)};
  }
  LayerTape from(Index row, const Shape& shape, const AttentionPlan<Real>& plan) const {
    return {ln1.from(row, shape.n_embd), qk_norm.from(row, shape), attention.from(row, plan),
            ln2.from(row, shape.n_embd), activation.from(row, shape)};
  }
};

/// Gradients inside a layer, of the rows of a group.
template <class Real>
struct LayerGradients {
  Real* dh;    // (N, C)
  Real* dg;    // (N, hidden), and scratch (N, C)
  Real* du;    // (N, inputs of the activation): dg, unless there is a gate
  Real* dqkv;  // (N, C + 2 kv)

  static LayerGradients take(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, Index N) {
    Real *dh = arena.take<Real>(N * plan.row()), *dg = arena.take<Real>(N * dg_row(shape));
    Real* du = shape.gated() ? arena.take<Real>(N * padded<Real>(shape.mlp_inputs())) : dg;
    return {dh, dg, du, arena.take<Real>(N * plan.qkv_row())};
  }
  /// Those of the rows from `row` on.
  LayerGradients from(Index row, const Shape& shape, const AttentionPlan<Real>& plan) const {
    const Index du_row = shape.gated() ? padded<Real>(shape.mlp_inputs()) : dg_row(shape);
    return {dh + row * plan.row(), dg + row * dg_row(shape), du + row * du_row, dqkv + row * plan.qkv_row()};
  }

 private:
  static Index dg_row(const Shape& shape) { return padded<Real>(max(shape.n_hidden, shape.n_embd)); }
};

/// Scratch of a step of `width` sequences; all layers use the same.
template <class Real>
struct LayerStep {
  Real *h, *q, *a;  // (C, width)
  Real* u;          // (inputs of the activation, width)
  Real* scores;     // (block_size, lanes)

  static LayerStep take(Arena& arena, const Shape& shape, Index width) {
    const Index C = shape.n_embd;
    return {arena.take<Real>(C * width), arena.take<Real>(C * width), arena.take<Real>(C * width),
            arena.take<Real>(shape.mlp_inputs() * width), arena.take<Real>(shape.block_size * lanes<Real>)};
  }
};

/// x += attn_wo · attention(attn_qkv · norm x);   x += mlp_fc2 · activation(mlp_fc1 · norm x), each product
/// plus its bias if the model has them
///
/// What is added passes through dropout, at sites 16 + 2 · layer and 17 + 2 · layer.
///
/// Calculus: the backward of every operation, Textbook or NodeClip. Tapes and gradients are those of
/// the whole group; x and dx begin at the first row of the thread's part.
template <class Real, class Calculus>
class Layers {
 public:
  Layers(const Shape& shape, const Layout<Real>& layout, const AttentionPlan<Real>& plan,
         const Rope<Real>& rope, Calculus calculus)
      : shape_(shape),
        layout_(layout),
        plan_(plan),
        ln1_(shape, layout, "ln1"),
        ln2_(shape, layout, "ln2"),
        qk_norm_(shape, layout),
        rope_(rope),
        back_(calculus) {}

  /// All of a layer but its last product: x (N, C) after attention, and the tape. unused: gradients, not yet
  /// computed, whose memory is free
  void forward_to_hidden(Index layer, const Parameters<Real>& w, const Part& part,
                         const LayerTape<Real>& group, const LayerGradients<Real>& unused,
                         const HeadScratch<Real>& scratch, Real* x) const {
    const LayerTape<Real> tape = group.from(part.first, shape_, plan_);
    ln1_.forward(layer, w, part.N, x, tape.ln1);
    linear(part.N, tape.ln1.out, layout_.attn_qkv(layer), w, tape.attention.qkv, false);
    qk_norm_.forward(layer, w, part.N, tape.attention.qkv, plan_.qkv_row(), tape.qk_norm);
    rope_.forward(part.N, part.positions, tape.attention.qkv, plan_.qkv_row());
    attention(plan_, part, group.attention, scratch);
    add_dropped(part, site(layer), tape.attention.y, layout_.attn_wo(layer), w, unused, x);
    ln2_.forward(layer, w, part.N, x, tape.ln2);
    linear(part.N, tape.ln2.out, layout_.mlp_fc1(layer), w, tape.activation.u, false);
    activate(shape_.activation, part.N, shape_.n_hidden, tape.activation);
  }

  /// x (N, C) -> x (N, C) and the tape.
  void forward(Index layer, const Parameters<Real>& w, const Part& part, const LayerTape<Real>& group,
               const LayerGradients<Real>& unused, const HeadScratch<Real>& scratch, Real* x) const {
    forward_to_hidden(layer, w, part, group, unused, scratch, x);
    const Real* g = group.activation.from(part.first, shape_).g;
    add_dropped(part, site(layer) + 1, g, layout_.mlp_fc2(layer), w, unused, x);
  }

  /// dx (N, C) after the layer becomes dx before it; each line mirrors one of the forward's, last first.
  void backward(Index layer, const BackwardPass<Real>& pass, const Part& part, const LayerTape<Real>& group,
                const LayerGradients<Real>& gradients, const HeadScratch<Real>& scratch, Real* dx) const {
    const LayerTape<Real> tape = group.from(part.first, shape_, plan_);
    const auto [dh, dg, du, dqkv] = gradients.from(part.first, shape_, plan_);
    Real* dmlp = dropout_backward(part, C(), site(layer) + 1, dx, dh);
    back_.linear(part.N, dmlp, layout_.mlp_fc2(layer), tape.activation.g, dg, pass);
    back_.activation(shape_.activation, part.N, shape_.n_hidden, tape.activation, dg, du);
    back_.linear(part.N, du, layout_.mlp_fc1(layer), tape.ln2.out, dh, pass);
    ln2_.backward(layer, pass, back_, part.N, dh, tape.ln2, dx, true);
    Real* dattn = dropout_backward(part, C(), site(layer), dx, dg);
    back_.linear(part.N, dattn, layout_.attn_wo(layer), tape.attention.y, dh, pass);
    back_.attention(plan_, part, group.attention, gradients.dh, gradients.dqkv, scratch);
    rope_.backward(part.N, part.positions, dqkv, plan_.qkv_row());
    qk_norm_.backward(layer, pass, part.N, dqkv, plan_.qkv_row(), tape.qk_norm);
    back_.linear(part.N, dqkv, layout_.attn_qkv(layer), tape.ln1.out, dh, pass);
    ln1_.backward(layer, pass, back_, part.N, dh, tape.ln1, dx, true);
  }

  /// The forward at position t of `width` sequences.   w (P) canonical, x (C, width) -> x (C, width)
  template <class Hooks>
  void step(Index layer, const Real* w, StepWidth width, Index t, const AttentionCache<Real>& cache,
            const LayerStep<Real>& scratch, Real* x, const Hooks& hooks) const {
    project_step(layer, w, width, t, cache, scratch, x, hooks);
    attend_step(layer, w, width, t, cache, scratch, x, hooks);
  }

  /// The part of it that depends on x alone: q in the scratch, k and v in the cache.
  template <class Hooks>
  void project_step(Index layer, const Real* w, StepWidth width, Index t, const AttentionCache<Real>& cache,
                    const LayerStep<Real>& scratch, Real* x, const Hooks& hooks) const {
    const auto [h, q, a, u, scores] = scratch;
    const Index kv = shape_.kv_size();
    Real *k = cache.at(t, shape_, width), *v = k + kv * width;
    hooks.enter(layer);
    hooks.note("hook_resid_pre", C(), x);
    ln1_.step(layer, w, width, x, h);
    note_norm("ln1.hook_normalized", h, hooks);
    linear_step(width, h, layout_.attn_qkv(layer), 0, C(), w, q, false);
    linear_step(width, h, layout_.attn_qkv(layer), C(), 2 * kv, w, k, false);
    hooks.note("attn.hook_q", C(), q);
    hooks.note("attn.hook_k", kv, k);
    hooks.note("attn.hook_v", kv, v);
    qk_norm_.step(layer, w, width, q, k);
    rope_.step(width, t, q, k);
    if (shape_.position == Position::rope) {
      hooks.note("attn.hook_rot_q", C(), q);
      hooks.note("attn.hook_rot_k", kv, k);
    }
  }

  /// The rest of it: attention and MLP.
  template <class Hooks>
  void attend_step(Index layer, const Real* w, StepWidth width, Index t, const AttentionCache<Real>& cache,
                   const LayerStep<Real>& scratch, Real* x, const Hooks& hooks) const {
    const auto [h, q, a, u, scores] = scratch;
    const Index hidden = shape_.n_hidden;
    attention_step(width, shape_, t, q, cache, a, scores, hooks);
    hooks.note("attn.hook_z", C(), a);
    add_step(width, a, layout_.attn_wo(layer), w, h, x, "hook_attn_out", hooks);
    hooks.note("hook_resid_mid", C(), x);
    ln2_.step(layer, w, width, x, h);
    note_norm("ln2.hook_normalized", h, hooks);
    linear_step(width, h, layout_.mlp_fc1(layer), w, u, false);
    hooks.note("mlp.hook_pre", hidden, u);
    if (shape_.gated()) hooks.note("mlp.hook_pre_linear", hidden, u + hidden * width);
    activate<Real>(shape_.activation, 1, hidden * width, {u, u});
    hooks.note("mlp.hook_post", hidden, u);
    add_step(width, u, layout_.mlp_fc2(layer), w, h, x, "hook_mlp_out", hooks);
    hooks.note("hook_resid_post", C(), x);
  }

 private:
  Index C() const { return shape_.n_embd; }

  /// h (C, width) after a norm, if there is one.
  template <class Hooks>
  void note_norm(const char* name, Real* h, const Hooks& hooks) const {
    if (shape_.norm != NormKind::none) hooks.note(name, C(), h);
  }

  /// x += dropout(y · Wᵀ).   y (N, in), W (C, in) -> x (N, C)
  void add_dropped(const Part& part, Index site, const Real* y, const Matrix& w,
                   const Parameters<Real>& parameters, const LayerGradients<Real>& unused, Real* x) const {
    if (!part.masks.ordinary) return linear(part.N, y, w, parameters, x, true);
    Real* out = unused.dh + part.first * padded<Real>(C());
    linear(part.N, y, w, parameters, out, false);
    dropout(part, C(), site, out, x, true);
  }

  /// x += y · Wᵀ for one position; hooks, if any, get what is added.
  ///
  ///   y (in, width), parameters (P) canonical -> x (C, width); sum (C, width) is scratch for hooks
  template <class Hooks>
  void add_step(StepWidth width, const Real* y, const Matrix& w, const Real* parameters,
                [[maybe_unused]] Real* sum, Real* x, const char* name, const Hooks& hooks) const {
    if constexpr (Hooks::on) {
      linear_step(width, y, w, parameters, sum, false);
      hooks.note(name, C(), sum);
      for (Index i = 0; i < C() * width; i += lanes<Real>) store(x + i, load(x + i) + load(sum + i));
    } else {
      linear_step(width, y, w, parameters, x, true);
    }
  }

  const Shape& shape_;
  const Layout<Real>& layout_;
  const AttentionPlan<Real>& plan_;
  Norm<Real> ln1_, ln2_;
  QKNorm<Real> qk_norm_;
  const Rope<Real>& rope_;
  Calculus back_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
