// Every kernel of one processor level against its naive reference, in both precisions, at sizes on either
// side of the vector width. Compiled once per level.
#include "attention_case.hpp"
#include "motegpt/activation.hpp"
#include "motegpt/dropout.hpp"
#include "motegpt/narrow_attention.hpp"
#include "motegpt/parameters.hpp"
#include "motegpt/peak.hpp"
#include "motegpt/product.hpp"
#include "motegpt/qk_norm.hpp"
#include "motegpt/rope.hpp"
#include "motegpt/textbook.hpp"
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
  const Vector<Real> apart = group_sum<Real, lanes<Real>, 2>(x);
  for (int i = 0; i < lanes<Real>; ++i)
    check::that(apart[i] == Real(lanes<Real> * (lanes<Real> - 2) / 4 + i % 2 * lanes<Real> / 2), "apart");
  const Vector<Real> pairs = group_sum<Real, 2>(x);
  for (int i = 0; i < lanes<Real>; ++i) check::that(pairs[i] == Real(i / 2 * 4 + 1), "group_sum of pairs");
}

/// After three rounds chain i is i / 8 + 1.75, and so much is done.
template <class Real>
void test_multiply_add() {
  constexpr int chains = vector_registers * 3 / 4;
  alignas(64) Real total[lanes<Real>];
  check::that(multiply_add<Real>(3, total) == 2 * 3 * chains * lanes<Real>, "operations of multiply_add");
  for (const Real each : total)
    check::that(each == Real(chains * (chains - 1) / 16.0 + 1.75 * chains), "multiply_add");
}

