// The backward passes of the node clip against naive references: the textbook's where the bound is too large
// to act, and for attention one where it acts on every node. Compiled once per level; tests/test_parity.py
// compares all of it with the scalar engine.
#include "attention_case.hpp"
#include "motegpt/node_clip.hpp"
#include "row_cases.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

template <class Real>
constexpr NodeClip<Real> loose{Real(1e30)};

template <class Real>
void test_rmsnorm(Random& random, int N, int C) {
  NormCase<Real> given(random, N, C);
  Rowwise<Real> dx(Array(given.x.size()), N, C);
  rmsnorm<Real>(N, C, Real(given.eps), given.input, given.tape());
  loose<Real>.rmsnorm(N, C, given.doutput, given.tape(), dx, true);
  given.check_backward(dx, "rmsnorm");
}

template <class Real>
void test_loss(Random& random, int N, int V) {
  LossCase<Real> given(random, N, V);
  const double loss = loose<Real>.loss(N, V, given.x, given.targets.data(), given.row_weights, given.tape());
  given.check_results(loss, NodeClip<double>::added_to_p, "loss");
}

template <class Real>
void test_attention(Random& random, int T, int D, int H) {
  PlacedAttention<Real> given(random, T, D, H);
  for (int h = 0; h < H; ++h) {
    Real *y = given.y + h * D, *dy = given.dy + h * D, *dqkv = given.dqkv + h * D;
    head_attention<Real>(given.head(h), given.tape, y, given.scratch);
    loose<Real>.head_attention(given.head(h), given.tape, y, dy, dqkv, given.scratch);
  }
  given.check_results("attention");
}

double clipped(double x) { return std::clamp(x, -1.0, 1.0); }

/// The gradient of the scores of query t, node by node, each clipped to ± 1.   p, dp (t + 1) -> ds (t + 1)
Array naive_softmax_backward(const Array& p, const Array& dp) {
  const double inverse = *std::max_element(p.begin(), p.end());
  double dtotal = 0;
  for (size_t u = 0; u < p.size(); ++u)
    dtotal -= clipped(clipped(dp[u]) * p[u] / inverse) * inverse * inverse;
  Array ds(p.size());
  for (size_t u = 0; u < p.size(); ++u)
    ds[u] = clipped(clipped(clipped(dp[u]) * inverse + clipped(dtotal)) * p[u] / inverse);
  return ds;
}

/// Gradients of several times the bound.
template <class Real>
void test_clipped_attention(Random& random, int T, int D) {
  PlacedAttention<Real> given(random, T, D, 1);
  const Array &q = given.given.q[0], &k = given.given.k[0], &v = given.given.v[0];
  Array dy = given.given.dy[0];
  for (double& value : dy) value = Real(5 * value);
  given.given.place({dy}, 0, given.y_row, given.dy);
  const NodeClip<Real> clip{1};
  head_attention<Real>(given.head(0), given.tape, given.y, given.scratch);
  clip.head_attention(given.head(0), given.tape, given.y, given.dy, given.dqkv, given.scratch);
  for (double& value : dy) value = clipped(value);
  const Array p = naive::attention_weights(T, D, q, k),
              dp = naive::multiply(T, T, D, dy, naive::transpose(T, D, v));
  Array ds(p.size());
  for (int t = 0; t < T; ++t) {
    const auto row = [&](const Array& x) { return Array(&x[size_t(t * T)], &x[size_t(t * T)] + t + 1); };
    const Array scores = naive_softmax_backward(row(p), row(dp));
    for (int u = 0; u <= t; ++u) ds[size_t(t * T + u)] = scores[size_t(u)] / std::sqrt(double(D));
  }
  const double allowed = 4 * tolerance<Real>;  // exp and a quotient are between the two sums
  const Real* dqkv = given.dqkv;
  check::near_rows(dqkv, given.row, naive::multiply(T, D, T, ds, k), T, D, allowed, "clipped dq");
  check::near_rows(dqkv + D, given.row, naive::multiply(T, D, T, naive::transpose(T, T, ds), q), T, D,
                   allowed, "clipped dk");
  check::near_rows(dqkv + 2 * D, given.row, naive::multiply(T, D, T, naive::transpose(T, T, p), dy), T, D,
                   allowed, "clipped dv");
}

template <class Real>
void test_all() {
  Random random(7);
  for (const int N : sizes) {
    for (const int C : sizes) {
      test_rmsnorm<Real>(random, N, C);
      test_loss<Real>(random, N, C);
    }
    for (const int D : {1, 2, 3, 4, 8, 15, 16, 17, 33}) {
      test_attention<Real>(random, N, D, 1 + N % 3);
      test_clipped_attention<Real>(random, N, D);
    }
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
