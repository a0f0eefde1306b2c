// QK norm (Henry et al., 2020, here with RMSNorm): for each head of queries and keys y = x · r with
// r = (mean(x²) + eps)^-½ over its channels; queries are then multiplied by the layer's gain.
#pragma once

#include "heads.hpp"
#include "math.hpp"
#include "parameters.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The queries and keys before the norm, which the backward needs.
template <class Real>
struct QKNormTape {
  Real* x;  // (N, C + kv)

  static Index row(const Shape& shape) {
    return shape.qk_norm ? padded<Real>(shape.n_embd + shape.kv_size()) : 0;
  }
  static QKNormTape take(Arena& arena, const Shape& shape, Index N) {
    return {arena.take<Real>(N * row(shape))};
  }
  QKNormTape from(Index first, const Shape& shape) const { return {x + first * row(shape)}; }
};

/// Without qk_norm the operations do nothing.
template <class Real>
class QKNorm {
 public:
  QKNorm(const Shape& shape, const Layout<Real>& layout)
      : shape_(shape),
        layout_(layout),
        heads_(HeadUnits::of<Real>(shape)),
        tensor_(shape.qk_norm ? layout.find("attn_q", "gain") : 0) {}

  /// qkv (N, C + 2 kv), of which q and k are normalized in place, and the tape.
  void forward(Index layer, const Parameters<Real>& w, Index N, Real* qkv, Index row,
               QKNormTape<Real> tape) const {
    if (!shape_.qk_norm) return;
    const Real gain = w.w[gain_of(layer).at];
    for_units(N, qkv, row, tape, [&]<int G>(Index c, Real* x, Real* saved) {
      const Vector<Real> scale = inverse_rms<G>(x) * (c < heads_.C ? gain : Real(1));
      for (Index d = 0; d < heads_.width; d += lanes<Real>) {
        const Index n = heads_.width - d;
        const Vector<Real> before = load_first(x + d, n);
        store_first(saved + d, before, n);
        store_first(x + d, before * scale, n);
      }
    });
  }

  /// Of q = gain · y with y = x · r: dgain = Σ dq · y, and dx = gain · r · (dq - y · mean(dq · y)); of k the
  /// same with gain 1.
  ///
  ///   dqkv (N, C + 2 kv) of q and k -> of x, in place; dgain in pass.dw
  void backward(Index layer, const BackwardPass<Real>& pass, Index N, Real* dqkv, Index row,
                QKNormTape<Real> tape) const {
    if (!shape_.qk_norm) return;
    const Real gain = pass.w.w[gain_of(layer).at];
    Vector<Real> dgain = {};
    for_units(N, dqkv, row, tape, [&]<int G>(Index c, Real* dx, const Real* x) {
      const Vector<Real> r = inverse_rms<G>(x);
      Vector<Real> products = {};
      for (Index d = 0; d < heads_.width; d += lanes<Real>)
        products += load_first(dx + d, heads_.width - d) * load_first(x + d, heads_.width - d);
      products *= r;
      if (c < heads_.C) dgain += products;
      const Vector<Real> mean = group_sum<Real, G>(products) / Real(heads_.D);
      const Vector<Real> scale = r * (c < heads_.C ? gain : Real(1));
      for (Index d = 0; d < heads_.width; d += lanes<Real>) {
        const Index n = heads_.width - d;
        store_first(dx + d, (load_first(dx + d, n) - load_first(x + d, n) * r * mean) * scale, n);
      }
    });
    Real* total = pass.dw + gain_of(layer).at;  // its padding is zero
    total[0] = (pass.accumulate ? total[0] : 0) + sum<Real>(dgain);
  }

  /// One position of `width` sequences.   w (P) canonical, q (C, width), k (kv, width), normalized in place
  void step(Index layer, const Real* w, Index width, Real* q, Real* k) const {
    if (!shape_.qk_norm) return;
    step_heads(width, heads_.C, w[gain_of(layer).flat], q);
    step_heads(width, heads_.all - heads_.C, 1, k);
  }

 private:
  const Matrix& gain_of(Index layer) const { return layout_.of_layer(layer, tensor_); }
  Real eps() const { return Real(shape_.norm_eps); }

  /// Calls f.operator()<G>(c, x, saved) for every unit, at channel c of C + kv, of every row.
  template <class F>
  void for_units(Index N, Real* x, Index row, QKNormTape<Real> tape, F f) const {
    with_lanes<Real>(heads_.lanes_of_head<Real>(), [&]<int G>() {
      for (Index n = 0; n < N; ++n, x += row, tape = tape.from(1, shape_)) {
        for (Index c = 0; c < heads_.all; c += heads_.width) f.template operator()<G>(c, x + c, tape.x + c);
      }
    });
  }

  /// r of the heads of a unit, each in the lanes of its head.
  template <int G>
  Vector<Real> inverse_rms(const Real* x) const {
    Vector<Real> squares = {};
    for (Index d = 0; d < heads_.width; d += lanes<Real>) {
      const Vector<Real> part = load_first(x + d, heads_.width - d);
      squares += part * part;
    }
    return Real(1) / square_root<Real>(group_sum<Real, G>(squares) / Real(heads_.D) + eps());
  }

  /// x (channels, width)
  void step_heads(Index width, Index channels, Real gain, Real* x) const {
    for (Index c = 0; c < channels; c += heads_.D) {
      for (Index s = 0; s < width; s += lanes<Real>) step_head(width, gain, x + c * width + s);
    }
  }

  /// One head of as many sequences as there are lanes.   x (D, width)
  void step_head(Index width, Real gain, Real* x) const {
    Vector<Real> squares = {};
    for (Index d = 0; d < heads_.D; ++d) squares += load(x + d * width) * load(x + d * width);
    const Vector<Real> scale = gain / square_root<Real>(squares / Real(heads_.D) + eps());
    for (Index d = 0; d < heads_.D; ++d) store(x + d * width, load(x + d * width) * scale);
  }

  const Shape& shape_;
  const Layout<Real>& layout_;
  HeadUnits heads_;
  Index tensor_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
