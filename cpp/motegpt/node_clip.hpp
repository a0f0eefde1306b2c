// The automatic differentiation of Oxidized-GPT, by the rules of src/motegpt/engines/node_clip.py.
//
// In the scalar graph every number is a node, whose gradient is clipped as it is passed on. So each backward
// here first clips its incoming gradient, in place, and those of several nodes clip in between.
#pragma once

#include "textbook.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The alternative to Textbook: every node's gradient is clipped to ± bound.
template <class Real>
struct NodeClip {
  static constexpr bool head_by_head = true;

  Real bound;

  Real clip(Real dx) const { return dx > bound ? bound : dx < -bound ? -bound : dx; }

  void clip(Real* dx, Index count) const {
    for (Index i = 0; i < count; ++i) dx[i] = clip(dx[i]);
  }

  static constexpr Real added_to_p = Real(1e-8), flat_log = Real(1e-6);

  /// Σ weights · -log(p[target] + added_to_p), through p itself; tape.target is the logarithm's argument.
  double loss(Index N, Index V, Real* logits, const int* targets, const Real* weights,
              LossTape<Real> tape) const {
    for (Index n = 0; n < N; ++n) {
      Real* e = logits + n * padded<Real>(V);
      const Real inverse = 1 / detail::exponentiate_row(V, e, detail::largest_of_row(V, e));
      tape.target[n] = e[targets[n]] * inverse + added_to_p;
      loss_backward(V, e, inverse, targets[n], tape.target[n], weights[n]);
    }
    for (Index n = N; n < padded<Real>(N); ++n) tape.target[n] = 1;
    double loss = 0;
    for (Index n = 0; n < N; n += lanes<Real>) {
      const Vector<Real> log_p = log<Real>(load(tape.target + n));
      for (Index i = n; i < min(N, n + lanes<Real>); ++i) loss -= double(weights[i]) * double(log_p[i - n]);
    }
    return loss;
  }

  /// dlog = -weight, dp = dlog / a at the target, then the softmax's dinverse = dp · e, dtotal = -dinverse /
  /// (Σe)², de = dp / Σe + dtotal, dx = de · e.   e (V) of one row becomes dx
  void loss_backward(Index V, Real* e, Real inverse, int target, Real a, Real weight) const {
    const Real dlog = clip(-weight * clip(Real(1)));
    const Real dp = a > flat_log ? clip(dlog / a) : 0;
    const Real dtotal = clip(-clip(dp * e[target]) * inverse * inverse);
    for (Index v = 0; v < V; ++v) e[v] = clip((v == target ? dp * inverse : 0) + dtotal) * e[v];
  }

  void linear(Index N, Real* dy, const Matrix& matrix, const Real* x, Real* dx,
              const BackwardPass<Real>& pass) const {
    clip(dy, N * padded<Real>(matrix.out));
    linear_backward_all(N, dy, matrix, x, dx, pass);
  }

  void activation(Activation kind, Index N, Index hidden, ActivationTape<Real> tape, Real* dg,
                  Real* du) const {
    clip(dg, N * padded<Real>(hidden));
    activate_backward(kind, N, hidden, tape, dg, du);
  }

  void attention(const auto&... given) const {
    attention_backward(given..., [this](const auto&... head) { head_attention(head...); });
  }

  /// As the textbook's but for the softmax.
  void head_attention(const Head<Real>& head, const Real* tape, const Real* y, Real* dy, Real* dqkv,
                      const HeadScratch<Real>& scratch) const {
    for (Index t = 0; t < head.T; ++t) clip(dy + t * head.y_row, head.D);
    head_attention_backward(head, tape, y, dy, dqkv, scratch,
                            [this](auto... row) { softmax_backward(row...); });
  }

  /// ds of p = e · (Σe)^-1, a node (Σe)^-1 for each p.
  void softmax_backward(Index t, Index end, const Real* e, Vector<Real> inverses, Vector<Real>,
                        Real* dp) const {
    const Real inverse = inverses[0];
    Real dtotal = 0;
    for (Index u = 0; u <= t; ++u) dtotal -= clip(clip(dp[u]) * e[u]) * inverse * inverse;
    for (Index u = 0; u <= t; ++u) dp[u] = clip(clip(clip(dp[u]) * inverse + clip(dtotal)) * e[u]);
    for (Index u = t + 1; u < end; ++u) dp[u] = 0;
  }

  /// By way of dr = Σ dy · x and dmean = -½ r³ dr, with x = y / r.
  void rmsnorm(Index N, Index C, Real* dy, NormTape<Real> tape, Real* dx, bool accumulate) const {
    const Index row = padded<Real>(C);
    const Real *y = tape.y, *r = tape.r;
    clip(dy, N * row);
    for (Index n = 0; n < N; ++n, dy += row, y += row, dx += row) {
      Real dr = 0;
      for (Index c = 0; c < C; ++c) dr += dy[c] * y[c] / r[n];
      const Real dmean = clip(Real(-0.5) * r[n] * r[n] * r[n] * clip(dr));
      for (Index c = 0; c < C; ++c) {
        const Real change = dy[c] * r[n] + y[c] / r[n] * (2 / Real(C) * dmean);
        dx[c] = accumulate ? dx[c] + change : change;
      }
    }
  }

  void embedding(Index N, Index C, const int* ids, const int* positions, Real* dx, Columns<Real> dwte,
                 Columns<Real> dwpe) const {
    clip(dx, N * padded<Real>(C));
    embedding_backward(N, C, ids, positions, dx, dwte, dwpe);
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
