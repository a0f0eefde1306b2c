// One step of an optimizer over all parameters in one pass, which also writes Wᵀ. The optimizer itself is a
// rule for one vector of parameters, as in adam.hpp and sgd.hpp.
#pragma once

#include "adam.hpp"
#include "parameters.hpp"
#include "sgd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The gradients of the threads, each (layout.size()); the gradient is their sum.
template <class Real>
struct Gradients {
  Real* const* parts;
  int count;

  MOTEGPT_INLINE Vector<Real> operator()(Index i) const {
    Vector<Real> g = load(parts[0] + i);
    for (int part = 1; part < count; ++part) g += load(parts[part] + i);
    return g;
  }
};

/// Clipping before the optimizer: each number to ± bound, then all are scaled by a factor.
template <class Real>
struct GradientClip {
  Real bound, factor;

  bool changes_nothing() const { return factor == 1 && bound == Real(__builtin_huge_val()); }

  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> g) const {
    return minimum(maximum(g, broadcast(-bound)), broadcast(bound)) * factor;
  }
};

namespace detail {

/// Updates the numbers first … last - 1 of w and the slots, whole vectors; gradient(i) is that of the vector
/// at i.
template <class Real, bool Decay, class Rule, class F>
MOTEGPT_INLINE void update(Index first, Index last, Parameters<Real> all, Rule rule, Vector<Real> decay,
                           F gradient) {
  for (Index i = first; i < last; i += lanes<Real>) {
    const Vector<Real> g = gradient(i), before = load(all.w + i);
    Vector<Real> slot[Rule::slots];
    MOTEGPT_UNROLL
    for (int s = 0; s < Rule::slots; ++s) slot[s] = load(all.slots[s] + i);
    const Vector<Real> change = rule(g, slot);
    MOTEGPT_UNROLL
    for (int s = 0; s < Rule::slots; ++s) store(all.slots[s] + i, slot[s]);
    store(all.w + i, (Decay ? before * decay : before) - change);
  }
}

/// Write the transpose of a square of w, of which `height` rows are not padding.
template <class Real>
[[gnu::noinline]] void transpose_tile(const Real* w, Index row, Index height, Real* transposed,
                                      Index transposed_row, Index columns) {
  Vector<Real> square[lanes<Real>];
  if (height == lanes<Real> && columns == lanes<Real>) {
    MOTEGPT_UNROLL
    for (int r = 0; r < lanes<Real>; ++r) square[r] = load(w + r * row);
    transpose<Real>(square);
    MOTEGPT_UNROLL
    for (int r = 0; r < lanes<Real>; ++r) store(transposed + r * transposed_row, square[r]);
  } else {
    for (int r = 0; r < lanes<Real>; ++r) square[r] = r < height ? load(w + r * row) : Vector<Real>{};
    transpose<Real>(square);
    for (int r = 0; r < columns; ++r) store(transposed + r * transposed_row, square[r]);
  }
}

/// Rows first … first + height of the panel at column c are written into the columns first … of wᵀ.
template <class Real>
void transpose_strip(const Parameters<Real>& all, const Matrix& matrix, Index first, Index c, Index height,
                     Index width) {
  for (Index o = first; o < first + height; o += lanes<Real>) {
    const Index panel = o / panel_width<Real> * panel_width<Real>;
    const Index row = min(padded<Real>(matrix.out) - panel, panel_width<Real>);
    const Real* w = all.w + matrix.at + c * matrix.out + o * width;
    Real* transposed = all.transposed + matrix.transposed + panel * matrix.in + c * row + o - panel;
    for (Index i = 0; i < width; i += lanes<Real>) {
      transpose_tile(w + i, width, min<Index>(first + height - o, lanes<Real>), transposed + i * row, row,
                     min<Index>(matrix.in - c - i, lanes<Real>));
    }
  }
}

}  // namespace detail

/// Rows of a strip: the threads split the matrices into strips, each a number of rows of one panel.
inline constexpr Index strip_rows = 64;

