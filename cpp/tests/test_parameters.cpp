// Kernels that read and write the parameters in the core's layout against naive references: the layout
// itself, linear layers, embedding, optimizers. Compiled once per level.
#include "buffers.hpp"
#include "motegpt/embedding.hpp"
#include "motegpt/linear.hpp"
#include "motegpt/optimizer.hpp"
#include "specify.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

constexpr int block_size = 5;

/// The matrices of a specification of one layer, and two vectors as an operation of it may have them.
std::vector<Place> with_vectors(const Specification& specification) {
  const Places known = specification.places();
  const Shape shape = specification.shape();
  std::vector<Place> places(known.list, known.list + known.count);
  for (const char* name : {"gain", "bias"}) {
    const int64_t flat = shape.parameters + (*name == 'b') * shape.n_embd;
    places.push_back({1, shape.n_embd, flat, false, true, "ln3", name});
  }
  return places;
}

/// The parameters of a model of one layer, in the core's layout and as plain numbers.
template <class Real>
struct Model {
  Specification specification;
  std::vector<Place> places;
  Shape shape;
  Placed<Layout<Real>> placed_layout;
  const Layout<Real>& layout;
  Placed<Parameters<Real>> placed_w;
  const Parameters<Real>& w;
  Array flat;  // (P) canonical

  Model(Random& random, int C, int V)
      : specification(specify(V, block_size, 1, C, 1, false, true, Activation::relu)),
        places(with_vectors(specification)),
        shape(specification.shape()),
        placed_layout(shape, Places{places.data(), int64_t(places.size())}),
        layout(*placed_layout),
        placed_w(layout, max_slots),
        w(*placed_w),
        flat(rounded<Real>(random.normals(size_t(shape.parameters += 2 * C)))) {
    to_core(flat, w.w);
    Buffer<Real> given{shape.parameters};
    std::copy(flat.begin(), flat.end(), given.get());
    for (Index i = 0; i < layout.count(); ++i) {
      const Matrix& matrix = layout[i];
      if (matrix.transposed >= 0)
        to_transposed_panels<Real>(matrix, given + matrix.flat, w.transposed + matrix.transposed);
    }
  }

  /// Canonical numbers (P) -> an array in the core's layout.
  void to_core(const Array& from, Real* to) const {
    Buffer<Real> given{shape.parameters};
    std::copy(from.begin(), from.end(), given.get());
    for (Index i = 0; i < layout.count(); ++i) {
      to_panels<Real>(layout[i], given + layout[i].flat, to + layout[i].at);
    }
  }

  /// The inverse.
  Array from_core(const Real* from) const {
    Buffer<Real> numbers{shape.parameters};
    for (Index i = 0; i < layout.count(); ++i) {
      from_panels<Real>(layout[i], from + layout[i].at, numbers + layout[i].flat);
    }
    return Array(numbers.get(), numbers + shape.parameters);
  }

  /// The canonical numbers of one matrix (out, in).
  Array values(const Matrix& matrix) const {
    return Array(flat.begin() + matrix.flat, flat.begin() + matrix.flat + matrix.out * matrix.in);
  }
};

/// An array in the core's layout that is zero everywhere.
template <class Real>
struct Zeros : Buffer<Real> {
  explicit Zeros(const Layout<Real>& layout) : Buffer<Real>(layout.size()) {
    std::fill(this->get(), this->get() + layout.size(), Real(0));
  }
};

/// The padding of a matrix (rows, columns) in panels.
template <class Real>
void check_panels(const Real* panels, Index rows, Index columns, const std::string& what) {
  for_panels<Real>(rows, columns, [&](Index at, Index c, Index width) {
    check::zero_beyond(panels + at, width, int(rows), int(min(columns - c, width)), what);
  });
}

/// That of all matrices of an array in the core's layout.
template <class Real>
void check_panels(const Layout<Real>& layout, const Real* array, const std::string& what) {
  for (Index i = 0; i < layout.count(); ++i)
    check_panels(array + layout[i].at, layout[i].out, layout[i].in, what);
}

template <class Real>
void check_transposes(const Layout<Real>& layout, const Real* transposed, const std::string& what) {
  for (Index i = 0; i < layout.count(); ++i) {
    if (layout[i].transposed >= 0)
      check_panels(transposed + layout[i].transposed, layout[i].in, layout[i].out, what);
  }
}

