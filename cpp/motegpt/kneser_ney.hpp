// Kneser-Ney n-grams and their average with the model, as in src/motegpt/ngrams/.
#pragma once

#include "generation.hpp"
#include "sampler.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The context that has `token` before the context `shorter` of the level below; -1: it does not occur.
inline Index find_context(const NGramLevel& level, Index shorter, int token) {
  Index low = level.children[shorter];
  const Index end = level.children[shorter + 1];
  for (Index high = end; low < high;) {
    const Index middle = low + (high - low) / 2;
    if (level.first[middle] < token)
      low = middle + 1;
    else
      high = middle;
  }
  return low < end && level.first[low] == token ? low : -1;
}

/// Adds the part of p that contexts of one token or more contribute, and returns the factor of the rest,
/// p_1 of each token.
///
/// history (order - 1): the tokens before, the latest first; V before the beginning; p: a column of
/// (V, batch_lanes)
inline double add_longer(const NGrams& n_grams, const int* history, double* p) {
  Index rows[largest_order], known = 0;
  for (Index row = 0; known < n_grams.order - 1; ++known) {
    row = find_context(n_grams.levels[known], row, history[known]);
    if (row < 0) break;
    rows[known] = row;
  }
  double scale = 1;  // γ of all longer contexts
  while (known-- > 0) {
    const NGramLevel& level = n_grams.levels[known];
    const Index row = rows[known];
    for (Index g = level.starts[row]; g < level.starts[row + 1]; ++g)
      p[level.last[g] * batch_lanes] += scale * level.share[g];
    scale *= level.backoff[row];
  }
  return scale;
}

/// log((1 - w) softmax(logits) + w p) for `batch_lanes` neighboring sequences, at least that of the smallest
/// number.
///
/// logits (V, stride), the first of their columns; histories, runs (batch_lanes): as above, and whether the
/// result matters; e (V, batch_lanes): scratch -> log_p (V, batch_lanes)
template <class Real>
void average(const NGrams& n_grams, Index V, const Real* logits, Index stride,
             const int (*histories)[largest_order], const bool* runs, double* e, double* log_p) {
  using Doubles = Vector<double>;
  Doubles highest = broadcast(-infinity), total = {}, scale = {};
  for (Index i = 0; i < V; ++i) {
    highest = maximum(highest, load_doubles(logits + i * stride));
    store(log_p + i * batch_lanes, Doubles{});
  }
  for (Index i = 0; i < V; ++i) {
    const Doubles each = weight_of(load_doubles(logits + i * stride) - highest);
    store(e + i * batch_lanes, each);
    total += each;
  }
  for (int lane = 0; lane < batch_lanes; ++lane) {
    if (runs[lane]) scale[lane] = add_longer(n_grams, histories[lane], log_p + lane);
  }
  const Doubles share = broadcast(1 - n_grams.weight) / total;
  for (Index i = 0; i < V; ++i) {
    const Doubles p = load(log_p + i * batch_lanes) + scale * n_grams.unigrams[i];
    const Doubles mean = load(e + i * batch_lanes) * share + p * n_grams.weight;
    store(log_p + i * batch_lanes, log<double>(maximum(mean, broadcast(__DBL_MIN__))));
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
