// The three clips of a gradient: of every node on its way back, of each number, of the whole.
#pragma once

#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Clips the gradient of each node to ± bound while it flows back (the `oxidized` preset).
///
/// In the scalar graph every number is a node; here the clip is applied wherever that graph has a node
/// whose gradient is not already within bounds. An infinite bound clips nothing and costs nothing.
template <class Real>
struct NodeClip {
  Real bound;

  bool active() const { return bound < Real(__builtin_huge_val()); }

  Real operator()(Real dx) const { return dx > bound ? bound : dx < -bound ? -bound : dx; }

  /// In place.   dx (count)
  void apply(Real* dx, Index count) const {
    if (!active()) return;
    for (Index i = 0; i < count; ++i) dx[i] = (*this)(dx[i]);
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
