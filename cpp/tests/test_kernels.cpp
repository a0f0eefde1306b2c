// Every kernel of one processor level against its naive twin, in both precisions, at sizes on either
// side of the vector width. Compiled once per level.
#include "buffers.hpp"
#include "motegpt/activation.hpp"
#include "motegpt/attention.hpp"
#include "motegpt/loss.hpp"
#include "motegpt/narrow_attention.hpp"
#include "motegpt/norm.hpp"
#include "motegpt/parameters.hpp"
#include "motegpt/product.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

template <class Real>
void test_lanes() {
  Vector<Real> block[lanes<Real>];
  for (int i = 0; i < lanes<Real>; ++i) block[i] = lane_numbers<Real>() + Real(100 * i);
  transpose<Real>(block);
  for (int i = 0; i < lanes<Real>; ++i) {
    for (int j = 0; j < lanes<Real>; ++j) check::that(block[i][j] == Real(100 * j + i), "transpose");
  }
  const Vector<Real> x = lane_numbers<Real>();
  check::that(sum<Real>(x) == Real(lanes<Real> * (lanes<Real> - 1) / 2), "sum");
  check::that(group_maximum<Real>(x)[0] == Real(lanes<Real> - 1), "group_maximum");
  const Vector<Real> pairs = group_sum<Real, 2>(x);
  for (int i = 0; i < lanes<Real>; ++i) check::that(pairs[i] == Real(i / 2 * 4 + 1), "group_sum of pairs");
}

template <class Real>
void test_functions(Random& random) {
  const double units = sizeof(Real) == 4 ? 1.2e-7 : 2.3e-16;
  for (int i = 0; i < 20000; ++i) {
    const Real x = Real(random.uniform() * 170 - 86), positive = Real(std::exp(random.uniform() * 160 - 80));
    const double e = std::exp(double(x)), l = std::log(double(positive));
    check::near(double(exp<Real>(broadcast(x))[0]), e, e, 3 * units, "exp");
    check::near(double(log<Real>(broadcast(positive))[0]), l, std::fmax(1, std::fabs(l)), 3 * units, "log");
    const Real m = Real(random.normal());
    const double root = 1 + 10 * random.uniform(), eps = 1e-8, rate = 0.01 * random.uniform();
    const double expected = rate * double(m) / (root * std::sqrt(double(positive)) + eps);
    const QuotientByRoot<Real> quotient(rate, root, eps);
    check::near(double(quotient(broadcast(m), broadcast(positive))[0]), expected, std::fabs(expected),
                (sizeof(Real) == 4 ? 10 : 4) * units, "QuotientByRoot");
  }
  check::that(log<Real>(broadcast(Real(1)))[0] == 0, "log 1");
  check::that(exp<Real>(broadcast(Real(0)))[0] == 1 || sizeof(Real) == 4, "exp 0");
  check::that(exp<Real>(broadcast(Real(-1e30)))[0] < Real(1e-37), "exp of very little");
  const QuotientByRoot<Real> quotient(0.01, 1, 1e-8), resting(0, 1, 1e-8);
  check::that(quotient(Vector<Real>{}, Vector<Real>{})[0] == 0, "QuotientByRoot at 0");
  check::that(std::fabs(double(resting(broadcast(Real(1)), broadcast(Real(1)))[0])) < 1e-20,
              "QuotientByRoot, no rate");
}

template <class Real>
void test_multiply(Random& random, int M, int N, int K) {
  const Array a = rounded<Real>(random.normals(size_t(M * K))),
              b = rounded<Real>(random.normals(size_t(K * N)));
  const Array expected = naive::multiply(M, N, K, a, b);
  const Index width = padded<Real>(N);
  Rowwise<Real> left(a, M, K), turned(naive::transpose(M, K, a), K, M), right(b, K, N);
  Buffer<Real> panels(K * width), out(M * width);
  for_panels<Real>(K, N, [&](Index at, Index c, Index w) {
    for (int k = 0; k < K; ++k)
      std::memcpy(panels + at + k * w, right + k * width + c, size_t(w) * sizeof(Real));
  });
  for (const bool from_panels : {false, true}) {
    const Columns<Real> columns = from_panels ? in_panels<Real>(panels, K) : row_major<Real>(right, width);
    multiply<Real>(M, width, K, rows<Real>(left, padded<Real>(K)), columns, row_major<Real>(out, width),
                   false);
    check::near_rows<Real>(out, width, expected, M, N, tolerance<Real>, "multiply");
    multiply<Real>(M, width, K, transposed<Real>(turned, padded<Real>(M)), columns,
                   row_major<Real>(out, width), true);
    Array twice = expected;
    for (double& value : twice) value *= 2;
    check::near_rows<Real>(out, width, twice, M, N, tolerance<Real>, "multiply, transposed, accumulating");
  }
}

