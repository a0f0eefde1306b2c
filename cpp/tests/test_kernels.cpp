// Every kernel of one processor level against its naive reference, in both precisions, at sizes on either
// side of the vector width. Compiled once per level.
#include "attention_case.hpp"
#include "motegpt/activation.hpp"
#include "motegpt/dropout.hpp"
#include "motegpt/narrow_attention.hpp"
#include "motegpt/parameters.hpp"
#include "motegpt/product.hpp"
#include "motegpt/qk_norm.hpp"
#include "motegpt/rope.hpp"
#include "row_cases.hpp"
#include "specify.hpp"

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
  constexpr double units = sizeof(Real) == 4 ? 1.2e-7 : 2.3e-16;
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
  const auto keeps_one = [](auto function) { return function(broadcast(Real(0)))[0] == 1; };
  check::that(keeps_one(exp<Real>), "exp 0");
  check::that(!keeps_one([](Vector<Real> x) { return exp<Real>(x + Real(2 * units)); }), "exp 0 is checked");
  check::that(exp<Real>(broadcast(Real(-1e30)))[0] < Real(1e-37), "exp of very little");
  const QuotientByRoot<Real> resting(0, 1, 1e-8);
  for (const double eps : {1e-8, 1e-45}) {
    const QuotientByRoot<Real> quotient(0.01, 1, eps);
    check::that(quotient(Vector<Real>{}, Vector<Real>{})[0] == 0, "QuotientByRoot at 0");
  }
  check::that(std::fabs(double(resting(broadcast(Real(1)), broadcast(Real(1)))[0])) < 1e-20,
              "QuotientByRoot, no rate");
}

/// The numbers of tests/test_dropout.py.
template <class Real>
void test_mask_keys() {
  check::that(DropoutMasks({7, 0.5, 0}, 2).key(1, 3) == 0x8e6a5eb5, "mask_key");
  const auto mask = [](double p) {  // the hash is 0xaec45d68
    const unsigned key = 0x8e6a5eb5, index = 5;
    const DropoutMask<Real> made(p);
    const Real factor = made(Words32<Real>{} + (key + index * made.golden))[0];
    check::that(made.drops(key, index) == (factor == 0), "one number");
    return factor;
  };
  const double p = (0xaec45d68 + 0.25) / 0x1p32;
  check::that(mask(p) == Real(1 / (1 - p)), "kept");
  check::that(mask(p + 0x1p-33) == 0, "dropped");
  check::that(mask(1 - 0x1p-53) == 0, "a probability that rounds to 1");
}

/// Rows 3 … 9 of documents of 5, 1 and 6 positions, as one of several threads has them.
template <class Real>
void test_dropout(Random& random, int C) {
  const Document documents[] = {{0, 5, 4}, {5, 1, 0}, {6, 6, 9}};
  const DropoutMasks masks({7, 0.4, 0}, 2);
  Part part(documents, 3, 12, masks, {});
  part.first = 3;
  part.N = 7;
  const Array x = rounded<Real>(random.normals(size_t(part.N * C)));
  Array expected = x;
  for (int n = 0; n < part.N; ++n) {
    const Document& document = documents[(n >= 2) + (n >= 3)];
    for (int c = 0; c < C; ++c) {
      const unsigned index = unsigned((part.first + n - document.first) * C + c);
      expected[size_t(n * C + c)] *= naive::dropout_mask(masks.key(16, document.index), index, 0.4);
    }
  }
  Rowwise<Real> y(x, int(part.N), C), sum(x, int(part.N), C);
  dropout<Real>(part, C, 16, y, y, false);
  check_padded<Real>(y, expected, int(part.N), C, tolerance<Real>, "dropout");
  dropout<Real>(part, C, 16, sum, sum, true);
  for (size_t i = 0; i < x.size(); ++i) expected[i] += x[i];
  check_padded<Real>(sum, expected, int(part.N), C, tolerance<Real>, "dropout, added");
}

