// The backward passes of the node clip, where the bound is too large to act, against the textbook's naive twins.
// Compiled once per level. What the bound does is held to the scalar engine by tests/test_parity.py.
#include "attention_case.hpp"
#include "motegpt/node_clip.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

template <class Real>
constexpr NodeClip<Real> loose{Real(1e30)};

template <class Real>
void test_rmsnorm(Random& random, int N, int C) {
  const double eps = 1e-5;
  const Array x = rounded<Real>(random.normals(size_t(N * C))),
              dy = rounded<Real>(random.normals(size_t(N * C)));
  const Index row = padded<Real>(C);
  Rowwise<Real> input(x, N, C), doutput(dy, N, C), dx(Array(x.size()), N, C);
  Buffer<Real> y(N * row), r(N);
  rmsnorm<Real>(N, C, Real(eps), input, y, r);
  loose<Real>.rmsnorm(N, C, doutput, y, r, dx, true);
  // In one channel the true gradient is nearly nothing, a difference of two large numbers.
  const double allowed = C == 1 ? 1e5 * tolerance<Real> : tolerance<Real>;
  check::near_rows<Real>(dx, row, naive::rmsnorm_backward(N, C, eps, dy, x), N, C, allowed, "rmsnorm");
}

template <class Real>
void test_loss(Random& random, int N, int V) {
  const Array logits = rounded<Real>(random.normals(size_t(N * V))),
              weights = rounded<Real>(random.normals(size_t(N)));
  std::vector<int> targets;
  for (int n = 0; n < N; ++n) targets.push_back(random.below(V));
  const naive::Loss expected = naive::cross_entropy(N, V, logits, targets, weights);
  Buffer<Real> inverse(padded<Real>(N)), target(padded<Real>(N));
  Rowwise<Real> counts(weights, 1, N), x(logits, N, V);
  const double loss = loose<Real>.loss(N, V, x, targets.data(), counts, {inverse, target});
  check::near(loss, expected.loss, N, tolerance<Real>, "loss");
  check::near_rows<Real>(x, padded<Real>(V), expected.dlogits, N, V, tolerance<Real>, "dlogits");
}

template <class Real>
void test_attention(Random& random, int T, int D, int H) {
  PlacedAttention<Real> given(random, T, D, H);
  for (int h = 0; h < H; ++h) {
    attention<Real>(given.head(h), given.p, given.y + h * D, given.scratch);
    loose<Real>.attention(given.head(h), given.p, given.dy + h * D, given.dqkv + h * D, given.scratch);
  }
  given.check_results("attention");
}

template <class Real>
void test_all() {
  Random random(7);
  for (const int N : sizes) {
    for (const int C : sizes) {
      test_rmsnorm<Real>(random, N, C);
      test_loss<Real>(random, N, C);
    }
    for (const int D : {1, 2, 3, 4, 8, 15, 16, 17, 33}) test_attention<Real>(random, N, D, 1 + N % 3);
  }
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() {
  return check::run_at_level("node clip", [] {
    motegpt::MOTEGPT_LEVEL::test_all<float>();
    motegpt::MOTEGPT_LEVEL::test_all<double>();
  });
}
