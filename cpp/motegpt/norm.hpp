// RMSNorm without a learned scale (Zhang and Sennrich, 2019): y = x · r with r = (mean(x²) + eps)^-½.
#pragma once

#include "math.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The output and its scales, which the backward needs.
template <class Real>
struct NormTape {
  Real* y;  // (N, C)
  Real* r;  // (N)

  static NormTape take(Arena& arena, Index N, Index C) {
    return {arena.take<Real>(N * padded<Real>(C)), arena.take<Real>(N)};
  }
  NormTape from(Index row, Index C) const { return {y + row * padded<Real>(C), r + row}; }
};

/// y = x · r with r = (mean(x²) + eps)^-½.   x (N, C) -> y (N, C), r (N); y may be x.
template <class Real>
void rmsnorm(Index N, Index C, Real eps, const Real* x, NormTape<Real> tape) {
  const Index row = padded<Real>(C);
  auto [y, r] = tape;
  for (Index n = 0; n < N; ++n, x += row, y += row) {
    Vector<Real> squares = {};
    for (Index c = 0; c < row; c += lanes<Real>) squares += load(x + c) * load(x + c);
    r[n] = 1 / square_root_of(sum<Real>(squares) / Real(C) + eps);
    for (Index c = 0; c < row; c += lanes<Real>) store(y + c, load(x + c) * r[n]);
  }
}

/// dx = r · (dy - y · mean(dy · y)), added to dx where `accumulate`.   dy, dx (N, C); dx may be dy.
///
/// With y in place of x: y = x · r(x), so dx = dy · r + x · dr/dmean · …, and x · r is y again.
template <class Real>
void rmsnorm_backward(Index N, Index C, const Real* dy, NormTape<Real> tape, Real* dx, bool accumulate) {
  const Index row = padded<Real>(C);
  const Real *y = tape.y, *r = tape.r;
  for (Index n = 0; n < N; ++n, dy += row, y += row, dx += row) {
    Vector<Real> products = {};
    for (Index c = 0; c < row; c += lanes<Real>) products += load(dy + c) * load(y + c);
    const Real mean = sum<Real>(products) / Real(C);
    for (Index c = 0; c < row; c += lanes<Real>) {
      const Vector<Real> change = (load(dy + c) - load(y + c) * mean) * r[n];
      store(dx + c, accumulate ? load(dx + c) + change : change);
    }
  }
}

/// y = x · r for one position of `width` sequences, the mean over channels.   x -> y, both (C, width); y may
/// be x.
template <class Real>
void rmsnorm_step(Index width, Index C, Real eps, const Real* x, Real* y) {
  for (Index s = 0; s < width; s += lanes<Real>) {
    Vector<Real> squares = {};
    for (Index c = 0; c < C; ++c) squares += load(x + c * width + s) * load(x + c * width + s);
    const Vector<Real> r = Real(1) / square_root<Real>(squares / Real(C) + eps);
    for (Index c = 0; c < C; ++c) store(y + c * width + s, load(x + c * width + s) * r);
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
