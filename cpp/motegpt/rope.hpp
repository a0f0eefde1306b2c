// Rotary position embedding, RoPE (Su et al., 2021): for each head and position t
//
//   y[i] = x[i] · cos(t f_i) - x[i + D/2] · sin(t f_i)
//   y[i + D/2] = x[i + D/2] · cos(t f_i) + x[i] · sin(t f_i)
//
// with f_i = rope_base^(-2i / D), of queries and keys.
#pragma once

#include "heads.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The cosines and sines of the positions so far. Without RoPE the operations do nothing.
template <class Real>
class Rope {
 public:
  explicit Rope(const Shape& shape)
      : on_(shape.position == Position::rope),
        block_size_(shape.block_size),
        base_(shape.rope_base),
        heads_(HeadUnits::of<Real>(shape)),
        row_(heads_.narrow ? lanes<Real> : padded<Real>(heads_.D / 2)) {}

  /// Computes what positions 0 … count - 1 need. Called by one thread.
  void reserve(Index count) {
    if (!on_ || count <= count_) return;
    count_ = min(max(2 * count, shortest), block_size_);
    carve(memory_, [&](Arena& arena) {
      cos_ = arena.take<Real>(count_ * row_);
      sin_ = arena.take<Real>(count_ * row_);
    });
    for (Index i = 0; i < row_; ++i) fill(i);
  }

  /// x (N, C + 2 kv) of which q and k are rotated in place; positions (N)
  void forward(Index N, const int* positions, Real* x, Index row) const {
    rotate(N, positions, x, row, 1);
  }

  /// Of y rotated by t f_i: dx is dy rotated by -t f_i.   dx (N, C + 2 kv) in place of dy
  void backward(Index N, const int* positions, Real* dx, Index row) const {
    rotate(N, positions, dx, row, -1);
  }

  /// Position t of `width` sequences.   q (C, width) and k (kv, width) are rotated in place
  void step(Index width, Index t, Real* q, Real* k) const {
    if (!on_) return;
    for (Index c = 0; c < heads_.C; c += heads_.D) rotate_step(width, t, q + c * width);
    for (Index c = 0; c < heads_.all - heads_.C; c += heads_.D) rotate_step(width, t, k + c * width);
  }

 private:
  static constexpr Index shortest = 64;  // positions that are worth a table

  /// Column i of both tables: of pair i, or of lane i of a vector with whole heads, where the sine has the
  /// sign of the partner.
  void fill(Index i) {
    const Index half = heads_.D / 2, pair = heads_.narrow ? i % half : i;
    const double sign = heads_.narrow && i % heads_.D < half ? -1 : 1;
    const double f = pair < half ? __builtin_pow(base_, -2 * double(pair) / double(heads_.D)) : 0;
    for (Index t = 0; t < count_; ++t) {
      cos_[t * row_ + i] = Real(__builtin_cos(double(t) * f));
      sin_[t * row_ + i] = Real(sign * __builtin_sin(double(t) * f));
    }
  }

  void rotate(Index N, const int* positions, Real* x, Index x_row, Real direction) const {
    if (!on_) return;
    with_lanes<Real>(heads_.lanes_of_head<Real>(), [&]<int G>() {
      for (Index n = 0; n < N; ++n, x += x_row) {
        const Real *cos = cos_ + positions[n] * row_, *sin = sin_ + positions[n] * row_;
        for (Index c = 0; c < heads_.all; c += heads_.width) {
          if (heads_.narrow)
            rotate_vector<G>(cos, sin, direction, x + c);
          else
            rotate_head(cos, sin, direction, x + c);
        }
      }
    });
  }

  /// Heads of G channels side by side.
  template <int G>
  static void rotate_vector(const Real* cos, const Real* sin, Real direction, Real* x) {
    const Vector<Real> before = load(x), partner = swap_lanes<Real, G / 2>(before);
    store(x, before * load(cos) + partner * (load(sin) * direction));
  }

  void rotate_head(const Real* cos, const Real* sin, Real direction, Real* x) const {
    const Index half = heads_.D / 2;
    for (Index i = 0; i < half; i += lanes<Real>) {
      const Vector<Real> low = load_first(x + i, half - i), high = load_first(x + half + i, half - i);
      const Vector<Real> c = load(cos + i), s = load(sin + i) * direction;
      store_first(x + i, low * c - high * s, half - i);
      store_first(x + half + i, high * c + low * s, half - i);
    }
  }

  /// One head.   x (D, width)
  void rotate_step(Index width, Index t, Real* x) const {
    const Index half = heads_.D / 2, first = heads_.narrow ? half : 0;  // where sines have their own sign
    for (Index i = 0; i < half; ++i) {
      const Vector<Real> c = broadcast(cos_[t * row_ + first + i]), s = broadcast(sin_[t * row_ + first + i]);
      Real *low = x + i * width, *high = low + half * width;
      for (Index at = 0; at < width; at += lanes<Real>) {
        const Vector<Real> a = load(low + at), b = load(high + at);
        store(low + at, a * c - b * s);
        store(high + at, b * c + a * s);
      }
    }
  }

  bool on_;
  Index block_size_;
  double base_;
  HeadUnits heads_;
  Index row_;  // numbers of a position in each table
  Index count_ = 0;
  Memory memory_;
  Real *cos_ = nullptr, *sin_ = nullptr;  // (count, row)
};

}  // namespace motegpt::MOTEGPT_LEVEL
