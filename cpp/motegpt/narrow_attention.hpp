// Causal attention for heads that are narrower than a vector: several heads side by side in one vector.
//
// With 4 channels a head, 16 lanes hold 4 heads of a position. The product of a query and a key is then
// summed within groups of lanes, which leaves every lane with the score of its own head; softmax and
// the weighting of the values follow lane by lane, without further moves between lanes. The exponential is
// computed D times over, which is cheaper than moving for short documents.
#pragma once

#include "math.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// A vector's worth of channels of one document.
template <class Real>
struct NarrowHeads {
  Index T;      // positions
  Index C;      // offset from q to k, and from k to v
  Index row;    // stride of qkv and dqkv
  Index y_row;  // stride of y and dy
  const Real* qkv;
};

/// Numbers that narrow_attention saves for T positions: e for each pair (t, u <= t), and 1 / Σe for each t.
template <class Real>
constexpr Index narrow_attention_tape(Index T) {
  return (T * (T + 1) / 2 + T) * lanes<Real>;
}

/// y = p · v with p = e / Σe, e = exp(s - max s), s = q · k / √D, position t attending to u = 0 … t.
///
///   qkv (T, 3C) -> e (pairs, lanes) then 1 / Σe (T, lanes), y (T, lanes)
template <class Real, int D>
void narrow_attention(const NarrowHeads<Real>& heads, Real* tape, Real* y) {
  const auto [T, C, row, y_row, qkv] = heads;
  const Vector<Real> scale = broadcast(1 / square_root_of(Real(D)));
  const Real *k = qkv + C, *v = k + C;
  Real* inverse = tape + T * (T + 1) / 2 * lanes<Real>;
  for (Index t = 0; t < T; ++t) {
    const Vector<Real> q = load(qkv + t * row) * scale;
    Vector<Real> largest = group_sum<Real, D>(q * load(k));
    store(tape, largest);
    for (Index u = 1; u <= t; ++u) {
      const Vector<Real> score = group_sum<Real, D>(q * load(k + u * row));
      store(tape + u * lanes<Real>, score);
      largest = maximum(largest, score);
    }
    Vector<Real> total = {}, sum = {};
    for (Index u = 0; u <= t; ++u) {
      const Vector<Real> e = exp<Real>(load(tape + u * lanes<Real>) - largest);
      store(tape + u * lanes<Real>, e);
      total += e;
      sum += e * load(v + u * row);
    }
    const Vector<Real> one_over = Real(1) / total;
    store(inverse + t * lanes<Real>, one_over);
    store(y + t * y_row, sum * one_over);
    tape += (t + 1) * lanes<Real>;
  }
}

/// dv[u] = Σ p · dy[t], dq[t] = Σ ds · k[u] and dk[u] = Σ ds · q[t], where dp = dy[t] · v[u] and
/// ds = p · (dp - Σ p · dp) / √D.
///
/// Σ p · dp over u is dy[t] · y[t], because y is Σ p · v.   dqkv (T, 3C), these channels of it
template <class Real, int D>
void narrow_attention_backward(const NarrowHeads<Real>& heads, const Real* tape, const Real* y,
                               const Real* dy, Real* dqkv) {
  const auto [T, C, row, y_row, qkv] = heads;
  const Vector<Real> scale = broadcast(1 / square_root_of(Real(D)));
  const Real *k = qkv + C, *v = k + C;
  Real *dk = dqkv + C, *dv = dk + C;
  const Real* inverse = tape + T * (T + 1) / 2 * lanes<Real>;
  for (Index t = 0; t < T; ++t) {
    const Vector<Real> q = load(qkv + t * row), dyt = load(dy + t * y_row),
                       one_over = load(inverse + t * lanes<Real>);
    const Vector<Real> mean = group_sum<Real, D>(dyt * load(y + t * y_row));
    Vector<Real> dq = {};
    store(dk + t * row, dq);
    store(dv + t * row, dq);
    for (Index u = 0; u <= t; ++u) {
      const Vector<Real> p = load(tape + u * lanes<Real>) * one_over;
      const Vector<Real> ds = p * (group_sum<Real, D>(dyt * load(v + u * row)) - mean) * scale;
      store(dv + u * row, load(dv + u * row) + p * dyt);
      store(dk + u * row, load(dk + u * row) + ds * q);
      dq += ds * load(k + u * row);
    }
    store(dqkv + t * row, dq);
    tape += (t + 1) * lanes<Real>;
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
