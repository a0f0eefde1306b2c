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

/// The most tokens that draw_in_single is worth its failures for.
inline constexpr Index most_in_single = 256;

/// Whether draw_in_single takes this temperature: rounding errors of 1 / temperature and of what it multiplies
/// are as assumed there.
inline bool is_moderate(double temperature) { return temperature > 1e-3 && temperature < 1e3; }

namespace detail {

/// x (lanes<float>) - highest.
MOTEGPT_INLINE Vector<float> difference(const float* x, Vector<float> highest) { return load(x) - highest; }

template <int... I>
MOTEGPT_INLINE Vector<float> joined(auto low, auto high, Indices<I...>) {
  return __builtin_shufflevector(low, high, I...);
}

struct TwoDoubles {
  Vector<double> low, high;
};

/// The same in double precision, rounded once.
MOTEGPT_INLINE Vector<float> difference(const double* x, const TwoDoubles& highest) {
  typedef float Half __attribute__((vector_size(vector_bytes / 2)));
  const Half low = __builtin_convertvector(load(x) - highest.low, Half);
  const Half high = __builtin_convertvector(load(x + lanes<double>) - highest.high, Half);
  return joined(low, high, LaneIndices<float>{});
}

MOTEGPT_INLINE Vector<float> highest_of(Index V, const float* x, Index stride) {
  Vector<float> highest = load(x);
  for (Index i = 1; i < V; ++i) highest = maximum(highest, load(x + i * stride));
  return highest;
}

MOTEGPT_INLINE TwoDoubles highest_of(Index V, const double* x, Index stride) {
  TwoDoubles highest{load(x), load(x + lanes<double>)};
  for (Index i = 1; i < V; ++i) {
    highest.low = maximum(highest.low, load(x + i * stride));
    highest.high = maximum(highest.high, load(x + i * stride + lanes<double>));
  }
  return highest;
}

}  // namespace detail

/// As draw, for lanes<float> sequences in single precision. Returns false if rounding may have changed the
/// token of a sequence that runs, and draw has to be called.
///
/// With ε = 2⁻²⁴, a weight is wrong by at most 8 ε of itself (of exp) and 1.2 ε (as x eˣ is at most 1/e, and x is
/// wrong by 3 ε of itself), and a sum Σ of V weights by V ε Σ more. As Σ >= 1, an edge and uniform · Σ part by
/// less than (5 V + 24) ε Σ more or less than in double precision: `slack`.
///
/// logits (V, stride), the first of their columns; uniforms, running (lanes<float>); edges (V, lanes<float>) is
/// scratch -> tokens (lanes<float>)
template <class Real>
bool draw_in_single(Index V, const Real* logits, Index stride, double temperature, const double* uniforms,
                    const bool* running, float* edges, int* tokens) {
  using Floats = Vector<float>;
  constexpr int L = lanes<float>;
  const float inverse_temperature = float(1 / temperature);
  const auto highest = detail::highest_of(V, logits, stride);
  Floats edge = {}, uniform;
  for (Index i = 0; i < V; ++i) {
    edge += exp<float>(detail::difference(logits + i * stride, highest) * inverse_temperature);
    store(edges + i * L, edge);
  }
  for (int lane = 0; lane < L; ++lane) uniform[lane] = float(uniforms[lane]);
  const Floats target = uniform * edge, slack = edge * (float(5 * V + 24) * 0x1p-24f);
  const Floats low = target - slack, high = target + slack;
  BitVector<float> passed = {}, passed_at_most = {};  // minus the numbers of edges
  for (Index i = 0; i + 1 < V; ++i) {
    const Floats here = load(edges + i * L);
    passed += here <= low;
    passed_at_most += here <= high;
  }
  const BitVector<float> uncertain = passed ^ passed_at_most;
  bool certain = true;
  for (int lane = 0; lane < L; ++lane) {
    certain &= !running[lane] || uncertain[lane] == 0;
    tokens[lane] = -passed[lane];
  }
  return certain;
}

}  // namespace motegpt::MOTEGPT_LEVEL