template <class Real>
void test_rmsnorm(Random& random, int N, int C) {
  const double eps = 1e-5;
  const Array x = rounded<Real>(random.normals(size_t(N * C))),
              dy = rounded<Real>(random.normals(size_t(N * C)));
  const Index row = padded<Real>(C);
  Rowwise<Real> input(x, N, C), doutput(dy, N, C);
  Buffer<Real> y(N * row), r(N), dx(N * row);
  rmsnorm<Real>(N, C, Real(eps), input, y, r);
  check::near_rows<Real>(y, row, naive::rmsnorm(N, C, eps, x), N, C, tolerance<Real>, "rmsnorm");
  rmsnorm_backward<Real>(N, C, doutput, y, r, dx, false);
  // In one channel the true gradient is nearly nothing, a difference of two large numbers.
  const double allowed = C == 1 ? 1e5 * tolerance<Real> : tolerance<Real>;
  check::near_rows<Real>(dx, row, naive::rmsnorm_backward(N, C, eps, dy, x), N, C, allowed,
                         "rmsnorm_backward");
  Buffer<Real> by_node(N * row);
  std::fill(by_node.get(), by_node + N * row, Real(0));
  rmsnorm_backward_by_node<Real>(N, C, doutput, y, r, by_node, true, {Real(1e30)});
  check::near_rows<Real>(by_node, row, naive::rmsnorm_backward(N, C, eps, dy, x), N, C, allowed,
                         "rmsnorm_backward_by_node");
}

template <class Real, bool Squared>
void test_activation(Random& random, int count) {
  const Array u = rounded<Real>(random.normals(size_t(count))),
              dg = rounded<Real>(random.normals(size_t(count)));
  Rowwise<Real> before(u, 1, count), gradient(dg, 1, count);
  Buffer<Real> after(padded<Real>(count));
  activate<Real, Squared>(padded<Real>(count), before, after);
  activate_backward<Real, Squared>(padded<Real>(count), before, gradient);
  for (int i = 0; i < count; ++i) {
    check::near(double(after[i]), naive::activate(Squared, u[size_t(i)]), 1, tolerance<Real>, "activate");
    check::near(double(gradient[i]), naive::activate_slope(Squared, u[size_t(i)]) * dg[size_t(i)], 1,
                tolerance<Real>, "activate_backward");
  }
}

template <class Real>
void test_cross_entropy(Random& random, int N, int V) {
  const Array logits = rounded<Real>(random.normals(size_t(N * V))),
              weights = rounded<Real>(random.normals(size_t(N)));
  std::vector<int> targets;
  for (int n = 0; n < N; ++n) targets.push_back(random.below(V));
  const naive::Loss expected = naive::cross_entropy(N, V, logits, targets, weights);
  Buffer<Real> inverse(padded<Real>(N)), target(padded<Real>(N));
  const LossTape<Real> tape{inverse, target};
  Rowwise<Real> counts(weights, 1, N);
  for (const bool by_node : {false, true}) {
    Rowwise<Real> x(logits, N, V);
    const double loss = cross_entropy<Real>(N, V, x, targets.data(), counts, tape, by_node);
    check::near(loss, expected.loss, N, tolerance<Real>, "cross_entropy");
    if (by_node) {
      cross_entropy_backward_by_node<Real>(N, V, x, targets.data(), counts, tape, {Real(1e30)});
    } else {
      cross_entropy_backward<Real>(N, V, x, targets.data(), counts, tape);
    }
    check::near_rows<Real>(x, padded<Real>(V), expected.dlogits, N, V, tolerance<Real>,
                           "cross_entropy_backward");
  }
}

/// q, k, v and dy of H heads of D channels, side by side as in a row of the model.
template <class Real>
struct AttentionCase {
  int T, D, H;
  std::vector<Array> q, k, v, dy;  // per head (T, D)

  static AttentionCase make(Random& random, int T, int D, int H) {
    AttentionCase made{T, D, H, {}, {}, {}, {}};
    for (std::vector<Array>* part : {&made.q, &made.k, &made.v, &made.dy}) {
      for (int h = 0; h < H; ++h) part->push_back(rounded<Real>(random.normals(size_t(T * D))));
    }
    return made;
  }

  /// Puts head h of x at channel `at` of rows of `row` numbers.
  void place(const std::vector<Array>& x, Index at, Index row, Real* out) const {
    for (int h = 0; h < H; ++h) {
      for (int t = 0; t < T; ++t) {
        for (int d = 0; d < D; ++d) out[t * row + at + h * D + d] = Real(x[size_t(h)][size_t(t * D + d)]);
      }
    }
  }

