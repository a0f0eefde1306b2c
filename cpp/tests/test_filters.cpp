// The filters of one processor level against the naive reference: which tokens remain, and which is sampled.
#include "buffers.hpp"
#include "motegpt/filters.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

struct Case {
  Filters filters;
  std::vector<uint8_t> masked, seen;  // (V); seen is that of every sequence
};

Case random_case(Random& random, int V) {
  Case made{{1.0, 1.0, 0, 1.0, 0.0}, std::vector<uint8_t>(size_t(V), 0), std::vector<uint8_t>(size_t(V), 0)};
  made.filters.temperature = 0.3 + 2 * random.uniform();
  if (random.below(2)) made.filters.repetition_penalty = 0.5 + 2 * random.uniform();
  if (random.below(2)) made.filters.top_k = 1 + random.below(V + 2);
  if (random.below(2)) made.filters.top_p = 0.05 + 0.95 * random.uniform();
  if (random.below(2)) made.filters.min_p = 0.9 * random.uniform();
  for (int i = 1; i < V; ++i) {
    made.masked[size_t(i)] = random.below(4) == 0;
    made.seen[size_t(i)] = random.below(3) == 0;
  }
  return made;
}

/// The token sampled by a uniform number; -1 so near to an edge that rounding decides.
int sampled(const Array& p, double uniform) {
  double edge = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) continue;
    edge += p[i];
    if (std::fabs(uniform - edge) < 1e-9) return -1;
    if (uniform < edge) return int(i);
  }
  return -1;
}

/// A column of logits for each lane, each with a masked token of its own.
template <class Real>
void test_draw_filtered(Random& random, int V, const Case& given, bool ties) {
  constexpr int L = batch_lanes;
  const Index stride = L + 3;
  Buffer<Real> logits(V * stride);
  std::vector<uint8_t> seen(size_t(V * stride));
  Buffer<double> x(V * L), weights(V * L), uniforms(L);
  std::vector<int> heap(static_cast<size_t>(V));
  int sequence_mask[L][2], tokens[L];
  for (int lane = 0; lane < L; ++lane) {
    sequence_mask[lane][0] = V > 2 ? 1 + random.below(V - 1) : -1;
    sequence_mask[lane][1] = random.below(2) ? sequence_mask[lane][0] : -1;
    for (int i = 0; i < V; ++i) {
      logits[i * stride + lane] = ties ? Real(random.below(3)) : Real(3 * random.normal());
      seen[size_t(i * stride + lane)] = given.seen[size_t(i)];
    }
  }
  for (int round = 0; round < 5; ++round) {
    for (int lane = 0; lane < L; ++lane) uniforms[lane] = random.uniform();
    draw_filtered<Real>(V, logits, stride, given.filters, {given.masked.data(), seen.data(), stride, sequence_mask},
                        uniforms, {x, weights, heap.data()}, tokens);
    for (int lane = 0; lane < L; ++lane) {
      Array column;
      for (int i = 0; i < V; ++i) column.push_back(double(logits[i * stride + lane]));
      std::vector<uint8_t> out_of_it = given.masked;
      if (sequence_mask[lane][0] >= 0) out_of_it[size_t(sequence_mask[lane][0])] = 1;
      const Array p = naive::filtered(column, given.filters, given.seen, out_of_it);
      const int expected = sampled(p, uniforms[lane]);
      check::that(expected < 0 || tokens[lane] == expected, "draw_filtered");
      check::that(p[size_t(tokens[lane])] > 0, "draw_filtered draws what is in");
    }
  }
}