/// σ, Φ and φ against the standard library: relative errors, of the tails too.
template <class Real>
void test_normal(double units) {
  const double pi = std::acos(-1.0);
  for (double at = -12; at <= 12; at += 0.003) {
    const Real x = Real(at);
    const double probability = std::erfc(-double(x) / std::sqrt(2)) / 2,
                 density = std::exp(-double(x) * double(x) / 2) / std::sqrt(2 * pi);
    const Normal<Real> normal(broadcast(x));
    const double allowed = (4 + at * at) * units;  // of x² / 2 the exponential shows the absolute error
    check::near(double(normal.probability[0]), probability, probability, allowed, "probability");
    check::near(double(normal.density[0]), density, density, allowed, "density");
    const double s = naive::sigmoid(double(x));
    check::near(double(sigmoid<Real>(broadcast(x))[0]), s, s, 4 * units, "sigmoid");
  }
  for (const double far : {-1e30, -500.0, 500.0, 1e30}) {
    const Normal<Real> normal(broadcast(Real(far)));
    check::near(double(normal.probability[0]), far > 0, 1, units, "probability, far");
    check::near(double(sigmoid<Real>(broadcast(Real(far)))[0]), far > 0, 1, units, "sigmoid, far");
  }
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
  test_normal<Real>(units);
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
  Part part(documents, 3, 12, masks, nullptr, {});
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

/// G products side by side: the numbers of the matrices of each take turns.
template <class Real, int G>
void test_multiply_several(Random& random, int M, int N, int K) {
  const Index width = padded<Real>(N * G);
  Buffer<Real> left(M * K * G), left_transposed(K * M * G), right(K * width), out(M * width);
  std::fill_n(right.get(), K * width, Real(0));
  Array expected(size_t(M * N * G));
  for (int g = 0; g < G; ++g) {
    const Array a = rounded<Real>(random.normals(size_t(M * K))),
                b = rounded<Real>(random.normals(size_t(K * N))), c = naive::multiply(M, N, K, a, b);
    for (int i = 0; i < M * K; ++i)
      left[i * G + g] = left_transposed[(i % K * M + i / K) * G + g] = Real(a[size_t(i)]);
    for (int i = 0; i < K * N; ++i) right[i / N * width + i % N * G + g] = Real(b[size_t(i)]);
    for (int i = 0; i < M * N; ++i) expected[size_t(i * G + g)] = c[size_t(i)];
  }
  const Columns<Real> columns = row_major<Real>(right, width), result = row_major<Real>(out, width);
  multiply<Real, G>(M, width, K, {left, K * G, G}, columns, result, false);
  check_padded<Real>(out, expected, M, N * G, tolerance<Real>, "multiply, several");
  multiply<Real, G>(M, width, K, {left_transposed, G, M * G}, columns, result, true);
  for (double& value : expected) value *= 2;
  check_padded<Real>(out, expected, M, N * G, tolerance<Real>, "multiply, several, transposed");
}

/// A vector times a matrix has the bits of the first column of a product, in every column.
template <class Real>
void test_multiply_vector(Random& random, int M, int K) {
  const Array a = rounded<Real>(random.normals(size_t(M * K)));
  const Index width = lanes<Real>;
  Buffer<Real> w(M * K), x(K * width), y(M * width), expected(M * width);
  for (int i = 0; i < M * K; ++i) w[i] = Real(a[size_t(i)]);
  for (int k = 0; k < K; ++k) x[k * width] = Real(random.normal());
  for (int i = 0; i < M * int(width); ++i) y[i] = expected[i] = Real(i / int(width));
  for (const bool accumulate : {true, false}) {
    multiply<Real>(M, width, K, rows<Real>(w, K), row_major<Real>(x, width), row_major<Real>(expected, width),
                   accumulate);
    multiply_vector<Real>(M, K, w, x, width, y, accumulate);
    for (int m = 0; m < M; ++m)
      check::that(y[m * width] == expected[m * width], "multiply_vector has the bits of multiply");
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
void test_layernorm(Random& random, int N, int C) {
  NormCase<Real> given(random, N, C);
  Buffer<Real> dx(N * padded<Real>(C));
  layernorm<Real>(N, C, Real(given.eps), given.input, given.tape());
  const Array expected = naive::layernorm(N, C, given.eps, given.x);
  check_padded<Real>(given.y, expected, N, C, tolerance<Real>, "layernorm");
  layernorm_backward<Real>(N, C, given.doutput, given.tape(), dx, false);
  given.check_gradient(dx, naive::layernorm_backward(N, C, given.eps, given.dy, given.x),
                       "layernorm_backward");
  const Index width = 2 * lanes<Real>;  // each sequence with the same numbers
  Buffer<Real> x(C * width), y(C * width);
  for (Index i = 0; i < C * width; ++i) x[i] = Real(given.x[size_t(i / width)]);
  layernorm_step<Real>(width, C, Real(given.eps), x, y);
  for (Index i = 0; i < C * width; ++i)
    check::near(double(y[i]), expected[size_t(i / width)], 1, tolerance<Real>, "layernorm_step");
}

/// A whole norm with gain and bias in the second of two layers, or the final one.
template <class Real>
void test_norm(Random& random, NormKind kind, const char* place, int N, int C) {
  const Specification specification = specify(5, 9, 2, C, 1, true, true, Activation::relu, {}, Position::none,
                                              false, {0, 0, true, kind, true, true, true});
  const Shape& shape = specification.shape();
  NormCase<Real> given(random, N, C);
  Placed<Layout<Real>> layout(shape, specification.places());
  Placed<Parameters<Real>> w(*layout, 1);
  const Norm<Real> norm(shape, *layout, place);
  const Index layer = std::strcmp(place, "ln_f") ? 1 : 0;
  const Index gain_at = layout->of_layer(layer, layout->find(place, "gain")).at,
              bias_at = layout->of_layer(layer, layout->find(place, "bias")).at;
  const Array gain = rounded<Real>(random.normals(size_t(C))),
              bias = rounded<Real>(random.normals(size_t(C)));
  spread(gain, 1, C, w->w + gain_at);
  spread(bias, 1, C, w->w + bias_at);
  norm.forward(layer, *w, N, given.input.get(), given.tape());
  const Array y = kind == NormKind::layer ? naive::layernorm(N, C, given.eps, given.x)
                                          : naive::rmsnorm(N, C, given.eps, given.x);
  check_padded<Real>(given.out, naive::scale_and_shift(N, C, y, gain, bias), N, C, tolerance<Real>, "norm");
  Buffer<Real> dw(layout->size());
  std::fill(dw.get(), dw.get() + layout->size(), Real(0));
  Rowwise<Real> dx(given.x, N, C);
  norm.backward(layer, {*w, dw, true}, Textbook<Real>{}, N, given.doutput.get(), given.tape(), dx.get(),
                true);
  Array products = given.dy, dy = naive::scale_and_shift(N, C, given.dy, gain, Array(size_t(C)));
  for (size_t i = 0; i < dy.size(); ++i) products[i] *= y[i];
  check_padded<Real>(dw + gain_at, naive::sum_rows(N, C, products), 1, C, tolerance<Real>, "norm, dgain");
  check_padded<Real>(dw + bias_at, naive::sum_rows(N, C, given.dy), 1, C, tolerance<Real>, "norm, dbias");
  Array expected = kind == NormKind::layer ? naive::layernorm_backward(N, C, given.eps, dy, given.x)
                                           : naive::rmsnorm_backward(N, C, given.eps, dy, given.x);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] += given.x[i];
  given.check_gradient(dx, expected, "norm, dx");
}

template <class Real>
void test_activation(Random& random, Activation kind, int N, int hidden) {
  const bool gated = kind == Activation::swiglu;
  const int inputs = gated ? 2 * hidden : hidden;
  Array u = random.normals(size_t(N * inputs));
  for (double& value : u) value *= 3;
  u = rounded<Real>(u);
  const Array dg = rounded<Real>(random.normals(size_t(N * hidden)));
  Rowwise<Real> before(u, N, inputs), gradient(dg, N, hidden), gate_gradient(Array(u.size()), N, inputs);
  Buffer<Real> after(N * padded<Real>(hidden));
  Real* du = gated ? gate_gradient.get() : gradient.get();
  activate<Real>(kind, N, hidden, {before, after});
  activate_backward<Real>(kind, N, hidden, {before, after}, gradient, du);
  Array value(dg.size()), slope(u.size());
  for (int i = 0; i < N * hidden; ++i) {
    const size_t at = size_t(i), a = size_t(i / hidden * inputs + i % hidden);
    const naive::Activated expected = naive::activate(kind, u[a]);
    const double factor = gated ? u[a + size_t(hidden)] : 1;
    value[at] = expected.value * factor;
    slope[a] = dg[at] * expected.slope * factor;
    if (gated) slope[a + size_t(hidden)] = dg[at] * expected.value;
  }
  check_padded<Real>(after, value, N, hidden, tolerance<Real>, "activate");
  check_padded<Real>(du, slope, N, inputs, tolerance<Real>, "activate_backward");
}

/// A product with a bias, forward, backward, and for one position of many sequences.
template <class Real>
void test_linear_bias(Random& random, int N, int C) {
  const Specification specification =
      specify(5, 9, 2, C, 1, true, true, Activation::relu, {}, Position::none, false, {0, 0, true});
  Placed<Layout<Real>> layout(specification.shape(), specification.places());
  Placed<Parameters<Real>> w(*layout, 1);
  const Matrix& matrix = layout->mlp_fc1(1);
  const int out = int(matrix.out);
  const Array x = rounded<Real>(random.normals(size_t(N * C))),
              flat = rounded<Real>(random.normals(size_t(specification.shape().parameters)));
  std::vector<Real> canonical(flat.begin(), flat.end());
  to_transposed_panels(matrix, canonical.data() + matrix.flat, w->transposed + matrix.transposed);
  const Array weights(&flat[size_t(matrix.flat)], &flat[size_t(matrix.flat)] + out * C),
      bias(&flat[size_t(matrix.bias_flat)], &flat[size_t(matrix.bias_flat)] + out);
  spread(bias, 1, out, w->w + matrix.bias);
  Array expected =
      naive::scale_and_shift(N, out, naive::multiply(N, out, C, x, naive::transpose(out, C, weights)),
                             Array(size_t(out), 1.0), bias);
  Rowwise<Real> input(x, N, C);
  Buffer<Real> y(N * padded<Real>(out));
  linear<Real>(N, input, matrix, *w, y, false);
  check_padded<Real>(y, expected, N, out, tolerance<Real>, "linear with bias");
  linear<Real>(N, input, matrix, *w, y, true);
  Array twice = expected;
  for (double& value : twice) value *= 2;
  check_padded<Real>(y, twice, N, out, tolerance<Real>, "linear with bias, accumulating");
  const Array dy = rounded<Real>(random.normals(size_t(N * out)));
  Rowwise<Real> doutput(dy, N, out);
  Buffer<Real> dx(N * padded<Real>(C)), dw(layout->size());
  linear_backward_all<Real>(N, doutput, matrix, input, dx, {*w, dw, false});
  check_padded<Real>(dw + matrix.bias, naive::sum_rows(N, out, dy), 1, out, tolerance<Real>, "dbias");
  const Index width = 2 * lanes<Real>;
  Buffer<Real> columns(C * width), stepped(out * width);
  for (Index i = 0; i < C * width; ++i) columns[i] = Real(x[size_t(i / width)]);
  linear_step<Real>(width, columns, matrix, canonical.data(), stepped, false);
  linear_step<Real>(width, columns, matrix, canonical.data(), stepped, true);
  for (int i = 0; i < out; ++i)
    check::near(double(stepped[i * width]), twice[size_t(i)], C, tolerance<Real>, "linear_step with bias");
}

template <class Real>
void test_cross_entropy(Random& random, int N, int V) {
  LossCase<Real> given(random, N, V);
  const int* targets = given.targets.data();
  const double loss = cross_entropy<Real>(N, V, given.x, targets, given.row_weights, given.tape());
  cross_entropy_backward<Real>(N, V, given.x, targets, given.row_weights, given.tape());
  given.check_results(loss, 0, "cross_entropy");
}

/// Every loss of a row, and the likely tokens where some logits are equal.
template <class Real>
void test_token_loss(int N, int V) {
  Random random(uint64_t(N + 100 * V));
  LossCase<Real> given(random, N, V);
  const Index row = padded<Real>(V);
  for (int n = 0; n < N; ++n) {
    const int target = given.targets[size_t(n)], other = random.below(V);
    const Array logits(given.logits.begin() + n * V, given.logits.begin() + (n + 1) * V);
    const double expected = naive::cross_entropy(1, V, logits, {target}, {1}).loss;
    check::near(token_loss<Real>(V, given.x + n * row, target).nll, expected, 1, 1e-14, "token_loss");
    given.x[n * row + target] = given.x[n * row + other] = 9;
    check::that(token_loss<Real>(V, given.x + n * row, target).is_likely == (target <= other), "is_likely");
    given.x[n * row + other] = Real(NAN);
    check::that(std::isnan(token_loss<Real>(V, given.x + n * row, target).nll), "token_loss of no number");
  }
}

/// Heads G at a time.
template <class Real, int G>
void test_attention(Random& random, int T, int D, int H) {
  PlacedAttention<Real> given(random, T, D, H, G);
  for (int h = 0; h < H; h += G) {
    Real *y = given.y + h * D, *dy = given.dy + h * D, *dqkv = given.dqkv + h * D;
    head_attention<Real, G>(given.head(h), given.tape, y, given.scratch);
    head_attention_backward<Real, G>(given.head(h), given.tape, y, dy, dqkv, given.scratch);
  }
  given.check_results("attention, " + std::to_string(G) + " at a time");
}

/// Heads that share keys and values: as naive heads of which each has them, and their gradients summed.
template <class Real>
void test_shared_attention(Random& random, int T, int D, int H) {
  AttentionCase<Real> given = AttentionCase<Real>::make(random, T, D, H);
  for (int h = 1; h < H; ++h) {
    given.k[size_t(h)] = given.k[0];
    given.v[size_t(h)] = given.v[0];
  }
  const int columns = (H + 2) * D;
  const Index row = padded<Real>(columns), y_row = padded<Real>(H * D);
  Buffer<Real> qkv(T * row), dqkv(T * row), y(T * y_row), dy(T * y_row);
  Buffer<Real> tape(head_attention_tape<Real>(T, 1));
  given.place(given.q, 0, row, qkv);
  given.place({given.k[0]}, H * D, row, qkv.get());
  given.place({given.v[0]}, (H + 1) * D, row, qkv.get());
  given.place(given.dy, 0, y_row, dy);
  PlacedAttention<Real> scratch(random, T, D, H);
  Array dk(size_t(T * D)), dv(dk);
  for (int h = 0; h < H; ++h) {
    const size_t i = size_t(h);
    const Head<Real> head{T, D, (H - h) * D, (H + 1 - h) * D, h > 0, row, y_row, qkv + h * D};
    head_attention<Real>(head, tape, y + h * D, scratch.scratch);
    head_attention_backward<Real>(head, tape, y + h * D, dy + h * D, dqkv + h * D, scratch.scratch);
    const naive::AttentionGradients expected =
        naive::attention_backward(T, D, given.q[i], given.k[0], given.v[0], given.dy[i]);
    check::near_rows(dqkv + h * D, row, expected.dq, T, D, 4 * tolerance<Real>, "shared keys, dq");
    for (size_t j = 0; j < dk.size(); ++j) {
      dk[j] += expected.dk[j];
      dv[j] += expected.dv[j];
    }
  }
  check::near_rows(dqkv + H * D, row, dk, T, D, 4 * tolerance<Real>, "shared keys, dk");
  check::near_rows(dqkv + (H + 1) * D, row, dv, T, D, 4 * tolerance<Real>, "shared values, dv");
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

/// A model with H heads of D channels and `kv` channels of keys, and rows of queries, keys and values.
template <class Real>
struct QueriesAndKeys {
  int N = 9, D, C, kv, columns;
  Specification specification;
  Array x;
  Rowwise<Real> rows;

  QueriesAndKeys(Random& random, int D_, int H, int n_kv_head, Position position, bool qk_norm)
      : D(D_),
        C(D * H),
        kv(D * n_kv_head),
        columns(C + 2 * kv),
        specification(
            specify(5, 200, 2, C, H, true, true, Activation::relu, {}, position, qk_norm, {n_kv_head})),
        x(rounded<Real>(random.normals(size_t(N * columns)))),
        rows(x, N, columns) {}

  const Shape& shape() const { return specification.shape(); }
  Index row() const { return padded<Real>(columns); }

  /// Every row's channels `first` … of x.
  Array part(int first, int count) const {
    Array found;
    for (int n = 0; n < N; ++n)
      found.insert(found.end(), x.begin() + n * columns + first, x.begin() + n * columns + first + count);
    return found;
  }
  Array q() const { return part(0, C); }
  Array k() const { return part(C, kv); }

  /// The rows hold q and k as expected, and v as before.
  void check_rows(const Array& q, const Array& k, const std::string& what, double allowed = 1) {
    const Real* got = rows.get();
    check::near_rows(got, row(), q, N, C, allowed * tolerance<Real>, what + ", q");
    check::near_rows(got + C, row(), k, N, kv, allowed * tolerance<Real>, what + ", k");
    check::near_rows(got + C + kv, row(), part(C + kv, kv), N, kv, 0, what + ", v");
    check::zero_beyond(got, row(), N, columns, what);
  }
};

template <class Real>
void test_rope(Random& random, int D, int H, int n_kv_head) {
  QueriesAndKeys<Real> given(random, D, H, n_kv_head, Position::rope, false);
  const std::vector<int> positions{0, 1, 2, 0, 5, 17, 63, 64, 199};
  Rope<Real> rope(given.shape());
  for (const Index count : {1, 65, 200}) rope.reserve(count);
  rope.forward(given.N, positions.data(), given.rows, given.row());
  const auto rotated = [&](const Array& x, int channels) {
    return naive::rotate(given.N, channels, D, 100, positions, x);
  };
  const Array q = rotated(given.q(), given.C), k = rotated(given.k(), given.kv);
  given.check_rows(q, k, "rope");
  rope.backward(given.N, positions.data(), given.rows, given.row());
  given.check_rows(given.q(), given.k(), "rope there and back");
  const Index width = 2 * lanes<Real>;
  for (int n = 0; n < given.N; ++n) {  // as a position of `width` sequences, each with the same numbers
    Buffer<Real> columns((given.C + given.kv) * width);
    for (Index i = 0; i < (given.C + given.kv) * width; ++i)
      columns[i] = Real(given.x[size_t(n * given.columns + i / width)]);
    Real* keys = columns + given.C * width;
    rope.step(width, positions[size_t(n)], columns, keys);
    const auto check_columns = [&](const Real* got, const Array& expected, int channels) {
      for (int c = 0; c < channels; ++c) {
        for (const Index s : {Index(0), width - 1})
          check::near(double(got[c * width + s]), expected[size_t(n * channels + c)], 1, tolerance<Real>,
                      "rope step");
      }
    };
    check_columns(columns, q, given.C);
    check_columns(keys, k, given.kv);
  }
}

template <class Real>
void test_qk_norm(Random& random, int D, int H, int n_kv_head) {
  QueriesAndKeys<Real> given(random, D, H, n_kv_head, Position::learned, true);
  const int N = given.N, heads = N * H, kv_heads = N * n_kv_head;
  const Real gain = Real(-1.5);
  Placed<Layout<Real>> layout(given.shape(), given.specification.places());
  Placed<Parameters<Real>> w(*layout, 1);
  const Matrix& tensor = layout->of_layer(1, layout->find("attn_q", "gain"));
  w->w[tensor.at] = gain;
  Buffer<Real> saved(N * QKNormTape<Real>::row(given.shape())), dw(layout->size());
  const QKNorm<Real> norm(given.shape(), *layout);
  const Array q = given.q(), k = given.k(), y = naive::rmsnorm(heads, D, 1e-5, q);
  Array scaled = y;
  for (double& value : scaled) value *= double(gain);
  norm.forward(1, *w, N, given.rows, given.row(), {saved});
  given.check_rows(scaled, naive::rmsnorm(kv_heads, D, 1e-5, k), "qk_norm");

  std::fill(dw.get(), dw.get() + layout->size(), Real(1));
  given.x = rounded<Real>(random.normals(given.x.size()));  // from here on gradients
  spread(given.x, N, given.columns, given.rows.get());
  norm.backward(1, {*w, dw, true}, N, given.rows, given.row(), {saved});
  const Array dy = given.q();
  Array dq = naive::rmsnorm_backward(heads, D, 1e-5, dy, q);
  for (double& value : dq) value *= double(gain);
  const Array dk = naive::rmsnorm_backward(kv_heads, D, 1e-5, given.k(), k);
  // In one channel the true gradient is nearly nothing, a difference of two large numbers.
  given.check_rows(dq, dk, "qk_norm backward", D == 1 ? 1e5 : 10);
  double dgain = 1;
  for (size_t i = 0; i < q.size(); ++i) dgain += dy[i] * y[i];
  check::near(double(dw[tensor.at]), dgain, double(N * given.C), tolerance<Real>, "qk_norm, dgain");
}

template <class Real>
void test_all() {
  Random random(7);
  test_lanes<Real>();
  test_multiply_add<Real>();
  test_functions<Real>(random);
  for (const int M : sizes) {
    for (const int N : sizes) {
      for (const int K : sizes) test_multiply<Real>(random, M, N, K);
    }
  }
  if constexpr (lanes<Real> >= 8) {
    for (const int N : sizes) {
      test_multiply_several<Real, 2>(random, 13, N, 1 + N % 5);
      test_multiply_several<Real, 4>(random, 13, N, 300 + N);
    }
  }
  test_multiply<Real>(random, 13, 150, 700);   // several panels, several stretches of k
  test_multiply<Real>(random, 1100, 70, 300);  // rows of a transposed left side on pages of their own
  for (const int M : sizes) {
    for (const int K : sizes) test_multiply_vector<Real>(random, M, K);
  }
  test_multiply_vector<Real>(random, 35, 4100);  // longer than what is copied together
  for (const int N : sizes) {
    for (const int C : sizes) {
      test_rmsnorm<Real>(random, N, C);
      test_layernorm<Real>(random, N, C);
      for (const NormKind kind : {NormKind::rms, NormKind::layer}) {
        for (const char* place : {"ln1", "ln2", "ln_f"}) test_norm<Real>(random, kind, place, N, C);
      }
      test_linear_bias<Real>(random, N, C);
      for (const Activation kind : {Activation::relu, Activation::squared_relu, Activation::gelu,
                                    Activation::gelu_tanh, Activation::swiglu})
        test_activation<Real>(random, kind, N, C);
      test_cross_entropy<Real>(random, N, C);
      test_token_loss<Real>(N, C);
    }
  }
  test_mask_keys<Real>();
  for (const int C : sizes) test_dropout<Real>(random, C);
  for (const int D : {2, 4, 6, 8, 10, 16, 24, 30, 32, 34, 48, 80}) {
    for (const int H : {1, 2, 3, 8}) test_rope<Real>(random, D, H, H);
    test_rope<Real>(random, D, 8, 2);
    test_rope<Real>(random, D, 3, 1);
  }
  for (const int D : {1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 48, 80}) {
    for (const int H : {1, 2, 3, 8}) test_qk_norm<Real>(random, D, H, H);
    test_qk_norm<Real>(random, D, 8, 2);
    test_qk_norm<Real>(random, D, 3, 1);
  }
  for (const int T : sizes) {
    for (const int D : {1, 2, 3, 4, 5, 6, 8, 15, 16, 17, 33}) {
      test_attention<Real, 1>(random, T, D, 1 + T % 3);
      if constexpr (lanes<Real> >= 8) {
        test_attention<Real, 2>(random, T, D, 2);
        test_attention<Real, 4>(random, T, D, 4 + T % 2 * 4);
      }
      test_shared_attention<Real>(random, T, D, 1 + T % 3);
    }
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