  void check_results(const Real* y, const Real* dqkv, Index row, Index y_row, const std::string& name) const {
    const double allowed = 4 * tolerance<Real>;  // exp and a quotient are between the two sums
    for (int h = 0; h < H; ++h) {
      const size_t i = size_t(h);
      const Array weights = naive::attention_weights(T, D, q[i], k[i]);
      check::near_rows(y + h * D, y_row, naive::multiply(T, D, T, weights, v[i]), T, D, allowed, name);
      const naive::AttentionGradients expected = naive::attention_backward(T, D, q[i], k[i], v[i], dy[i]);
      const int C = H * D;
      check::near_rows(dqkv + h * D, row, expected.dq, T, D, allowed, name + " dq");
      check::near_rows(dqkv + C + h * D, row, expected.dk, T, D, allowed, name + " dk");
      check::near_rows(dqkv + 2 * C + h * D, row, expected.dv, T, D, allowed, name + " dv");
    }
  }
};

template <class Real>
void test_attention(Random& random, int T, int D, int H) {
  const auto given = AttentionCase<Real>::make(random, T, D, H);
  const int C = H * D;
  const Index row = padded<Real>(3 * C), y_row = padded<Real>(C), p_row = padded<Real>(T);
  Buffer<Real> qkv(T * row), dqkv(T * row), y(T * y_row), dy(T * y_row), p(T * p_row), inverse(T);
  given.place(given.q, 0, row, qkv);
  given.place(given.k, C, row, qkv);
  given.place(given.v, 2 * C, row, qkv);
  given.place(given.dy, 0, y_row, dy);
  Arena counting;
  AttentionScratch<Real>(counting, T, D);
  Memory memory(counting.used());
  Arena arena(memory.data());
  const AttentionScratch<Real> scratch(arena, T, D);
  for (const Real bound : {Real(INFINITY), Real(1e30)}) {  // the second takes the way of the node clip
    for (int h = 0; h < H; ++h) {
      const Head<Real> head{T, D, C, row, y_row, p_row, qkv + h * D};
      attention<Real>(head, p, inverse, 1, y + h * D, scratch);
      attention_backward<Real>(head, p, inverse, 1, dy + h * D, dqkv + h * D, scratch, {bound});
    }
    given.check_results(y, dqkv, row, y_row, "attention");
  }
}

template <class Real, int D>
void test_narrow_attention(Random& random, int T) {
  if constexpr (D <= lanes<Real>) {
    constexpr int H = lanes<Real> / D, C = lanes<Real>;
    const auto given = AttentionCase<Real>::make(random, T, D, H);
    Buffer<Real> qkv(T * 3 * C), dqkv(T * 3 * C), y(T * C), dy(T * C), tape(narrow_attention_tape<Real>(T));
    given.place(given.q, 0, 3 * C, qkv);
    given.place(given.k, C, 3 * C, qkv);
    given.place(given.v, 2 * C, 3 * C, qkv);
    given.place(given.dy, 0, C, dy);
    const NarrowHeads<Real> heads{T, C, 3 * C, C, qkv};
    narrow_attention<Real, D>(heads, tape, y);
    narrow_attention_backward<Real, D>(heads, tape, y, dy, dqkv);
    given.check_results(y, dqkv, 3 * C, C, "narrow attention");
  }
}

template <class Real>
void test_all() {
  Random random(7);
  test_lanes<Real>();
  test_functions<Real>(random);
  for (const int M : sizes) {
    for (const int N : sizes) {
      for (const int K : sizes) test_multiply<Real>(random, M, N, K);
    }
  }
  test_multiply<Real>(random, 13, 150, 700);   // several panels, several stretches of k
  test_multiply<Real>(random, 1100, 70, 300);  // rows of a transposed left side on pages of their own
  for (const int N : sizes) {
    for (const int C : sizes) {
      test_rmsnorm<Real>(random, N, C);
      test_cross_entropy<Real>(random, N, C);
    }
    test_activation<Real, false>(random, N);
    test_activation<Real, true>(random, N);
  }
  for (const int T : sizes) {
    for (const int D : {1, 2, 3, 4, 8, 15, 16, 17, 33}) test_attention<Real>(random, T, D, 1 + T % 3);
    test_narrow_attention<Real, 1>(random, T);
    test_narrow_attention<Real, 2>(random, T);
    test_narrow_attention<Real, 4>(random, T);
    test_narrow_attention<Real, 8>(random, T);
    test_narrow_attention<Real, 16>(random, T);
  }
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() {
  return check::run_at_level("kernels", [] {
    motegpt::MOTEGPT_LEVEL::test_all<float>();
    motegpt::MOTEGPT_LEVEL::test_all<double>();
  });
}
