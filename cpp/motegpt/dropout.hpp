// Dropout of single numbers (Srivastava et al., 2014). The backward pass computes the mask again.
#pragma once

#include "work_split.hpp"

namespace motegpt::MOTEGPT_LEVEL {

inline constexpr Index embedding_site = 0;

/// The site of attention's output; that of the MLP's is the next.
constexpr Index site(Index layer) { return 16 + 2 * layer; }

/// y = x · m, or y += x · m, with m the mask of a site: number (t, c) of a document has the index t · C + c.
///
///   x (N, C) -> y (N, C), both from the part's first row on; y may be x
template <class Real>
void dropout(const Part& part, Index C, Index site, const Real* x, Real* y, bool accumulate) {
  const Index row = padded<Real>(C);
  const DropoutMask<Real> mask(part.masks.ordinary);
  const Words32<Real> lane = lane_indices<Real>() * mask.golden;
  part.for_rows([&](const Document& document, Index first, Index last) {
    const unsigned key = part.masks.key(site, document.index);
    for (Index t = first; t < last; ++t, x += row, y += row) {
      Words32<Real> start = lane + (key + unsigned(t * C) * mask.golden);
      for (Index c = 0; c < row; c += lanes<Real>, start += lanes<Real> * mask.golden) {
        const Vector<Real> kept = load(x + c) * mask(start);
        store(y + c, accumulate ? load(y + c) + kept : kept);
      }
    }
  });
}

/// Of y = x · m: dx = dy · m, in `room` (N, C), which may be dy.   Returns dx; dy itself without dropout.
template <class Real>
Real* dropout_backward(const Part& part, Index C, Index site, Real* dy, Real* room) {
  if (!part.masks.ordinary) return dy;
  dropout(part, C, site, dy, room, false);
  return room;
}

}  // namespace motegpt::MOTEGPT_LEVEL
