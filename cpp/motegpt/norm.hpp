// The norms, RMSNorm (Zhang and Sennrich, 2019) and LayerNorm (Ba et al., 2016), with a gain and a bias if the
// model has them.
#pragma once

#include "math.hpp"
#include "parameters.hpp"
#include "vectors.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The output, and what the backward needs.
template <class Real>
struct NormTape {
  Real* y;    // (N, C) normalized, before gain and bias
  Real* r;    // (N) scales
  Real* out;  // (N, C) the output: y, unless there is a gain or a bias

  /// learned: with a gain or a bias
  static NormTape take(Arena& arena, bool learned, Index N, Index C) {
    const Index size = N * padded<Real>(C);
    Real *y = arena.take<Real>(size), *r = arena.take<Real>(N);
    return {y, r, learned ? arena.take<Real>(size) : y};
  }
  NormTape from(Index row, Index C) const {
    return {y + row * padded<Real>(C), r + row, out + row * padded<Real>(C)};
  }
};

/// y = x · r with r = (mean(x²) + eps)^-½.   x (N, C) -> y (N, C), r (N); y may be x.
template <class Real>
void rmsnorm(Index N, Index C, Real eps, const Real* x, NormTape<Real> tape) {
  const Index row = padded<Real>(C);
  Real *y = tape.y, *r = tape.r;
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

/// y = (x - mean(x)) · r with r = (mean((x - mean(x))²) + eps)^-½.   x (N, C) -> y (N, C), r (N); y may be x.
template <class Real>
void layernorm(Index N, Index C, Real eps, const Real* x, NormTape<Real> tape) {
  const Index row = padded<Real>(C);
  Real *y = tape.y, *r = tape.r;
  for (Index n = 0; n < N; ++n, x += row, y += row) {
    Vector<Real> total = {}, squares = {};
    for (Index c = 0; c < row; c += lanes<Real>) total += load(x + c);
    const Real mean = sum<Real>(total) / Real(C);
    detail::for_row(C, x, mean, [&](Index c, Vector<Real> here) {
      const Vector<Real> centered = here - mean;
      squares += centered * centered;
      store(y + c, centered);
    });
    r[n] = 1 / square_root_of(sum<Real>(squares) / Real(C) + eps);
    for (Index c = 0; c < row; c += lanes<Real>) store(y + c, load(y + c) * r[n]);
  }
}

/// dx = r · (dy - mean(dy) - y · mean(dy · y)), added to dx where `accumulate`.   dy, dx (N, C); dx may be dy.
template <class Real>
void layernorm_backward(Index N, Index C, const Real* dy, NormTape<Real> tape, Real* dx, bool accumulate) {
  const Index row = padded<Real>(C);
  const Real *y = tape.y, *r = tape.r;
  for (Index n = 0; n < N; ++n, dy += row, y += row, dx += row) {
    Vector<Real> total = {}, products = {};
    for (Index c = 0; c < row; c += lanes<Real>) {
      total += load(dy + c);
      products += load(dy + c) * load(y + c);
    }
    const Real mean_dy = sum<Real>(total) / Real(C), mean = sum<Real>(products) / Real(C);
    detail::for_row(C, dy, mean_dy, [&](Index c, Vector<Real> here) {
      const Vector<Real> change = (here - mean_dy - load(y + c) * mean) * r[n];
      store(dx + c, accumulate ? load(dx + c) + change : change);
    });
  }
}

/// y = (x - mean) · r for one position of `width` sequences.   x -> y, both (C, width); y may be x.
template <class Real>
void layernorm_step(Index width, Index C, Real eps, const Real* x, Real* y) {
  for (Index s = 0; s < width; s += lanes<Real>) {
    Vector<Real> total = {}, squares = {};
    for (Index c = 0; c < C; ++c) total += load(x + c * width + s);
    const Vector<Real> mean = total / Real(C);
    for (Index c = 0; c < C; ++c) {
      const Vector<Real> centered = load(x + c * width + s) - mean;
      squares += centered * centered;
    }
    const Vector<Real> r = Real(1) / square_root<Real>(squares / Real(C) + eps);
    for (Index c = 0; c < C; ++c) store(y + c * width + s, (load(x + c * width + s) - mean) * r);
  }
}

/// y = x, or y += x where `accumulate`.   count numbers in whole vectors
template <class Real>
void copy(Index count, const Real* x, Real* y, bool accumulate = false) {
  for (Index i = 0; i < count; i += lanes<Real>)
    store(y + i, accumulate ? load(y + i) + load(x + i) : load(x + i));
}

/// The norm at one place, "ln1" or "ln2" of every layer or "ln_f", of the kind that the model has, and its gain
/// and bias. layer: 0 for ln_f
template <class Real>
class Norm {
 public:
  /// place: null if the model has no norm there, and none of the operations is called
  Norm(const Shape& shape, const Layout<Real>& layout, const char* place)
      : shape_(shape),
        layout_(layout),
        gain_(place && shape.norm_gain ? layout.find(place, "gain") : 0),
        bias_(place && shape.norm_bias ? layout.find(place, "bias") : 0) {}

  /// Whether a model's norms have a gain or a bias.
  static bool is_learned(const Shape& shape) { return shape.norm_gain || shape.norm_bias; }

  static NormTape<Real> take(Arena& arena, const Shape& shape, Index N) {
    return NormTape<Real>::take(arena, is_learned(shape), N, shape.n_embd);
  }

  /// x (N, C) -> tape
  void forward(Index layer, const Parameters<Real>& w, Index N, const Real* x, NormTape<Real> tape) const {
    switch (shape_.norm) {
      case NormKind::rms: rmsnorm(N, C(), eps(), x, tape); break;
      case NormKind::layer: layernorm(N, C(), eps(), x, tape); break;
      case NormKind::none: copy(N * padded<Real>(C()), x, tape.y); break;
    }
    if (!is_learned(shape_)) return;
    scale_and_shift<Real>(N, C(), tape.y, shape_.norm_gain ? w.w + gain(layer).at : nullptr,
                          shape_.norm_bias ? w.w + bias(layer).at : nullptr, tape.out);
  }

  /// dx, added to dx where `accumulate`; those of gain and bias in pass.dw.
  ///
  ///   dy (N, C), which is overwritten, -> dx (N, C), which may be dy. calculus: has the backward of RMSNorm,
  ///   Textbook or NodeClip
  void backward(Index layer, const BackwardPass<Real>& pass, const auto& calculus, Index N, Real* dy,
                NormTape<Real> tape, Real* dx, bool accumulate) const {
    if (shape_.norm_bias) sum_rows<Real>(N, C(), dy, pass.dw + bias(layer).at, pass.accumulate);
    if (shape_.norm_gain) {
      const Index at = gain(layer).at;
      scale_backward<Real>(N, C(), dy, tape.y, pass.w.w + at, pass.dw + at, pass.accumulate);
    }
    switch (shape_.norm) {
      case NormKind::rms: return calculus.rmsnorm(N, C(), dy, tape, dx, accumulate);
      case NormKind::layer: return layernorm_backward(N, C(), dy, tape, dx, accumulate);
      case NormKind::none: return copy(N * padded<Real>(C()), dy, dx, accumulate);
    }
  }

  /// One position of `width` sequences.   w (P) canonical, x -> y, both (C, width)
  void step(Index layer, const Real* w, Index width, const Real* x, Real* y) const {
    switch (shape_.norm) {
      case NormKind::rms: rmsnorm_step(width, C(), eps(), x, y); break;
      case NormKind::layer: layernorm_step(width, C(), eps(), x, y); break;
      case NormKind::none: copy(C() * width, x, y); break;
    }
    if (shape_.norm_gain) scale_rows(C(), width, w + gain(layer).flat, y);
    if (shape_.norm_bias) fill_rows(C(), width, w + bias(layer).flat, y, true);
  }

 private:
  Index C() const { return shape_.n_embd; }
  Real eps() const { return Real(shape_.norm_eps); }
  const Matrix& gain(Index layer) const { return layout_.of_layer(layer, gain_); }
  const Matrix& bias(Index layer) const { return layout_.of_layer(layer, bias_); }

  const Shape& shape_;
  const Layout<Real>& layout_;
  Index gain_, bias_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
