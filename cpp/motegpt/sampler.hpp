// Logits -> token without filters (for those see filters.hpp), one sequence per lane of a vector.
#pragma once

#include "math.hpp"
#include "streams.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The token with the largest logit of one sequence; of equals, the lowest id.
/// logits: a column of (V, stride)
template <class Real>
int argmax(Index V, const Real* logits, Index stride) {
  int best = 0;
  for (Index i = 1; i < V; ++i) {
    if (logits[i * stride] > logits[best * stride]) best = int(i);
  }
  return best;
}

/// Sequences sampled at a time.
inline constexpr int batch_lanes = lanes<double>;

inline constexpr double infinity = __builtin_huge_val();

/// Whether sampling at this temperature is random: not at ±0, nor where 1 / temperature overflows.
inline bool is_random(double temperature) { return temperature > 0 && 1 / temperature < infinity; }

/// Whether all of x (count), whole vectors, are finite: ∞ · 0 is NaN, and so is any sum with NaN.
template <class Real>
bool all_finite(Index count, const Real* x) {
  Vector<Real> zero = {};
  for (Index i = 0; i < count; i += lanes<Real>) zero += load(x + i) * Real(0);
  return sum<Real>(zero) == 0;
}

/// Whether the logits of one sequence are finite.   logits: a column of (V, stride)
template <class Real>
bool column_is_finite(Index V, const Real* logits, Index stride) {
  Real zero = 0;
  for (Index i = 0; i < V; ++i) zero += logits[i * stride] * 0;
  return zero == 0;
}

/// The weight eˣ of x = (logit - highest) / temperature; zero where eˣ would be subnormal.
MOTEGPT_INLINE Vector<double> weight_of(Vector<double> x) {
  constexpr double lowest = detail::ExpConstants<double>::lowest;
  return x < broadcast(lowest) ? broadcast(0.0) : exp<double>(x);
}

/// Inverse-CDF sampling: the first token whose cumulative weight exceeds uniform · Σ weights.
///
/// edges (V, batch_lanes): the sum of the weights up to each token; uniforms (batch_lanes) in [0, 1)
/// -> tokens (batch_lanes)
inline void sample_cumulative(Index V, const double* edges, const double* uniforms, int* tokens) {
  using Doubles = Vector<double>;
  const Doubles target = load(uniforms) * load(edges + (V - 1) * batch_lanes);
  Doubles passed = {};
  for (Index i = 0; i + 1 < V; ++i)
    passed += target < load(edges + i * batch_lanes) ? broadcast(0.0) : broadcast(1.0);
  for (int lane = 0; lane < batch_lanes; ++lane) tokens[lane] = int(passed[lane]);
}

/// Sample a token for each of `batch_lanes` neighboring sequences from softmax(logits / temperature), in
/// double precision whatever the logits are.
///
/// logits (V, stride), starting at the column of the first sequence; uniforms (batch_lanes) in [0, 1);
/// e (V, batch_lanes): scratch -> tokens (batch_lanes)
template <class Real>
void draw(Index V, const Real* logits, Index stride, double temperature, const double* uniforms, double* e,
          int* tokens) {
  using Doubles = Vector<double>;
  const double inverse_temperature = 1 / temperature;
  Doubles highest = broadcast(-infinity);
  for (Index i = 0; i < V; ++i) highest = maximum(highest, load_doubles(logits + i * stride));
  Doubles edge = {};
  for (Index i = 0; i < V; ++i) {
    edge += weight_of((load_doubles(logits + i * stride) - highest) * inverse_temperature);
    store(e + i * batch_lanes, edge);
  }
  sample_cumulative(V, e, uniforms, tokens);
}

}  // namespace motegpt::MOTEGPT_LEVEL
