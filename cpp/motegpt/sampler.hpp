// Logits -> token, for as many sequences at a time as a vector has lanes. The twin of sampling/filters.py
// where no filter is on; filters.hpp is that of all of it.
#pragma once

#include "math.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The generator of the streams in rng.py: state <- a · state + c (mod 2^64), the high 53 bits count.
/// a and c are Knuth's MMIX constants (The Art of Computer Programming 2, section 3.3.4).
inline double next_uniform(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return double(state >> 11) * 0x1p-53;
}

/// The first of the largest logits of one sequence.   logits (V, stride), its column -> token
template <class Real>
int likeliest(Index V, const Real* logits, Index stride) {
  int best = 0;
  for (Index i = 1; i < V; ++i) {
    if (logits[i * stride] > logits[best * stride]) best = int(i);
  }
  return best;
}

/// Room for V rows of one vector of doubles.
inline constexpr int drawn_together = lanes<double>;

/// Whether there is any chance at this temperature: not at zero, or as good as zero.
inline bool is_random(double temperature) { return 1 / temperature < __builtin_huge_val(); }

/// Token i is drawn where dart · Σ weights falls into its stretch; the weights need no common divisor.
///
/// edges (V, drawn_together): the sum of the weights up to each token; darts (drawn_together) in [0, 1)
/// -> tokens (drawn_together)
inline void throw_darts(Index V, const double* edges, const double* darts, int* tokens) {
  using Doubles = Vector<double>;
  const Doubles dart = load(darts) * load(edges + (V - 1) * drawn_together);
  Doubles passed = {};
  for (Index i = 0; i + 1 < V; ++i)
    passed += dart < load(edges + i * drawn_together) ? broadcast(0.0) : broadcast(1.0);
  for (int lane = 0; lane < drawn_together; ++lane) tokens[lane] = int(passed[lane]);
}

/// Draw a token for each of `drawn_together` neighbouring sequences with probability softmax(logits /
/// temperature), in double precision whatever the logits are.
///
/// logits (V, stride), the first of their columns; darts (drawn_together) in [0, 1); e (V, drawn_together)
/// is scratch -> tokens (drawn_together)
template <class Real>
void draw(Index V, const Real* logits, Index stride, double temperature, const double* darts, double* e,
          int* tokens) {
  using Doubles = Vector<double>;
  const double inverse_temperature = 1 / temperature;
  Doubles highest = broadcast(-__builtin_huge_val());
  for (Index i = 0; i < V; ++i) {
    for (int lane = 0; lane < drawn_together; ++lane)
      e[i * drawn_together + lane] = double(logits[i * stride + lane]);
    highest = maximum(highest, load(e + i * drawn_together));
  }
  Doubles edge = {};
  for (Index i = 0; i < V; ++i) {
    edge += exp<double>((load(e + i * drawn_together) - highest) * inverse_temperature);
    store(e + i * drawn_together, edge);
  }
  throw_darts(V, e, darts, tokens);
}

}  // namespace motegpt::MOTEGPT_LEVEL
