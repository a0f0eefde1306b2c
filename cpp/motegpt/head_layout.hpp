// Copies of heads in the layouts that the products of attention need. Where G heads are taken side by side,
// their numbers take turns: every number of a shape below is G numbers, one of each head.
#pragma once

#include "heads.hpp"

namespace motegpt::MOTEGPT_LEVEL::detail {

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
      for (Index d = 0; d < D; ++d) {
        MOTEGPT_UNROLL
        for (int g = 0; g < G; ++g) out[d * G + g] = x[g * D + d] * factor;
      }
      for (Index i = D * G; i < out_row; ++i) out[i] = 0;
    }
  }
}

/// The inverse: (T, D) in whole vectors -> rows of a wider matrix, or added to them.
template <class Real, int G>
void scatter_heads(Index T, Index D, const Real* x, Real* out, Index row, bool accumulate = false) {
  for (Index t = 0; t < T; ++t, x += padded<Real>(D * G), out += row) {
    if constexpr (G == 1) {
      Index d = 0;
      for (; d + lanes<Real> <= D; d += lanes<Real>)
        store(out + d, accumulate ? load(out + d) + load(x + d) : load(x + d));
      for (; d < D; ++d) out[d] = accumulate ? out[d] + x[d] : x[d];
    } else {
      for (Index d = 0; d < D; ++d) {
        MOTEGPT_UNROLL
        for (int g = 0; g < G; ++g) {
          Real& to = out[g * D + d];
          to = accumulate ? to + x[d * G + g] : x[d * G + g];
        }
      }
    }
  }
}

/// x (T, D) in rows of a wider matrix -> (D, T), rows in whole vectors, zeros at the end.
template <class Real>
void transpose_head(Index T, Index D, const Real* x, Index row, Real* out) {
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
      for (Index j = 0; j < width; ++j) store(out + (d + j) * out_row + t, block[j]);
    }
  }
}

/// The same of G heads, x (T, G · D) head by head.
template <class Real, int G>
void transpose_heads(Index T, Index D, const Real* x, Index row, Real* out) {
  if constexpr (G == 1) return transpose_head(T, D, x, row, out);
  const Index out_row = padded<Real>(T * G);
  for (Index d = 0; d < D; ++d, out += out_row) {
    for (Index t = 0; t < T; ++t) {
      MOTEGPT_UNROLL
      for (int g = 0; g < G; ++g) out[t * G + g] = x[t * row + g * D + d];
    }
    for (Index i = T * G; i < out_row; ++i) out[i] = 0;
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL::detail
