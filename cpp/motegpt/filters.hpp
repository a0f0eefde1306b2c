// Logits -> token with filters and masks, step by step as in generation/filters.py.
#pragma once

#include "generation.hpp"
#include "sampler.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The masked tokens and the tokens seen so far, of `batch_lanes` neighboring sequences.
struct Masks {
  const uint8_t* masked;  // (V), the same for all sequences; null: none
  const uint8_t* seen;    // (V, seen_stride), the first of their columns; null: no penalty
  Index seen_stride;
  const int (*per_sequence_mask)[2];  // (batch_lanes): tokens masked for one sequence; -1: none
};

/// Scratch for `batch_lanes` sequences.
struct FilterScratch {
  double* x;        // (V, batch_lanes): penalized, masked and scaled logits
  double* weights;  // (V, batch_lanes)
  int* heap;        // (V)
};

inline constexpr double out = -infinity;

/// Whether token a comes before token b: the more likely one or, of equals, the lower id.   x: a column of
/// (V, batch_lanes)
inline bool is_before(const double* x, int a, int b) {
  const double left = x[Index(a) * batch_lanes], right = x[Index(b) * batch_lanes];
  return left > right || (left == right && a < b);
}

/// Restore the order of a heap whose root is its most likely token, where only heap[at] may violate it.
inline void sift_down(const double* x, int* heap, Index size, Index at) {
  const int moving = heap[at];
  for (Index child; (child = 2 * at + 1) < size; at = child) {
    if (child + 1 < size && is_before(x, heap[child + 1], heap[child])) ++child;
    if (!is_before(x, heap[child], moving)) break;
    heap[at] = heap[child];
  }
  heap[at] = moving;
}

/// Steps 4 and 5, top_k and top_p, for one sequence: the weights of all other tokens become zero.
///
/// x, weights: a column of (V, batch_lanes); heap (V) is scratch
inline void keep_most_likely(Index V, const double* x, double* weights, const Filters& filters, int* heap) {
  Index size = 0;
  for (Index i = 0; i < V; ++i) {
    if (x[i * batch_lanes] > out) heap[size++] = int(i);
  }
  const Index candidates = size;
  for (Index at = size / 2; at-- > 0;) sift_down(x, heap, size, at);
  const auto weight_of_next = [&] {  // the most likely token moves behind the heap
    const int top = heap[0];
    heap[0] = heap[--size];
    sift_down(x, heap, size, 0);
    heap[size] = top;
    return weights[Index(top) * batch_lanes];
  };
  Index kept = candidates;
  double total = 0;
  if (filters.top_k > 0 && filters.top_k < candidates) {
    kept = Index(filters.top_k);
    while (size > candidates - kept) total += weight_of_next();
  } else {
    for (Index i = 0; i < V; ++i) total += weights[i * batch_lanes];
  }
  if (filters.top_p < 1) {
    const Index most = kept;
    double mass = 0;
    for (kept = 0; kept < most && mass < filters.top_p * total; ++kept) {
      const Index place = candidates - 1 - kept;
      mass += place < size ? weight_of_next() : weights[Index(heap[place]) * batch_lanes];
    }
  }
  for (Index i = 0; i < candidates - kept; ++i) weights[Index(heap[i]) * batch_lanes] = 0;
}

/// Step 1 for one logit, limited to finite numbers.
inline double apply_repetition_penalty(double logit, double penalty) {
  constexpr double largest = __DBL_MAX__;
  return logit > 0 ? min(logit / penalty, largest) : max(logit * penalty, -largest);
}

/// Steps 1 and 2: the logits in double precision, penalized and masked.   -> x (V, batch_lanes)
template <class Real>
void apply_penalty_and_masks(Index V, const Real* logits, Index stride, double penalty, const Masks& masks,
                             double* x) {
  for (Index i = 0; i < V; ++i) {
    const bool never = masks.masked && masks.masked[i];
    double* row = x + i * batch_lanes;
    store(row, never ? broadcast(out) : load_doubles(logits + i * stride));
    for (int lane = 0; masks.seen && lane < batch_lanes; ++lane) {
      if (masks.seen[i * masks.seen_stride + lane] && !never) row[lane] = apply_repetition_penalty(row[lane], penalty);
    }
  }
  for (int lane = 0; lane < batch_lanes; ++lane) {
    for (const int token : masks.per_sequence_mask[lane]) {
      if (token >= 0) x[Index(token) * batch_lanes + lane] = out;
    }
  }
}

/// Step 3: x <- (x - max x) / temperature, and the weights eˣ, zero where masked.   both (V, batch_lanes)
inline void apply_temperature(Index V, double temperature, double* x, double* weights) {
  using Doubles = Vector<double>;
  const double inverse_temperature = 1 / temperature;
  Doubles highest = broadcast(out);
  for (Index i = 0; i < V; ++i) highest = maximum(highest, load(x + i * batch_lanes));
  for (Index i = 0; i < V; ++i) {
    const Doubles scaled = (load(x + i * batch_lanes) - highest) * inverse_temperature;
    store(x + i * batch_lanes, scaled);
    store(weights + i * batch_lanes, weight_of(scaled));
  }
}

/// Sample a token for each of `batch_lanes` neighboring sequences, with all filters.
///
/// logits (V, stride), the first of their columns; uniforms (batch_lanes) in [0, 1)
/// -> tokens (batch_lanes)
template <class Real>
void draw_filtered(Index V, const Real* logits, Index stride, const Filters& filters, const Masks& masks,
                   const double* uniforms, const FilterScratch& scratch, int* tokens) {
  using Doubles = Vector<double>;
  double *x = scratch.x, *weights = scratch.weights;
  apply_penalty_and_masks(V, logits, stride, filters.repetition_penalty, masks, x);
  if (!is_random(filters.temperature)) {
    for (int lane = 0; lane < batch_lanes; ++lane) tokens[lane] = argmax(V, x + lane, batch_lanes);
    return;
  }
  apply_temperature(V, filters.temperature, x, weights);
  if (filters.top_k > 0 || filters.top_p < 1) {
    for (int lane = 0; lane < batch_lanes; ++lane)
      keep_most_likely(V, x + lane, weights + lane, filters, scratch.heap);
  }
  Doubles edge = {};
  for (Index i = 0; i < V; ++i) {
    const Doubles weight = load(weights + i * batch_lanes);  // that of the most likely token is 1
    edge += weight < broadcast(filters.min_p) ? broadcast(0.0) : weight;
    store(weights + i * batch_lanes, edge);
  }
  sample_cumulative(V, weights, uniforms, tokens);
  for (int lane = 0; lane < batch_lanes; ++lane) {  // rounding may leave no weight at this token
    const auto edge_of = [&](int i) { return weights[Index(i) * batch_lanes + lane]; };
    while (tokens[lane] > 0 && edge_of(tokens[lane]) == edge_of(tokens[lane] - 1)) --tokens[lane];
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
