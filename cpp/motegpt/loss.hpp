// Softmax and cross-entropy of the logits.
#pragma once

#include "math.hpp"
#include "vectors.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The values that the backward needs besides e, which replaces the logits; both in whole vectors.
template <class Real>
struct LossTape {
  Real* inverse;  // (N) 1 / Σe
  Real* target;   // (N) logit of the target, less the largest

  static LossTape take(Arena& arena, Index N) {
    return {arena.take<Real>(padded<Real>(N)), arena.take<Real>(padded<Real>(N))};
  }
};

namespace detail {

/// The largest of x (V).
template <class Real>
MOTEGPT_INLINE Real largest_of_row(Index V, const Real* x) {
  Vector<Real> largest = broadcast(x[0]);
  for_row(V, x, x[0], [&](Index, Vector<Real> here) { largest = maximum(largest, here); });
  return group_maximum<Real>(largest)[0];
}

/// x (V) becomes e = exp(x - largest), 0 beyond V. Returns Σe.
template <class Real>
MOTEGPT_INLINE Real exponentiate_row(Index V, Real* x, Real largest) {
  Vector<Real> total = {};
  constexpr Real nothing = -Real(__builtin_huge_val());
  for_row(V, x, nothing, [&](Index v, Vector<Real> here) {
    const Vector<Real> e = exp<Real>(here - largest);
    const Vector<Real> counted = v + lanes<Real> <= V ? e : here > nothing ? e : Vector<Real>{};
    store(x + v, counted);
    total += counted;
  });
  return sum<Real>(total);
}

/// log Σ exp(x - largest) in double precision; not a number if x is not finite.   x (V)
template <class Real>
MOTEGPT_INLINE double log_sum_exp_row(Index V, const Real* x, double largest) {
  Vector<double> total = {};
  for (Index v = 0; v < V; v += lanes<double>) {
    const Vector<double> here = load_doubles(x + v);
    const Vector<double> e = exp<double>(here - largest) + here * 0.0;
    total += lane_numbers<double>() < broadcast(double(V - v)) ? e : Vector<double>{};
  }
  const double all = sum<double>(total);
  return all == all ? log<double>(broadcast(all))[0] : all;
}

}  // namespace detail

/// loss = Σ weights · -log p[target], in nats, with p = e / Σe and e = exp(x - max x).
///
///   x (N, V) becomes e, targets (N), weights (N)
///
/// log p is taken as x[target] - max x - log Σe, which stays finite where p itself would round to zero.
template <class Real>
double cross_entropy(Index N, Index V, Real* x, const int* targets, const Real* weights,
                     LossTape<Real> tape) {
  const Index row = padded<Real>(V);
  for (Index n = 0; n < N; ++n) {
    const Real largest = detail::largest_of_row(V, x + n * row);
    tape.target[n] = x[n * row + targets[n]] - largest;
    tape.inverse[n] = 1 / detail::exponentiate_row(V, x + n * row, largest);
  }
  for (Index n = N; n < padded<Real>(N); ++n) tape.target[n] = tape.inverse[n] = 1;
  double loss = 0;
  for (Index n = 0; n < N; n += lanes<Real>) {
    const Vector<Real> log_p = load(tape.target + n) + log<Real>(load(tape.inverse + n));
    for (Index i = n; i < min(N, n + lanes<Real>); ++i) loss -= double(weights[i]) * double(log_p[i - n]);
  }
  return loss;
}

/// dx = weights · (p - onehot(target)).   e (N, V) of the forward becomes dx
template <class Real>
void cross_entropy_backward(Index N, Index V, Real* e, const int* targets, const Real* weights,
                            LossTape<Real> tape) {
  const Index row = padded<Real>(V);
  for (Index n = 0; n < N; ++n, e += row) {
    const Real scale = weights[n] * tape.inverse[n];
    for (Index v = 0; v < row; v += lanes<Real>) store(e + v, load(e + v) * scale);
    e[targets[n]] -= weights[n];
  }
}

/// What evaluation needs of the logits of one token.
struct TokenLoss {
  double nll;      // -log p[target] in nats, in double precision
  bool is_likely;  // whether no other token is more likely, and none of those before as likely
};

/// The loss of one target, with p = softmax(x).   x (V)
template <class Real>
TokenLoss token_loss(Index V, const Real* x, int target) {
  const Real largest = detail::largest_of_row(V, x);
  bool is_likely = x[target] == largest;
  for (int v = 0; is_likely && v < target; ++v) is_likely = x[v] < largest;
  const double log_p = double(x[target]) - double(largest) - detail::log_sum_exp_row(V, x, double(largest));
  return {-log_p, is_likely};
}

}  // namespace motegpt::MOTEGPT_LEVEL