template <class Real>
Index strips(const Layout<Real>& layout) {
  const auto parts = [](Index n, Index size) { return (n + size - 1) / size; };
  Index count = 0;
  for (Index i = 0; i < layout.count(); ++i) {
    count += parts(layout[i].out, strip_rows) * parts(padded<Real>(layout[i].in), panel_width<Real>);
  }
  return count;
}

/// Call f for the strips of a matrix: f(matrix, o, c, begin, height, width) for rows o … o + height of the
/// panel at column c, which lie together from `begin` on.
template <class Real, class F>
MOTEGPT_INLINE void for_strips(const Matrix& matrix, F f) {
  for (Index c = 0; c < padded<Real>(matrix.in); c += panel_width<Real>) {
    const Index width = min(padded<Real>(matrix.in) - c, panel_width<Real>);
    for (Index o = 0; o < matrix.out; o += strip_rows) {
      f(matrix, o, c, matrix.at + c * matrix.out + o * width, min(matrix.out - o, strip_rows), width);
    }
  }
}

/// The same for the strips first … last - 1 of all matrices.
template <class Real, class F>
MOTEGPT_INLINE void for_strips(const Layout<Real>& layout, Index first, Index last, F f) {
  Index at = 0;
  for (Index i = 0; i < layout.count() && at < last; ++i) {
    for_strips<Real>(layout[i], [&](const auto&... strip) {
      if (at >= first && at < last) f(strip...);
      ++at;
    });
  }
}

/// One step of the optimizer with this rule: w <- decay · w - rule(g, slots).
template <class Real, class Rule>
class Update {
  static_assert(Rule::slots <= max_slots);

 public:
  Update(const Parameters<Real>& parameters, const Gradients<Real>& gradients, const GradientClip<Real>& clip,
         const typename Rule::Scalars& scalars)
      : parameters_(parameters),
        gradients_(gradients),
        clip_(clip),
        rule_(scalars),
        decay_{broadcast(Real(1)), broadcast(Real(scalars.decay))},
        plain_(gradients.count == 1 && clip.changes_nothing() && scalars.decay == 1) {}

  /// The strips first … last - 1 of all matrices.
  void operator()(const Layout<Real>& layout, Index first, Index last) const {
    for_strips(layout, first, last, [this](const auto&... strip) { update_strip(strip...); });
  }

 private:
  void update_strip(const Matrix& matrix, Index o, Index c, Index begin, Index height, Index width) const {
    const Index end = begin + height * width;
    const Vector<Real> decay = decay_[matrix.decayed];
    if (plain_) {
      detail::update<Real, false>(begin, end, parameters_, rule_, decay,
                                  [only = gradients_.parts[0]](Index i) { return load(only + i); });
    } else {
      detail::update<Real, true>(begin, end, parameters_, rule_, decay,
                                 [clip = clip_, all = gradients_](Index i) { return clip(all(i)); });
    }
    if (matrix.transposed >= 0) detail::transpose_strip(parameters_, matrix, o, c, height, width);
  }

  const Parameters<Real>& parameters_;
  Gradients<Real> gradients_;
  GradientClip<Real> clip_;
  Rule rule_;
  Vector<Real> decay_[2];  // of matrices without and with decay
  bool plain_;             // one gradient, no clip, no decay
};

/// Call f.operator()<Rule>() with the rule of an optimizer.
template <class Real, class F>
auto with_rule(Optimizer optimizer, F f) {
  switch (optimizer) {
    case Optimizer::adam: return f.template operator()<Adam<Real>>();
    case Optimizer::sgd: return f.template operator()<SGD<Real>>();
  }
  __builtin_unreachable();
}

/// Σ g² over the strips first … last - 1, after the clip of each number.
template <class Real>
double squared_norm(const Layout<Real>& layout, Index first, Index last, const Gradients<Real>& gradients,
                    const GradientClip<Real>& clip) {
  double total = 0;
  for_strips(layout, first, last, [&](const Matrix&, Index, Index, Index begin, Index height, Index width) {
    Vector<Real> squares = {};
    for (Index i = begin; i < begin + height * width; i += lanes<Real>) {
      const Vector<Real> g = clip(gradients(i));
      squares += g * g;
    }
    total += double(sum<Real>(squares));
  });
  return total;
}

}  // namespace motegpt::MOTEGPT_LEVEL