template <class Real>
void test_layout(const Model<Real>& model) {
  const Layout<Real>& layout = model.layout;
  check::that(model.from_core(model.w.w) == model.flat, "layout: there and back");
  Buffer<Real> flat(model.shape.parameters), panels(layout.size()), transposed(layout.transposed_size());
  std::copy(model.flat.begin(), model.flat.end(), flat.get());
  for (Index i = 0; i < layout.count(); ++i) {
    to_panels<Real>(layout[i], flat + layout[i].flat, panels + layout[i].at);
    if (layout[i].transposed >= 0)
      to_transposed_panels<Real>(layout[i], flat + layout[i].flat, transposed + layout[i].transposed);
  }
  check_panels<Real>(layout, panels, "to_panels, over numbers that are none");
  check_transposes<Real>(layout, transposed, "to_transposed_panels, over numbers that are none");
}

/// A vector is found by name, and its numbers are adjacent.
template <class Real>
void test_vectors(const Model<Real>& model) {
  const Layout<Real>& layout = model.layout;
  const Matrix &gain = layout.of_layer(0, layout.find("ln3", "gain")),
               &bias = layout.of_layer(0, layout.find("ln3", "bias"));
  check::that(bias.flat == gain.flat + gain.in && gain.transposed < 0, "vectors: places");
  for (const Matrix* one : {&gain, &bias}) {
    for (Index c = 0; c < one->in; ++c)
      check::that(model.w.w[one->at + c] == Real(model.flat[size_t(one->flat + c)]), "vectors: adjacent");
  }
}

/// y = x · Wᵀ and its backward read W and Wᵀ.
template <class Real>
void test_linear(Random& random, const Model<Real>& model) {
  const Matrix& fc1 = model.layout.mlp_fc1(0);
  const int N = 3, C = int(fc1.in), hidden = int(fc1.out);
  const Array matrix = model.values(fc1), x = rounded<Real>(random.normals(size_t(N * C)));
  const Array dy = rounded<Real>(random.normals(size_t(N * hidden)));
  Rowwise<Real> input(x, N, C), doutput(dy, N, hidden);
  Buffer<Real> y(N * padded<Real>(hidden)), dx(N * padded<Real>(C));
  linear<Real>(N, input, fc1, model.w, y, false);
  const Array expected = naive::multiply(N, hidden, C, x, naive::transpose(hidden, C, matrix));
  check_padded<Real>(y, expected, N, hidden, tolerance<Real>, "linear");
  linear_backward<Real>(N, doutput, fc1, model.w, dx);
  check_padded<Real>(dx, naive::multiply(N, C, hidden, dy, matrix), N, C, tolerance<Real>, "linear_backward");
  Buffer<Real> gradient(model.layout.size());
  linear_backward_weights<Real>(N, doutput, fc1, input, gradient, false);
  check_panels<Real>(gradient + fc1.at, hidden, C, "linear_backward_weights");
  Buffer<Real> dw(hidden * C);
  from_panels<Real>(fc1, gradient + fc1.at, dw);
  check::near_rows<Real>(dw, C, naive::multiply(hidden, C, N, naive::transpose(N, hidden, dy), x), hidden, C,
                         tolerance<Real>, "linear_backward_weights");
}

