// The node clip: the automatic differentiation that the setting `clip_node` switches on.
//
// In the scalar graph every number is a node, whose gradient is clipped as it is passed on. So each backward
// here first clips the gradient it is given, in place, and those that stand for several nodes clip in between.
#pragma once

#include "textbook.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// In place of Textbook: every node's gradient is clipped to ± bound.
template <class Real>
struct NodeClip {
  static constexpr bool head_by_head = true;

  Real bound;

  Real clip(Real dx) const { return dx > bound ? bound : dx < -bound ? -bound : dx; }

  void clip(Real* dx, Index count) const {
    for (Index i = 0; i < count; ++i) dx[i] = clip(dx[i]);
  }

  /// Through the logarithm of p itself: infinite where p is zero.
  double loss(Index N, Index V, Real* logits, const int* targets, const Real* weights,
              LossTape<Real> tape) const {
    constexpr Real log_of_zero =
        sizeof(Real) == 4 ? Real(-103.97) : Real(-745.13);  // exp rounds to zero below
    double loss = cross_entropy(N, V, logits, targets, weights, tape);
    for (Index n = 0; n < N; ++n) {
      const Real log_p = tape.target[n] + log<Real>(broadcast(tape.inverse[n]))[0];
      if (log_p < log_of_zero) loss += double(weights[n]) * __builtin_huge_val();
      loss_backward(V, logits + n * padded<Real>(V), targets[n], weights[n], tape.inverse[n]);
    }
    return loss;
  }

  /// dlog = -weight, dp = dlog / p[target], then the softmax's dinverse = Σ dp · e, dtotal = -dinverse / (Σe)²,
  /// de = dp / Σe + dtotal, dx = de · e.   e (V) of one row becomes dx
  void loss_backward(Index V, Real* e, int target, Real weight, Real inverse) const {
    const Real at_target = e[target];
    const Real dlog = clip(-weight * clip(Real(1)));
    const Real dp = clip(dlog / (at_target * inverse));
    const Real dtotal = clip(-clip(dp * at_target) * inverse * inverse);
    for (Index v = 0; v < V; ++v) e[v] = clip((v == target ? dp * inverse : 0) + dtotal) * e[v];
  }

  void linear(Index N, Real* dy, const Matrix& matrix, const Real* x, Real* dx,
              const BackwardPass<Real>& pass) const {
    clip(dy, N * padded<Real>(matrix.out));
    Textbook<Real>().linear(N, dy, matrix, x, dx, pass);
  }

  void activation(bool squared, Index count, const Real* u, Real* dg) const {
    clip(dg, count);
    Textbook<Real>().activation(squared, count, u, dg);
  }

  /// As the textbook's but for the softmax: e = p / inverse, and inverse is the largest p, as the largest e is 1.
  void attention(const Head<Real>& head, const Real* p, Real* dy, Real* dqkv,
                 const AttentionScratch<Real>& scratch) const {
    for (Index t = 0; t < head.T; ++t) clip(dy + t * head.y_row, head.D);
    attention_backward(head, p, dy, dqkv, scratch, [this](auto... row) { softmax_backward(row...); });
  }

  void softmax_backward(Index t, Index end, Real scale, const Real* p, Real* dp) const {
    Real inverse = p[0], dinverse = 0;
    for (Index u = 1; u <= t; ++u) inverse = larger(inverse, p[u]);
    for (Index u = 0; u <= t; ++u) dinverse += clip(dp[u]) * (p[u] / inverse);
    const Real dtotal = clip(-clip(dinverse) * inverse * inverse);
    for (Index u = 0; u <= t; ++u)
      dp[u] = clip(clip(clip(dp[u]) * inverse + dtotal) * (p[u] / inverse)) * scale;
    for (Index u = t + 1; u < end; ++u) dp[u] = 0;
  }

  /// By way of dr = Σ dy · x and dmean = -½ r³ dr, with x = y / r.
  void rmsnorm(Index N, Index C, Real* dy, const Real* y, const Real* r, Real* dx, bool accumulate) const {
    const Index row = padded<Real>(C);
    clip(dy, N * row);
    for (Index n = 0; n < N; ++n, dy += row, y += row, dx += row) {
      Real dr = 0;
      for (Index c = 0; c < C; ++c) dr += dy[c] * y[c] / r[n];
      const Real dmean = clip(Real(-0.5) * r[n] * r[n] * r[n] * clip(dr));
      for (Index c = 0; c < C; ++c) {
        const Real through = dy[c] * r[n] + y[c] / r[n] * (2 / Real(C) * dmean);
        dx[c] = accumulate ? dx[c] + through : through;
      }
    }
  }

  void embedding(Index N, Index C, const int* ids, const int* positions, Real* dx, Columns<Real> dwte,
                 Columns<Real> dwpe) const {
    clip(dx, N * padded<Real>(C));
    Textbook<Real>().embedding(N, C, ids, positions, dx, dwte, dwpe);
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
