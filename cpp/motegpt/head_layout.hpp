// Copies of heads in the layouts that the products of attention need. Where G heads are taken side by side,
// their numbers take turns: every number of a shape below is G numbers, one of each head.
#pragma once

#include "heads.hpp"

namespace motegpt::MOTEGPT_LEVEL::detail {

/// Four adjacent numbers.
template <class Real>
struct FourOf {
  typedef Real type __attribute__((vector_size(4 * sizeof(Real)), aligned(sizeof(Real))));
};
template <class Real>
using Four = typename FourOf<Real>::type;

/// a and b become a[0], b[0], a[1], b[1] and a[2], b[2], a[3], b[3].
template <class V>
MOTEGPT_INLINE void take_turns(V& a, V& b) {
  const V low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  b = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  a = low;
}

/// Four numbers of each of G heads, head by head, become G numbers for each of four channels.
template <class V>
MOTEGPT_INLINE void by_channel(V (&x)[2]) {
  take_turns(x[0], x[1]);
}

template <class V>
MOTEGPT_INLINE void by_channel(V (&x)[4]) {
  take_turns(x[0], x[2]);
  take_turns(x[1], x[3]);
  take_turns(x[0], x[1]);
  take_turns(x[2], x[3]);
}

/// The inverse.
template <class V>
MOTEGPT_INLINE void by_head(V (&x)[2]) {
  take_turns(x[0], x[1]);
  take_turns(x[0], x[1]);
}

template <class V>
MOTEGPT_INLINE void by_head(V (&x)[4]) {
  by_channel(x);
}

/// Calls f(d) for fours of channels that cover all D >= 4; the last may overlap the one before it.
template <class F>
MOTEGPT_INLINE void for_fours(Index D, F f) {
  for (Index d = 0; d < D; d += 4) f(min(d, D - 4));
}

/// x (G, D) times a factor -> (D, G), whose rows begin `step` numbers apart.
template <class Real, int G>
MOTEGPT_INLINE void interleave(Index D, const Real* x, Real factor, Real* out, Index step) {
  if (D >= 4) {
    return for_fours(D, [&](Index d) {
      Four<Real> few[G];
      MOTEGPT_UNROLL
      for (int g = 0; g < G; ++g) few[g] = *reinterpret_cast<const Four<Real>*>(x + g * D + d) * factor;
      by_channel(few);
      MOTEGPT_UNROLL
      for (int i = 0; i < 4; ++i)
        __builtin_memcpy(out + (d + i) * step, reinterpret_cast<const Real*>(few) + i * G, G * sizeof(Real));
    });
  }
  for (Index d = 0; d < D; ++d) {
    MOTEGPT_UNROLL
    for (int g = 0; g < G; ++g) out[d * step + g] = x[g * D + d] * factor;
  }
}

/// The inverse, without a factor: x (D, G) -> (G, D)
template <class Real, int G>
MOTEGPT_INLINE void separate(Index D, const Real* x, Real* out) {
  if (D >= 4) {
    return for_fours(D, [&](Index d) {
      Four<Real> few[G];
      MOTEGPT_UNROLL
      for (int g = 0; g < G; ++g) few[g] = *reinterpret_cast<const Four<Real>*>(x + d * G + g * 4);
      by_head(few);
      MOTEGPT_UNROLL
      for (int g = 0; g < G; ++g) *reinterpret_cast<Four<Real>*>(out + g * D + d) = few[g];
    });
  }
  for (Index d = 0; d < D; ++d) {
    MOTEGPT_UNROLL
    for (int g = 0; g < G; ++g) out[g * D + d] = x[d * G + g];
  }
}

/// x (T, G · D), head by head in rows of a wider matrix, times a factor -> (T, D) in whole vectors, zeros at
/// the end.
template <class Real, int G>
void gather_heads(Index T, Index D, const Real* x, Index row, Real* out, Real factor = 1) {
  const Index out_row = padded<Real>(D * G);
  for (Index t = 0; t < T; ++t, x += row, out += out_row) {
    if constexpr (G == 1) {
      Index d = 0;
      for (; d + lanes<Real> <= D; d += lanes<Real>) store(out + d, load(x + d) * factor);
      if (d < D) store(out + d, Vector<Real>{});
      for (; d < D; ++d) out[d] = x[d] * factor;
    } else {
      interleave<Real, G>(D, x, factor, out, G);
      for (Index i = D * G; i < out_row; ++i) out[i] = 0;
    }
  }
}

/// The inverse: (T, D) in whole vectors -> rows of a wider matrix, or added to them, where heads share keys and
/// are never side by side.
template <class Real, int G>
void scatter_heads(Index T, Index D, const Real* x, Real* out, Index row, bool accumulate = false) {
  for (Index t = 0; t < T; ++t, x += padded<Real>(D * G), out += row) {
    if constexpr (G == 1) {
      Index d = 0;
      for (; d + lanes<Real> <= D; d += lanes<Real>)
        store(out + d, accumulate ? load(out + d) + load(x + d) : load(x + d));
      for (; d < D; ++d) out[d] = accumulate ? out[d] + x[d] : x[d];
    } else {
      separate<Real, G>(D, x, out);
    }
  }
}

/// x (T, D) in rows of a wider matrix, times a factor -> (D, T), rows in whole vectors, zeros at the end.
template <class Real>
void transpose_head(Index T, Index D, const Real* x, Index row, Real* out, Real factor) {
  const Index out_row = padded<Real>(T);
  for (Index t = 0; t < T; t += lanes<Real>) {
    for (Index d = 0; d < D; d += lanes<Real>) {
      const Index height = min<Index>(T - t, lanes<Real>), width = min<Index>(D - d, lanes<Real>);
      Vector<Real> block[lanes<Real>] = {};
      for (Index i = 0; i < height; ++i) {
        const Real* from = x + (t + i) * row + d;
        if (width == lanes<Real>)
          block[i] = load(from);
        else
          for (Index j = 0; j < width; ++j) block[i][j] = from[j];
      }
      transpose<Real>(block);
      for (Index j = 0; j < width; ++j) store(out + (d + j) * out_row + t, block[j] * factor);
    }
  }
}

/// The same of G heads, x (T, G · D) head by head.
template <class Real, int G>
void transpose_heads(Index T, Index D, const Real* x, Index row, Real* out, Real factor = 1) {
  if constexpr (G == 1) {
    transpose_head(T, D, x, row, out, factor);
  } else {
    const Index out_row = padded<Real>(T * G);
    for (Index t = 0; t < T; ++t) interleave<Real, G>(D, x + t * row, factor, out + t * G, out_row);
    for (Index d = 0; d < D; ++d) {
      for (Index i = T * G; i < out_row; ++i) out[d * out_row + i] = 0;
    }
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL::detail