template <class Real>
void test_embedding(Random& random, const Model<Real>& model) {
  const Matrix &wte = model.layout.wte(), &wpe = model.layout.wpe();
  const int N = 3, C = int(wte.in), V = int(wte.out), ids[] = {V - 1, 0, V - 1}, positions[] = {0, 1, 2};
  Buffer<Real> x(N * padded<Real>(C));
  embedding<Real>(N, C, ids, positions, model.w.matrix(wte), model.w.matrix(wpe), x);
  const Array tokens = model.values(wte), places = model.values(wpe);
  const Array dx = rounded<Real>(random.normals(size_t(N * C)));
  Rowwise<Real> gradient(dx, N, C);
  Zeros<Real> dw(model.layout);
  embedding_backward<Real>(N, C, ids, positions, gradient, in_panels<Real>(dw + wte.at, V),
                           in_panels<Real>(dw + wpe.at, block_size));
  Array dtokens(tokens.size()), dplaces(places.size()), sums(size_t(N * C));
  for (int n = 0; n < N; ++n) {
    for (int c = 0; c < C; ++c) {
      sums[size_t(n * C + c)] = tokens[size_t(ids[n] * C + c)] + places[size_t(n * C + c)];
      dtokens[size_t(ids[n] * C + c)] += dx[size_t(n * C + c)];
      dplaces[size_t(n * C + c)] += dx[size_t(n * C + c)];
    }
  }
  check_padded<Real>(x, sums, N, C, tolerance<Real>, "embedding");
  check_panels<Real>(model.layout, dw, "embedding_backward");
  const Array collected = model.from_core(dw);
  check::near_rows(&collected[size_t(wte.flat)], C, dtokens, V, C, tolerance<Real>,
                   "embedding_backward, wte");
  check::near_rows(&collected[size_t(wpe.flat)], C, dplaces, block_size, C, tolerance<Real>,
                   "embedding_backward, wpe");
}

/// A few steps in two parts, as two threads do them, with every clip; then W and Wᵀ must agree.
template <class Real, class Rule>
void test_optimizer(Random& random, int C, int V, const typename Rule::Scalars& scalars,
                    const std::string& name) {
  Model<Real> model(random, C, V);
  const Array g = rounded<Real>(random.normals(model.flat.size()));
  Zeros<Real> first_half(model.layout), second_half(model.layout);
  model.to_core(g, first_half);
  Real* const parts[] = {first_half, second_half};
  const Index all = strips(model.layout), middle = all / 3;
  Array slots(g.size() * Rule::slots);
  for (const auto& [bound, factor] : {std::pair{Real(0.5), Real(1)}, {Real(INFINITY), Real(0.25)}}) {
    const Update<Real, Rule> update(model.w, {parts, 2}, {bound, factor}, scalars);
    update(model.layout, 0, middle);
    update(model.layout, middle, all);
    for (size_t i = 0; i < g.size(); ++i) {
      const double clipped = std::clamp(g[i], -double(bound), double(bound)) * double(factor);
      model.flat[i] = naive::step(model.flat[i], clipped, &slots[i * Rule::slots], scalars);
    }
  }
  const Array updated = model.from_core(model.w.w);
  check::near_rows(updated.data(), 1, model.flat, int(g.size()), 1, tolerance<Real>, name);
  check_panels(model.layout, static_cast<const Real*>(model.w.w), name);
  for (int s = 0; s < Rule::slots; ++s) {
    const Array got = model.from_core(model.w.slots[s]);
    Array expected(g.size());
    for (size_t i = 0; i < g.size(); ++i) expected[i] = slots[i * Rule::slots + size_t(s)];
    check::near_rows(got.data(), 1, expected, int(g.size()), 1, tolerance<Real>, name + ", a slot");
    check_panels(model.layout, static_cast<const Real*>(model.w.slots[s]), name);
  }
  check_transposes<Real>(model.layout, model.w.transposed, name);
  const double squares = squared_norm<Real>(model.layout, 0, all, {parts, 2}, {Real(INFINITY), Real(1)});
  double expected = 0;
  for (const double value : g) expected += value * value;
  check::near(squares, expected, expected, tolerance<Real>, "squared_norm");
  test_linear(random, model);
}

template <class Real>
void test_all() {
  Random random(7);
  for (const int C : sizes) {
    for (const int V : sizes) {
      Model<Real> model(random, C, V);
      test_layout(model);
      test_vectors(model);
      test_linear(random, model);
      test_embedding(random, model);
      test_optimizer<Real, Adam<Real>>(random, C, V, {0.9, 0.1, 0.99, 0.01, 0.999, 0.01, 3.0, 1e-8}, "adam");
      test_optimizer<Real, SGD<Real>>(random, C, V, {0.9, 0.999, 0.01}, "sgd");
    }
  }
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() {
  return check::run_at_level("parameters", [] {
    motegpt::MOTEGPT_LEVEL::test_all<float>();
    motegpt::MOTEGPT_LEVEL::test_all<double>();
  });
}
