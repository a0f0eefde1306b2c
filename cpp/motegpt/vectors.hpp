// Rows of numbers, and the vectors that act on every row: gains and biases, whose gradients are sums over the
// rows.
#pragma once

#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// y[n] += b.   b (C) in whole vectors, y (N, C)
template <class Real>
void add_to_rows(Index N, Index C, const Real* b, Real* y) {
  const Index row = padded<Real>(C);
  for (Index n = 0; n < N; ++n, y += row) {
    for (Index c = 0; c < row; c += lanes<Real>) store(y + c, load(y + c) + load(b + c));
  }
}

/// y = x · gain + bias, each if it is not null.   x (N, C) -> y (N, C)
template <class Real>
void scale_and_shift(Index N, Index C, const Real* x, const Real* gain, const Real* bias, Real* y) {
  const Index row = padded<Real>(C);
  for (Index n = 0; n < N; ++n, x += row, y += row) {
    for (Index c = 0; c < row; c += lanes<Real>) {
      Vector<Real> out = load(x + c);
      if (gain) out *= load(gain + c);
      if (bias) out += load(bias + c);
      store(y + c, out);
    }
  }
}

namespace detail {

/// Calls f for the whole vectors of a row of V numbers, then for the last with the numbers beyond V replaced.
template <class Real, class F>
MOTEGPT_INLINE void for_row(Index V, const Real* x, Real beyond, F f) {
  const Index whole = V / lanes<Real> * lanes<Real>;
  for (Index v = 0; v < whole; v += lanes<Real>) f(v, load(x + v));
  if (whole == V) return;
  const auto inside = lane_numbers<Real>() < broadcast(Real(V - whole));
  f(whole, inside ? load(x + whole) : broadcast(beyond));
}

/// Calls f.operator()<V>(c) for stripes of V vectors at channel c of a row.
template <class Real, class F>
MOTEGPT_INLINE void for_stripes(Index row, F f) {
  constexpr int wide = 4;
  Index c = 0;
  for (; c + wide * lanes<Real> <= row; c += wide * lanes<Real>) f.template operator()<wide>(c);
  for (; c < row; c += lanes<Real>) f.template operator()<1>(c);
}

}  // namespace detail

/// sum = Σ x[n], or sum += Σ x[n].   x (N, C) -> sum (C)
template <class Real>
void sum_rows(Index N, Index C, const Real* x, Real* sum, bool accumulate) {
  const Index row = padded<Real>(C);
  detail::for_stripes<Real>(row, [&]<int V>(Index c) {
    Vector<Real> total[V] = {};
    for (Index at = c; at < N * row; at += row) {
      MOTEGPT_UNROLL
      for (int v = 0; v < V; ++v) total[v] += load(x + at + v * lanes<Real>);
    }
    for (int v = 0; v < V; ++v) {
      Real* out = sum + c + v * lanes<Real>;
      store(out, accumulate ? load(out) + total[v] : total[v]);
    }
  });
}

/// Of y = x · gain: dgain = Σ dy · x, or +=, and dx = dy · gain in place of dy.
///
///   dy, x (N, C) -> dgain (C)
template <class Real>
void scale_backward(Index N, Index C, Real* dy, const Real* x, const Real* gain, Real* dgain,
                    bool accumulate) {
  const Index row = padded<Real>(C);
  detail::for_stripes<Real>(row, [&]<int V>(Index c) {
    Vector<Real> total[V] = {}, factor[V];
    for (int v = 0; v < V; ++v) factor[v] = load(gain + c + v * lanes<Real>);
    for (Index at = c; at < N * row; at += row) {
      MOTEGPT_UNROLL
      for (int v = 0; v < V; ++v) {
        const Index i = at + v * lanes<Real>;
        const Vector<Real> d = load(dy + i);
        total[v] += d * load(x + i);
        store(dy + i, d * factor[v]);
      }
    }
    for (int v = 0; v < V; ++v) {
      Real* out = dgain + c + v * lanes<Real>;
      store(out, accumulate ? load(out) + total[v] : total[v]);
    }
  });
}

/// y[c] *= gain[c] for all `width` sequences.   gain (C), y (C, width)
template <class Real>
void scale_rows(Index C, Index width, const Real* gain, Real* y) {
  for (Index c = 0; c < C; ++c, y += width) {
    for (Index s = 0; s < width; s += lanes<Real>) store(y + s, load(y + s) * gain[c]);
  }
}

/// y[c] = b[c] for all `width` sequences, or y[c] += b[c].   b (C), y (C, width)
template <class Real>
void fill_rows(Index C, Index width, const Real* b, Real* y, bool accumulate) {
  for (Index c = 0; c < C; ++c, y += width) {
    for (Index s = 0; s < width; s += lanes<Real>) {
      const Vector<Real> added = broadcast(b[c]);
      store(y + s, accumulate ? load(y + s) + added : added);
    }
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