template <class Real>
void test_multiply(Random& random, int M, int N, int K) {
  const Array a = rounded<Real>(random.normals(size_t(M * K))),
              b = rounded<Real>(random.normals(size_t(K * N)));
  const Array expected = naive::multiply(M, N, K, a, b);
  const Index width = padded<Real>(N);
  Rowwise<Real> left(a, M, K), left_transposed(naive::transpose(M, K, a), K, M), right(b, K, N);
  Buffer<Real> panels(K * width), out(M * width);
  for_panels<Real>(K, N, [&](Index at, Index c, Index w) {
    for (int k = 0; k < K; ++k)
      std::memcpy(panels + at + k * w, right + k * width + c, size_t(w) * sizeof(Real));
  });
  for (const bool from_panels : {false, true}) {
    const Columns<Real> columns = from_panels ? in_panels<Real>(panels, K) : row_major<Real>(right, width);
    multiply<Real>(M, width, K, rows<Real>(left, padded<Real>(K)), columns, row_major<Real>(out, width),
                   false);
    check_padded<Real>(out, expected, M, N, tolerance<Real>, "multiply");
    multiply<Real>(M, width, K, transposed<Real>(left_transposed, padded<Real>(M)), columns,
                   row_major<Real>(out, width), true);
    Array twice = expected;
    for (double& value : twice) value *= 2;
    check_padded<Real>(out, twice, M, N, tolerance<Real>, "multiply, transposed, accumulating");
  }
}

template <class Real>
void test_rmsnorm(Random& random, int N, int C) {
  NormCase<Real> given(random, N, C);
  Buffer<Real> dx(N * padded<Real>(C));
  rmsnorm<Real>(N, C, Real(given.eps), given.input, given.tape());
  check_padded<Real>(given.y, naive::rmsnorm(N, C, given.eps, given.x), N, C, tolerance<Real>, "rmsnorm");
  rmsnorm_backward<Real>(N, C, given.doutput, given.tape(), dx, false);
  given.check_backward(dx, "rmsnorm_backward");
}

template <class Real>
void test_activation(Random& random, Activation kind, int count) {
  const bool squared = kind == Activation::squared_relu;
  const Array u = rounded<Real>(random.normals(size_t(count))),
              dg = rounded<Real>(random.normals(size_t(count)));
  Rowwise<Real> before(u, 1, count), gradient(dg, 1, count);
  Buffer<Real> after(padded<Real>(count));
  activate<Real>(kind, padded<Real>(count), {before, after});
  activate_backward<Real>(kind, padded<Real>(count), {before, after}, gradient);
  for (int i = 0; i < count; ++i) {
    check::near(double(after[i]), naive::activate(squared, u[size_t(i)]), 1, tolerance<Real>, "activate");
    check::near(double(gradient[i]), naive::activate_slope(squared, u[size_t(i)]) * dg[size_t(i)], 1,
                tolerance<Real>, "activate_backward");
  }
  check::zero_beyond(after.get(), padded<Real>(count), 1, count, "activate");
  check::zero_beyond(gradient.get(), padded<Real>(count), 1, count, "activate_backward");
}

template <class Real>
void test_cross_entropy(Random& random, int N, int V) {
  LossCase<Real> given(random, N, V);
  const int* targets = given.targets.data();
  const double loss = cross_entropy<Real>(N, V, given.x, targets, given.row_weights, given.tape());
  cross_entropy_backward<Real>(N, V, given.x, targets, given.row_weights, given.tape());
  given.check_results(loss, 0, "cross_entropy");
}