/// Temperature zero: the most likely token that remains, the first of equals.
template <class Real>
void test_greedy(int V) {
  constexpr int L = batch_lanes;
  Buffer<Real> logits(V * L);
  Buffer<double> x(V * L), weights(V * L), uniforms(L);
  std::vector<uint8_t> masked(size_t(V), 0), seen(size_t(V * L), 0);
  std::vector<int> heap(static_cast<size_t>(V));
  int sequence_mask[L][2], tokens[L];
  for (int lane = 0; lane < L; ++lane) {
    sequence_mask[lane][0] = sequence_mask[lane][1] = -1;
    for (int i = 0; i < V; ++i) logits[i * L + lane] = Real(i < V - 2 ? 5 : 7);
  }
  masked[size_t(V - 2)] = 1;    // one of the two most likely
  sequence_mask[0][0] = V - 1;  // and the other in the first sequence
  seen[size_t((V - 1) * L + 1)] = 1;
  draw_filtered<Real>(V, logits, L, {0.0, 2.0, 1, 0.5, 1.0}, {masked.data(), seen.data(), L, sequence_mask},
                      uniforms, {x, weights, heap.data()}, tokens);
  check::that(tokens[0] == 0, "greedy: a mask per sequence");
  check::that(L < 2 || tokens[1] == 0, "greedy: repetition penalty");
  for (int lane = 2; lane < L; ++lane) check::that(tokens[lane] == V - 1, "greedy");
}

/// Sampling is not random at ±0, nor where 1 / temperature overflows.
void test_is_random() {
  for (const double temperature : {0.0, -0.0, 5e-324, 5.5e-309, -1.0})
    check::that(!is_random(temperature), "a temperature without chance");
  for (const double temperature : {5.7e-309, 1e-300, 1.0, 1.7e308})
    check::that(is_random(temperature), "a temperature with chance");
}

/// A logit that is not finite shows in its own column and in no other.
template <class Real>
void test_finite(int V) {
  constexpr int L = lanes<Real>;
  Buffer<Real> logits(V * L);
  for (int i = 0; i < V * L; ++i) logits[i] = Real(i % 2 ? 3e38 : -1e-38);
  check::that(all_finite(V * L, logits.get()), "all finite");
  for (const double broken : {double(NAN), double(INFINITY), -double(INFINITY)}) {
    logits[(V - 1) * L + L / 2] = Real(broken);
    check::that(!all_finite(V * L, logits.get()), "not all finite");
    for (int lane = 0; lane < L; ++lane)
      check::that(column_is_finite(V, logits.get() + lane, L) == (lane != L / 2), "a column is finite");
  }
}

/// Finite logits stay finite, however large the penalty.
void test_repetition_penalty() {
  for (const double penalty : {5e-324, 0.001, 1.0, 1000.0, 1.7e308}) {
    for (const double logit : {0.0, -0.0, 1.0, -1.0, 1.7e308, -1.7e308})
      check::that(std::isfinite(apply_repetition_penalty(logit, penalty)), "repetition penalty");
  }
  check::that(apply_repetition_penalty(3, 2) == 1.5 && apply_repetition_penalty(-3, 2) == -6,
              "repetition penalty by hand");
}

/// A uniform number of 1 samples the last token that remains, not the last of all.
void test_edge() {
  constexpr int V = 4, L = batch_lanes;
  Buffer<double> logits(V * L), x(V * L), weights(V * L), uniforms(L);
  const std::vector<uint8_t> masked{1, 0, 0, 1};
  int sequence_mask[L][2], tokens[L], heap[V];
  for (int lane = 0; lane < L; ++lane) {
    sequence_mask[lane][0] = sequence_mask[lane][1] = -1;
    uniforms[lane] = lane % 2 ? 0.0 : 1.0;
    for (int i = 0; i < V; ++i) logits[i * L + lane] = i;
  }
  draw_filtered<double>(V, logits, L, {1.0, 1.0, 0, 1.0, 0.0}, {masked.data(), nullptr, 0, sequence_mask},
                        uniforms, {x, weights, heap}, tokens);
  for (int lane = 0; lane < L; ++lane)
    check::that(tokens[lane] == (lane % 2 ? 1 : 2), "the edges of the uniform numbers");
}

