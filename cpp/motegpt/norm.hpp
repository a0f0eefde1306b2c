// The norms: RMSNorm without a learned scale (Zhang and Sennrich, 2019).
#pragma once

#include "math.hpp"
#include "parameters.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The output and its scales, which the backward needs.
template <class Real>
struct NormTape {
  Real* y;  // (N, C)
  Real* r;  // (N)

  static NormTape take(Arena& arena, NormKind, Index N, Index C) {
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

/// The norm at one place of every layer, "ln1" or "ln2", of the kind that the model has.
template <class Real>
class Norm {
 public:
  Norm(const Shape& shape, const Layout<Real>& layout, const char* place) : shape_(shape), layout_(layout) {
    const char* const* names = norm_tensors[int(shape.norm)];
    for (int i = 0; names[i]; ++i) tensors_[i] = layout.find(place, names[i]);
  }

  /// x (N, C) -> tape
  void forward([[maybe_unused]] Index layer, [[maybe_unused]] const Parameters<Real>& w, Index N,
               const Real* x, NormTape<Real> tape) const {
    switch (shape_.norm) {
      case NormKind::rms: return rmsnorm(N, C(), eps(), x, tape);
    }
  }

  /// dx, added to dx.   dy, dx (N, C). calculus: has the backward of RMSNorm, Textbook or NodeClip
  void backward([[maybe_unused]] Index layer, [[maybe_unused]] const BackwardPass<Real>& pass,
                const auto& calculus, Index N, Real* dy, NormTape<Real> tape, Real* dx) const {
    switch (shape_.norm) {
      case NormKind::rms: return calculus.rmsnorm(N, C(), dy, tape, dx, true);
    }
  }

  /// One position of `width` sequences.   w (P) canonical, x -> y, both (C, width)
  void step([[maybe_unused]] Index layer, [[maybe_unused]] const Real* w, Index width, const Real* x,
            Real* y) const {
    switch (shape_.norm) {
      case NormKind::rms: return rmsnorm_step(width, C(), eps(), x, y);
    }
  }

 private:
  Index C() const { return shape_.n_embd; }
  Real eps() const { return Real(shape_.norm_eps); }
  /// Its tensor i in norm_tensors.
  const Matrix& tensor(Index layer, int i) const { return layout_.of_layer(layer, tensors_[i]); }

  const Shape& shape_;
  const Layout<Real>& layout_;
  Index tensors_[sizeof norm_tensors[0] / sizeof norm_tensors[0][0] - 1];
};

}  // namespace motegpt::MOTEGPT_LEVEL
