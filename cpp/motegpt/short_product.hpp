// Products a · b of few k. Rows of a stay in registers while n runs, and what becomes of each sum is decided
// before it is stored.
#pragma once

#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL::detail {

/// Rows of K numbers that half of the registers hold, at most four.
template <int K>
inline constexpr int short_rows = vector_registers / 2 / K > 4 ? 4 : vector_registers / 2 / K;

/// finish(r, n, x) with every vector x of a (R, K) · b (K, N), at row r and column n; N is in whole vectors.
///
/// With G above 1 the numbers of `a` are groups of G, as in product.hpp.
template <int R, int K, int G, class Real, class F>
MOTEGPT_INLINE void multiply_short(Index N, const Real* a, Index a_row, const Real* b, Index b_row,
                                   F finish) {
  Vector<Real> left[R][K];
  MOTEGPT_UNROLL
  for (int i = 0; i < R * K; ++i) left[i / K][i % K] = broadcast_few<G>(a + i / K * a_row + i % K * G);
  for (Index n = 0; n < N; n += lanes<Real>) {
    Vector<Real> sums[R] = {};
    MOTEGPT_UNROLL
    for (int k = 0; k < K; ++k) {
      const Vector<Real> right = load(b + k * b_row + n);
      MOTEGPT_UNROLL
      for (int r = 0; r < R; ++r) sums[r] += left[r][k] * right;
    }
    MOTEGPT_UNROLL
    for (int r = 0; r < R; ++r) finish(r, n, sums[r]);
  }
}

/// Calls f.operator()<R, K>(m) for M rows in turn, R of them from m on, with K as a constant. Returns false, and
/// calls nothing, unless K is 4, 5, 6 or 8 and vectors are wide: each K is code of its own.
template <class F>
bool for_short_rows(Index K, Index M, F f) {
  const auto rows = [&]<int Few>() {
    Index m = 0;
    for (; m + short_rows<Few> <= M; m += short_rows<Few>) f.template operator()<short_rows<Few>, Few>(m);
    for (; m < M; ++m) f.template operator()<1, Few>(m);
    return true;
  };
  if constexpr (vector_bytes > 16) {
    switch (K) {
      case 4: return rows.template operator()<4>();
      case 5: return rows.template operator()<5>();
      case 6: return rows.template operator()<6>();
      case 8: return rows.template operator()<8>();
    }
  }
  return false;
}

}  // namespace motegpt::MOTEGPT_LEVEL::detail
