// The transformer: the forward pass of a group of documents and, under it, the backward that mirrors it.
#pragma once

#include "tape.hpp"
#include "textbook.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The share one thread has of a group: all of it, or its part of the rows and of attention's work, in
/// which case the threads wait for each other wherever one needs what another has written.
struct Share {
  int rank = 0, count = 1;
  Team* team = nullptr;

  Index begin(Index n) const { return count == 1 ? 0 : n * rank / count; }
  Index end(Index n) const { return count == 1 ? n : n * (rank + 1) / count; }
  void barrier() const {
    if (count > 1) team->barrier(count);
  }
};

/// Calculus: the backward of every operation, Textbook or what takes its place.
template <class Real, class Calculus>
class Model {
 public:
  Model(const Shape& shape, const Layout<Real>& layout, const AttentionPlan<Real>& plan, bool checkpoint,
        Calculus calculus)
      : shape_(shape),
        layout_(layout),
        plan_(plan),
        checkpoint_(checkpoint),
        back_(calculus),
        C_(padded<Real>(shape.n_embd)),
        hidden_(padded<Real>(shape.n_hidden)),
        V_(padded<Real>(shape.vocab_size)) {}

  /// ids -> logits (N, V), in group.logits.
  void forward(const Parameters<Real>& w, Group<Real>& group, Scratch<Real>& scratch, Share share) const {
    const Index first = share.begin(group.N), N = share.end(group.N) - first;
    Real* x = group.x + first * C_;
    embedding(N, shape_.n_embd, group.ids + first, group.positions + first, w.matrix(layout_.wte()),
              w.matrix(layout_.wpe()), x);
    if (shape_.embedding_norm) {
      rmsnorm(N, shape_.n_embd, eps(), x, group.embedded + first * C_, group.r + first);
      copy(N * C_, group.embedded + first * C_, x);
    }
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      if (checkpoint_) copy(N * C_, x, group.inputs[layer] + first * C_);
      layer_to_hidden(w, layer, group, scratch, share);
      linear(N, group.layers[layer].g + first * hidden_, layout_.mlp_fc2(layer), w, x, true);
    }
    linear(N, x, layout_.head(), w, group.logits + first * V_, false);
  }

  /// Loss in nats of this share, from the logits; then, by `pass`, the gradient of every parameter.
  double backward(Group<Real>& group, Scratch<Real>& scratch, Share share,
                  const BackwardPass<Real>& pass) const {
    const Index first = share.begin(group.N), N = share.end(group.N) - first;
    Real *dx = group.dx + first * C_, *dlogits = group.logits + first * V_;
    const double loss =
        back_.loss(N, shape_.vocab_size, dlogits, group.targets + first, group.weights + first, scratch.loss);
    back_.linear(N, dlogits, layout_.head(), group.x + first * C_, dx, pass);
    for (int layer = shape_.n_layer - 1; layer >= 0; --layer) {
      if (checkpoint_ && layer < shape_.n_layer - 1) {
        copy(N * C_, group.inputs[layer] + first * C_, group.x + first * C_);
        layer_to_hidden(pass.w, layer, group, scratch, share);
      }
      layer_backward(layer, group, scratch, share, pass);
    }
    if (shape_.embedding_norm)
      back_.rmsnorm(N, shape_.n_embd, dx, group.embedded + first * C_, group.r + first, dx, false);
    if (!pass.accumulate) clear_embeddings(pass.dw);
    back_.embedding(N, shape_.n_embd, group.ids + first, group.positions + first, dx,
                    pass.gradient(layout_.wte()), pass.gradient(layout_.wpe()));
    return loss;
  }

 private:
  Real eps() const { return Real(shape_.norm_eps); }

  static void copy(Index count, const Real* from, Real* to) {
    for (Index i = 0; i < count; i += lanes<Real>) store(to + i, load(from + i));
  }

  /// A layer but for its last product: x += attn_wo · attention(norm x), g = act(mlp_fc1 · norm x).
  void layer_to_hidden(const Parameters<Real>& w, int layer, Group<Real>& group, Scratch<Real>& scratch,
                       Share share) const {
    const LayerTape<Real>& tape = group.layers[layer];
    const Index first = share.begin(group.N), N = share.end(group.N) - first;
    const Index c = first * C_, hidden = first * hidden_;
    Real* x = group.x + c;
    rmsnorm(N, shape_.n_embd, eps(), x, tape.h + c, tape.r + first);
    linear(N, tape.h + c, layout_.attn_qkv(layer), w, tape.qkv + first * qkv_row(), false);
    share.barrier();
    attend(group, tape, scratch, share);
    share.barrier();
    linear(N, tape.a + c, layout_.attn_wo(layer), w, x, true);
    rmsnorm(N, shape_.n_embd, eps(), x, tape.h_mid + c, tape.r_mid + first);
    linear(N, tape.h_mid + c, layout_.mlp_fc1(layer), w, tape.u + hidden, false);
    activate(shape_.activation, N * hidden_, tape.u + hidden, tape.g + hidden);
  }

  /// group.dx (N, C) after the layer becomes dx before it; each line mirrors one above, last first.
  void layer_backward(int layer, Group<Real>& group, Scratch<Real>& scratch, Share share,
                      const BackwardPass<Real>& pass) const {
    const LayerTape<Real>& tape = group.layers[layer];
    const Index first = share.begin(group.N), N = share.end(group.N) - first;
    const Index c = first * C_, hidden = first * hidden_, qkv = first * qkv_row();
    Real *dx = group.dx + c, *dh = group.dh + c, *du = group.du + hidden;

    back_.linear(N, dx, layout_.mlp_fc2(layer), tape.g + hidden, du, pass);
    back_.activation(shape_.activation, N * hidden_, tape.u + hidden, du);
    back_.linear(N, du, layout_.mlp_fc1(layer), tape.h_mid + c, dh, pass);
    back_.rmsnorm(N, shape_.n_embd, dh, tape.h_mid + c, tape.r_mid + first, dx, true);

    back_.linear(N, dx, layout_.attn_wo(layer), tape.a + c, dh, pass);
    share.barrier();
    attend_backward(group, tape, scratch, share);
    share.barrier();
    back_.linear(N, group.dqkv + qkv, layout_.attn_qkv(layer), tape.h + c, dh, pass);
    back_.rmsnorm(N, shape_.n_embd, dh, tape.h + c, tape.r + first, dx, true);
  }

  void clear_embeddings(Real* dw) const {
    const auto clear = [&](const Matrix& matrix) {
      Real* start = dw + matrix.at;
      const Index size = panelled_size<Real>(matrix.out, matrix.in);
      for (Index i = 0; i < size; i += lanes<Real>) store(start + i, Vector<Real>{});
    };
    if (!shape_.tied) clear(layout_.wte());  // if tied, the head's gradient is already there
    clear(layout_.wpe());
  }

  Index qkv_row() const { return padded<Real>(3 * shape_.n_embd); }

  /// Call f(document, unit) for this share of attention's work.
  template <class F>
  void for_units(const Group<Real>& group, Share share, F f) const {
    const Index work = group.documents * plan_.units, first = share.begin(work), last = share.end(work);
    for (Index document = 0, i = 0; document < group.documents; ++document) {
      for (Index unit = 0; unit < plan_.units; ++unit, ++i) {
        if (i >= first && i < last) f(group.document[document], unit);
      }
    }
  }

  /// Call f with the width of a head, one of those that narrow attention is made for, as a constant.
  template <class F>
  static void with_width(Index D, F f) {
    switch (D) {
      case 1: return f.template operator()<1>();
      case 2: return f.template operator()<min(2, lanes<Real>)>();
      case 4: return f.template operator()<min(4, lanes<Real>)>();
      case 8: return f.template operator()<min(8, lanes<Real>)>();
      case 16: return f.template operator()<min(16, lanes<Real>)>();
    }
    __builtin_trap();
  }

  NarrowHeads<Real> narrow_heads(const LayerTape<Real>& tape, Document document, Index unit) const {
    return {document.length, plan_.C, qkv_row(), C_,
            tape.qkv + document.first * qkv_row() + unit * lanes<Real>};
  }

  Real* narrow_tape(const LayerTape<Real>& tape, Document document, Index unit) const {
    return tape.p + document.first * plan_.tape_row + unit * narrow_attention_tape<Real>(document.length);
  }

  Head<Real> head(const LayerTape<Real>& tape, Document document, Index unit) const {
    return {document.length,
            plan_.D,
            plan_.C,
            qkv_row(),
            C_,
            padded<Real>(document.length),
            tape.qkv + document.first * qkv_row() + unit * plan_.D};
  }

  Real* head_tape(const LayerTape<Real>& tape, Document document, Index unit) const {
    return tape.p + document.first * plan_.tape_row + unit * document.length * padded<Real>(document.length);
  }

  /// tape.qkv -> tape.a
  void attend(const Group<Real>& group, const LayerTape<Real>& tape, Scratch<Real>& scratch,
              Share share) const {
    if (plan_.narrow) {
      with_width(plan_.D, [&]<int D>() {
        for_units(group, share, [&](Document document, Index unit) {
          narrow_attention<Real, D>(narrow_heads(tape, document, unit), narrow_tape(tape, document, unit),
                                    tape.a + document.first * C_ + unit * lanes<Real>);
        });
      });
    } else {
      for_units(group, share, [&](Document document, Index unit) {
        attention(head(tape, document, unit), head_tape(tape, document, unit),
                  tape.a + document.first * C_ + unit * plan_.D, scratch.attention);
      });
    }
  }

  /// group.dh, the gradient of tape.a -> group.dqkv
  void attend_backward(const Group<Real>& group, const LayerTape<Real>& tape, Scratch<Real>& scratch,
                       Share share) const {
    if (plan_.narrow) {
      with_width(plan_.D, [&]<int D>() {
        for_units(group, share, [&](Document document, Index unit) {
          const Index at = document.first * C_ + unit * lanes<Real>;
          narrow_attention_backward<Real, D>(narrow_heads(tape, document, unit),
                                             narrow_tape(tape, document, unit), tape.a + at, group.dh + at,
                                             group.dqkv + document.first * qkv_row() + unit * lanes<Real>);
        });
      });
    } else {
      for_units(group, share, [&](Document document, Index unit) {
        back_.attention(head(tape, document, unit), head_tape(tape, document, unit),
                        group.dh + document.first * C_ + unit * plan_.D,
                        group.dqkv + document.first * qkv_row() + unit * plan_.D, scratch.attention);
      });
    }
  }

  const Shape& shape_;
  const Layout<Real>& layout_;
  const AttentionPlan<Real>& plan_;
  bool checkpoint_;
  Calculus back_;
  Index C_, hidden_, V_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
