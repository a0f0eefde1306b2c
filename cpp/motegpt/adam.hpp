// Adam (Kingma and Ba, 2015) over all parameters in one pass, which also writes Wᵀ.
#pragma once

#include "math.hpp"
#include "parameters.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The gradients that the threads found, each (layout.size()); the gradient is their sum.
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

/// What happens to a gradient before Adam sees it: first each number to ± bound, then the whole by a factor.
template <class Real>
struct GradientClip {
  Real bound, factor;

  bool changes_nothing() const { return factor == 1 && bound == Real(__builtin_huge_val()); }

  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> g) const {
    return minimum(maximum(g, broadcast(-bound)), broadcast(bound)) * factor;
  }
};

namespace detail {

/// The rates of a step, in vectors.
template <class Real>
struct VectorRates {
  Vector<Real> keep_m, take_m, keep_v, take_v, shrink;
  QuotientByRoot<Real> step;

  explicit VectorRates(const AdamRates& rates)
      : keep_m(broadcast(Real(rates.keep_m))),
        take_m(broadcast(Real(rates.take_m))),
        keep_v(broadcast(Real(rates.keep_v))),
        take_v(broadcast(Real(rates.take_v))),
        shrink(broadcast(Real(rates.shrink))),
        step(rates.rate, __builtin_sqrt(rates.square), rates.eps) {}
};

/// Updates the numbers first … last - 1 of w, m and v, whole vectors; gradient(i) is that of the vector at i.
template <class Real, bool Decay, class F>
MOTEGPT_INLINE void update(Index first, Index last, Parameters<Real> all, VectorRates<Real> rates,
                           F gradient) {
  for (Index i = first; i < last; i += lanes<Real>) {
    const Vector<Real> g = gradient(i), before = load(all.w + i);
    const Vector<Real> m = load(all.m + i) * rates.keep_m + g * rates.take_m;
    const Vector<Real> v = load(all.v + i) * rates.keep_v + (g * rates.take_v) * g;
    store(all.m + i, m);
    store(all.v + i, v);
    store(all.w + i, (Decay ? before * rates.shrink : before) - rates.step(m, v));
  }
}

/// A square of w, `height` rows of it not padding, is written across.
template <class Real>
[[gnu::noinline]] void turn_square(const Real* w, Index row, Index height, Real* turned, Index turned_row,
                                   Index columns) {
  Vector<Real> square[lanes<Real>];
  if (height == lanes<Real> && columns == lanes<Real>) {
    MOTEGPT_UNROLL
    for (int r = 0; r < lanes<Real>; ++r) square[r] = load(w + r * row);
    transpose<Real>(square);
    MOTEGPT_UNROLL
    for (int r = 0; r < lanes<Real>; ++r) store(turned + r * turned_row, square[r]);
  } else {
    for (int r = 0; r < lanes<Real>; ++r) square[r] = r < height ? load(w + r * row) : Vector<Real>{};
    transpose<Real>(square);
    for (int r = 0; r < columns; ++r) store(turned + r * turned_row, square[r]);
  }
}

/// Rows first … first + height of the panel at column c are written across, into the columns first … of wᵀ.
template <class Real>
void turn_strip(const Parameters<Real>& all, const Matrix& matrix, Index first, Index c, Index height,
                Index width) {
  for (Index o = first; o < first + height; o += lanes<Real>) {
    const Index panel = o / panel_width<Real> * panel_width<Real>;
    const Index row = smaller(padded<Real>(matrix.out) - panel, panel_width<Real>);
    const Real* w = all.w + matrix.at + c * matrix.out + o * width;
    Real* turned = all.turned + matrix.turned + panel * matrix.in + c * row + o - panel;
    for (Index i = 0; i < width; i += lanes<Real>) {
      turn_square(w + i, width, smaller<Index>(first + height - o, lanes<Real>), turned + i * row, row,
                  smaller<Index>(matrix.in - c - i, lanes<Real>));
    }
  }
}

}  // namespace detail

/// The strips of a matrix, so many rows of one panel each, are what the threads share out among themselves.
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
    const Index width = smaller(padded<Real>(matrix.in) - c, panel_width<Real>);
    for (Index o = 0; o < matrix.out; o += strip_rows) {
      f(matrix, o, c, matrix.at + c * matrix.out + o * width, smaller(matrix.out - o, strip_rows), width);
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

/// One step of Adam:
///
///   m <- keep_m · m + take_m · g,   v <- keep_v · v + take_v · g²,
///   w <- shrink · w - rate · m / (√(square · v) + eps)
template <class Real>
class Adam {
 public:
  Adam(const Parameters<Real>& parameters, const Gradients<Real>& gradients, const GradientClip<Real>& clip,
       const AdamRates& rates)
      : parameters_(parameters),
        gradients_(gradients),
        clip_(clip),
        rates_{detail::VectorRates<Real>(without_decay(rates)), detail::VectorRates<Real>(rates)},
        plain_(gradients.count == 1 && clip.changes_nothing() && rates.shrink == 1) {}

  /// The strips first … last - 1 of all matrices.
  void update(const Layout<Real>& layout, Index first, Index last) const {
    for_strips(layout, first, last, [this](const auto&... strip) { update_strip(strip...); });
  }

 private:
  static AdamRates without_decay(AdamRates rates) {
    rates.shrink = 1;
    return rates;
  }

  void update_strip(const Matrix& matrix, Index o, Index c, Index begin, Index height, Index width) const {
    const Index end = begin + height * width;
    const detail::VectorRates<Real>& rates = rates_[matrix.decayed];
    if (plain_) {
      detail::update<Real, false>(begin, end, parameters_, rates,
                                  [only = gradients_.parts[0]](Index i) { return load(only + i); });
    } else {
      detail::update<Real, true>(begin, end, parameters_, rates,
                                 [clip = clip_, all = gradients_](Index i) { return clip(all(i)); });
    }
    if (matrix.turned >= 0) detail::turn_strip(parameters_, matrix, o, c, height, width);
  }

  const Parameters<Real>& parameters_;
  Gradients<Real> gradients_;
  GradientClip<Real> clip_;
  detail::VectorRates<Real> rates_[2];  // of matrices that do not decay, and of those that do
  bool plain_;  // one gradient, no clip, no decay
};

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