/// The plain draw is the filtered one with nothing on.
template <class Real>
void test_plain(Random& random, int V) {
  constexpr int L = batch_lanes;
  Buffer<Real> logits(V * L);
  Buffer<double> x(V * L), weights(V * L), uniforms(L), e(V * L);
  std::vector<int> heap(static_cast<size_t>(V));
  int sequence_mask[L][2], tokens[L], plain[L];
  for (int lane = 0; lane < L; ++lane) {
    sequence_mask[lane][0] = sequence_mask[lane][1] = -1;
    uniforms[lane] = random.uniform();
    for (int i = 0; i < V; ++i) logits[i * L + lane] = Real(random.normal());
  }
  draw_filtered<Real>(V, logits, L, {0.7, 1.0, 0, 1.0, 0.0}, {nullptr, nullptr, 0, sequence_mask}, uniforms,
                      {x, weights, heap.data()}, tokens);
  draw<Real>(V, logits, L, 0.7, uniforms, e, plain);
  for (int lane = 0; lane < L; ++lane) check::that(tokens[lane] == plain[lane], "plain and filtered");
}

/// Where the draw in single precision is certain, its token is that of double precision; it rarely is not.
///
/// Uniform numbers are anywhere, or as near to an edge as rounding can tell.
template <class Real>
void test_single(Random& random, int V) {
  constexpr int L = lanes<float>, rounds = 200;
  const Index stride = L + 3;
  Buffer<Real> logits(V * stride);
  Buffer<double> uniforms(L), e(V * batch_lanes);
  Buffer<float> edges(V * L);
  bool running[L];
  int single[L], expected[L], certain = 0;
  for (int round = 0; round < rounds; ++round) {
    const double scale = round % 4 == 0 ? 30 : 3, temperature = 0.2 + 2 * random.uniform();
    const bool at_edges = round % 2;
    for (int lane = 0; lane < L; ++lane) {
      running[lane] = true;
      for (int i = 0; i < V; ++i) logits[i * stride + lane] = Real(scale * random.normal());
      uniforms[lane] = random.uniform();
      if (!at_edges) continue;
      double sum = 0, edge = 0, highest = -infinity;
      for (int i = 0; i < V; ++i) highest = std::max(highest, double(logits[i * stride + lane]));
      const int last = random.below(V);
      for (int i = 0; i < V; ++i) {
        sum += std::exp((double(logits[i * stride + lane]) - highest) / temperature);
        if (i == last) edge = sum;
      }
      uniforms[lane] = std::min(edge / sum * (1 + 3e-8 * (random.below(21) - 10)), 1 - 0x1p-53);
    }
    const bool sure = draw_in_single<Real>(V, logits, stride, temperature, uniforms, running, edges, single);
    certain += sure && !at_edges;
    for (int lane = 0; lane < L; lane += batch_lanes)
      draw<Real>(V, logits + lane, stride, temperature, uniforms + lane, e, expected + lane);
    for (int lane = 0; sure && lane < L; ++lane)
      check::that(single[lane] == expected[lane], "a certain draw in single precision");
  }
  check::that(certain >= rounds / 2 * 4 / 5, "most draws in single precision are certain");
  running[0] = false;
  logits[0] = Real(NAN);
  draw_in_single<Real>(V, logits, stride, 1, uniforms, running, edges, single);  // whatever its result
}

template <class Real>
void test_all() {
  Random random(3);
  for (const int V : sizes) {
    for (int i = 0; i < 60; ++i) test_draw_filtered<Real>(random, V, random_case(random, V), i % 3 == 0);
    if (V > 2) test_greedy<Real>(V);
    test_finite<Real>(V);
    for (int i = 0; i < 20; ++i) test_plain<Real>(random, V);
    test_single<Real>(random, V);
  }
  test_draw_filtered<Real>(random, 700, random_case(random, 700), false);
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() {
  return check::run_at_level("filters", [] {
    motegpt::MOTEGPT_LEVEL::test_all<float>();
    motegpt::MOTEGPT_LEVEL::test_all<double>();
    motegpt::MOTEGPT_LEVEL::test_edge();
    motegpt::MOTEGPT_LEVEL::test_is_random();
    motegpt::MOTEGPT_LEVEL::test_repetition_penalty();
  });
}