template <class Real>
void test_attention(Random& random, int T, int D, int H) {
  PlacedAttention<Real> given(random, T, D, H);
  for (int h = 0; h < H; ++h) {
    head_attention<Real>(given.head(h), given.p, given.y + h * D, given.scratch);
    head_attention_backward<Real>(given.head(h), given.p, given.dy + h * D, given.dqkv + h * D,
                                  given.scratch);
  }
  given.check_results("attention");
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

/// A model with H heads of D channels, and rows of queries, keys and values.
template <class Real>
struct QueriesAndKeys {
  int N = 9, D, C;
  Specification specification;
  Array x;
  Rowwise<Real> rows;

  QueriesAndKeys(Random& random, int D_, int H, Position position, bool qk_norm)
      : D(D_),
        C(D * H),
        specification(specify(5, 200, 2, C, H, true, true, Activation::relu, position, qk_norm)),
        x(rounded<Real>(random.normals(size_t(N * 3 * C)))),
        rows(x, N, 3 * C) {}

  const Shape& shape() const { return specification.shape(); }
  Index row() const { return padded<Real>(3 * C); }

  /// Every row's channels `first` … of x.
  Array part(int first, int count) const {
    Array found;
    for (int n = 0; n < N; ++n)
      found.insert(found.end(), x.begin() + n * 3 * C + first, x.begin() + n * 3 * C + first + count);
    return found;
  }

  /// The rows hold q and k as expected, and v as before.
  void check_rows(const Array& q, const Array& k, const std::string& what, double allowed = 1) {
    const Real* got = rows.get();
    check::near_rows(got, row(), q, N, C, allowed * tolerance<Real>, what + ", q");
    check::near_rows(got + C, row(), k, N, C, allowed * tolerance<Real>, what + ", k");
    check::near_rows(got + 2 * C, row(), part(2 * C, C), N, C, 0, what + ", v");
    check::zero_beyond(got, row(), N, 3 * C, what);
  }
};

template <class Real>
void test_rope(Random& random, int D, int H) {
  QueriesAndKeys<Real> given(random, D, H, Position::rope, false);
  const std::vector<int> positions{0, 1, 2, 0, 5, 17, 63, 64, 199};
  Rope<Real> rope(given.shape());
  for (const Index count : {1, 65, 200}) rope.reserve(count);
  rope.forward(given.N, positions.data(), given.rows, given.row());
  const auto rotated = [&](int first) {
    return naive::rotate(given.N, given.C, D, 100, positions, given.part(first, given.C));
  };
  given.check_rows(rotated(0), rotated(given.C), "rope");
  rope.backward(given.N, positions.data(), given.rows, given.row());
  given.check_rows(given.part(0, given.C), given.part(given.C, given.C), "rope there and back");
  for (int n = 0; n < given.N; ++n) {  // as a position of `width` sequences, each with the same numbers
    const Index width = 2 * lanes<Real>;
    Buffer<Real> q(given.C * width), k(given.C * width);
    for (Index i = 0; i < given.C * width; ++i) {
      q[i] = Real(given.x[size_t(n * 3 * given.C + i / width)]);
      k[i] = Real(given.x[size_t(n * 3 * given.C + given.C + i / width)]);
    }
    rope.step(width, positions[size_t(n)], q, k);
    for (int c = 0; c < given.C; ++c) {
      for (const Index s : {Index(0), width - 1}) {
        const size_t i = size_t(n * given.C + c);
        check::near(double(q[c * width + s]), rotated(0)[i], 1, tolerance<Real>, "rope step, q");
        check::near(double(k[c * width + s]), rotated(given.C)[i], 1, tolerance<Real>, "rope step, k");
      }
    }
  }
}

template <class Real>
void test_qk_norm(Random& random, int D, int H) {
  QueriesAndKeys<Real> given(random, D, H, Position::learned, true);
  const int N = given.N, C = given.C;
  const Real gain = Real(-1.5);
  Placed<Layout<Real>> layout(given.shape(), given.specification.places());
  Placed<Parameters<Real>> w(*layout, 1);
  const Matrix& tensor = layout->of_layer(1, layout->find("attn_q", "gain"));
  w->w[tensor.at] = gain;
  Buffer<Real> saved(N * QKNormTape<Real>::row(given.shape())), dw(layout->size());
  const QKNorm<Real> norm(given.shape(), *layout);
  const Array q = given.part(0, C), k = given.part(C, C);
  Array y = naive::rmsnorm(N * H, D, 1e-5, q), scaled = y;
  for (double& value : scaled) value *= double(gain);
  norm.forward(1, *w, N, given.rows, given.row(), {saved});
  given.check_rows(scaled, naive::rmsnorm(N * H, D, 1e-5, k), "qk_norm");

  std::fill(dw.get(), dw.get() + layout->size(), Real(1));
  given.x = rounded<Real>(random.normals(given.x.size()));  // from here on gradients
  spread(given.x, N, 3 * C, given.rows.get());
  norm.backward(1, {*w, dw, true}, N, given.rows, given.row(), {saved});
  const Array dy = given.part(0, C);
  Array dq = naive::rmsnorm_backward(N * H, D, 1e-5, dy, q);
  for (double& value : dq) value *= double(gain);
  const Array dk = naive::rmsnorm_backward(N * H, D, 1e-5, given.part(C, C), k);
  // In one channel the true gradient is nearly nothing, a difference of two large numbers.
  given.check_rows(dq, dk, "qk_norm backward", D == 1 ? 1e5 : 10);
  double dgain = 1;
  for (size_t i = 0; i < q.size(); ++i) dgain += dy[i] * y[i];
  check::near(double(dw[tensor.at]), dgain, double(N * C), tolerance<Real>, "qk_norm, dgain");
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
    test_activation<Real>(random, Activation::relu, N);
    test_activation<Real>(random, Activation::squared_relu, N);
  }
  test_mask_keys<Real>();
  for (const int C : sizes) test_dropout<Real>(random, C);
  for (const int D : {2, 4, 6, 8, 10, 16, 24, 30, 32, 34, 48, 80}) {
    for (const int H : {1, 2, 3, 8}) test_rope<Real>(random, D, H);
  }
  for (const int D : {1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 48, 80}) {
    for (const int H : {1, 2, 3, 8}) test_qk_norm<Real>(random, D, H);
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
