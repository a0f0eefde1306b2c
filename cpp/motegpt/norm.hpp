// RMSNorm without a learned scale (Zhang and Sennrich, 2019).
#pragma once

#include "math.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// y = x · r with r = (mean(x²) + eps)^-½.   x (N, C) -> y (N, C), r (N); y may be x.
template <class Real>
void rmsnorm(Index N, Index C, Real eps, const Real* x, Real* y, Real* r) {
  const Index row = padded<Real>(C);
  for (Index n = 0; n < N; ++n, x += row, y += row) {
    Vector<Real> squares = {};
    for (Index c = 0; c < row; c += lanes<Real>) squares += load(x + c) * load(x + c);
    r[n] = 1 / square_root_of(sum<Real>(squares) / Real(C) + eps);
    for (Index c = 0; c < row; c += lanes<Real>) store(y + c, load(x + c) * r[n]);
  }
}

/// dx = r · (dy - y · mean(dy · y)), added to dx where `accumulate`.   y, dy, dx (N, C), r (N); dx may be dy.
///
/// With y in place of x: y = x · r(x), so dx = dy · r + x · dr/dmean · …, and x · r is y again.
template <class Real>
void rmsnorm_backward(Index N, Index C, const Real* dy, const Real* y, const Real* r, Real* dx,
                      bool accumulate) {
  const Index row = padded<Real>(C);
  for (Index n = 0; n < N; ++n, dy += row, y += row, dx += row) {
    Vector<Real> products = {};
    for (Index c = 0; c < row; c += lanes<Real>) products += load(dy + c) * load(y + c);
    const Real mean = sum<Real>(products) / Real(C);
    for (Index c = 0; c < row; c += lanes<Real>) {
      const Vector<Real> through = (load(dy + c) - load(y + c) * mean) * r[n];
      store(dx + c, accumulate ? load(dx + c) + through : through);
    }
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
