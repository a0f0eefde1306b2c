// Heads: adjacent channels of a row that an operation takes together; narrow ones share a vector.
#pragma once

#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Whether whole heads fit into whole vectors.
template <class Real>
bool has_narrow_heads(const Shape& shape) {
  return lanes<Real> % shape.head_size() == 0 && shape.n_embd % lanes<Real> == 0 &&
         shape.kv_size() % lanes<Real> == 0;
}

/// How C + kv channels, the heads of a query and then those of a key, are split into units.
///
/// A unit is one head or, where heads are narrow, a vector that holds several.
struct HeadUnits {
  Index D, C;   // channels of a head, and of all heads of a query
  Index all;    // of those of a key too
  bool narrow;  // see has_narrow_heads
  Index width;  // channels of a unit

  template <class Real>
  static HeadUnits of(const Shape& shape) {
    const Index D = shape.head_size(), C = shape.n_embd;
    const bool narrow = has_narrow_heads<Real>(shape);
    return {D, C, C + shape.kv_size(), narrow, narrow ? lanes<Real> : D};
  }

  /// Lanes of a vector that are of one head: all of them unless heads are narrow.
  template <class Real>
  Index lanes_of_head() const {
    return narrow ? D : lanes<Real>;
  }
};

/// Calls f.operator()<G>() with a power of two of at most a vector's lanes as a constant.
template <class Real, class F>
void with_lanes(Index G, F f) {
  switch (G) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<min(2, lanes<Real>)>();
    case 4: return f.template operator()<min(4, lanes<Real>)>();
    case 8: return f.template operator()<min(8, lanes<Real>)>();
    case 16: return f.template operator()<min(16, lanes<Real>)>();
  }
  __builtin_trap();
}

/// Heads that a product takes side by side (head_attention.hpp): 1, 2 or 4, but at most `most`; the number that
/// leaves the fewest lanes empty and, among equals, the largest that fits into a panel.
template <class Real>
int heads_side_by_side(const Shape& shape, int most) {
  if (lanes<Real> < 8 || shape.n_kv_head != shape.n_head) return 1;
  const auto width = [&](int G) { return padded<Real>(Index(shape.head_size()) * G); };
  int best = 1;
  for (int G = 2; G <= min(most, 4); G *= 2) {
    const Index before = width(best) * G, after = width(G) * best;  // lanes for G · best heads
    if (shape.n_head % G == 0 && (after < before || (after == before && width(G) <= panel_width<Real>)))
      best = G;
  }
  return best;
}

/// Calls f.operator()<G>() with 1, 2 or 4 as a constant.
template <class Real, class F>
void with_heads(int G, F f) {
  if constexpr (lanes<Real> >= 8) {
    if (G == 2) return f.template operator()<2>();
    if (G == 4) return f.template operator()<4>();
  }
  f.template operator()<1>();
}

/// The first n numbers, and zeros in the lanes beyond.
template <class Real>
MOTEGPT_INLINE Vector<Real> load_first(const Real* p, Index n) {
  if (n >= lanes<Real>) return load(p);
  Vector<Real> x = {};
  for (Index i = 0; i < n; ++i) x[i] = p[i];
  return x;
}

/// Writes the first n lanes.
template <class Real>
MOTEGPT_INLINE void store_first(Real* p, Vector<Real> x, Index n) {
  if (n >= lanes<Real>) return store(p, x);
  for (Index i = 0; i < n; ++i) p[i] = x[i];
}

}  // namespace motegpt::MOTEGPT_LEVEL
