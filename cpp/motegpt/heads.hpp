// Queries and keys as heads: adjacent channels of a row that an operation takes together.
#pragma once

#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// How 2C channels, H heads of a query and then H of a key, are split into units.
///
/// A unit is one head or, where heads are narrow, a vector that holds several.
struct HeadUnits {
  Index D, C;   // channels of a head, and of all heads
  bool narrow;  // whole heads in whole vectors
  Index width;  // channels of a unit

  template <class Real>
  static HeadUnits of(const Shape& shape) {
    const Index D = shape.head_size(), C = shape.n_embd;
    const bool narrow = lanes<Real> % D == 0 && C % lanes<Real> == 0;
    return {D, C, narrow, narrow ? lanes<Real> : D};
  }
};

/// Calls f.operator()<G>(), where G lanes of a vector are of one head: all of them unless heads are narrow.
template <class Real, class F>
void with_group(const HeadUnits& heads, F f) {
  switch (heads.narrow ? heads.D : lanes<Real>) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<min(2, lanes<Real>)>();
    case 4: return f.template operator()<min(4, lanes<Real>)>();
    case 8: return f.template operator()<min(8, lanes<Real>)>();
    case 16: return f.template operator()<min(16, lanes<Real>)>();
  }
  __builtin_trap();
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
