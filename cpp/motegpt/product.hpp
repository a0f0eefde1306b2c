// The one matrix product of the core: c = a · b, c += a · b, or c = bias + a · b.
//
// A tile of c, a few rows by up to a panel of columns, stays in registers while k runs: each number
// of a is broadcast and multiplied by a row of b. No product needs a sum across a vector, because both W and
// Wᵀ are kept (parameters.hpp) and weight gradients run over the positions.
#pragma once

#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

namespace detail {

template <class Real>
struct Tile {
  Index K;
  const Real* a;
  Index a_stride;  // of rows or, where the rows are adjacent, of k
  const Real* b;
  Index b_row;
  Real* c;
  Index c_row;
  const Real* start;  // what the sums are added to: c, or a bias; null: nothing
  Index start_row;    // c_row, or 0
};

/// c (R, V vectors) = start + a (R, K) · b (K, V vectors).
template <class Real, int R, int V, bool AdjacentRows, int G>
[[gnu::noinline]] void multiply_tile(const Tile<Real>& tile) {
  const auto [K, a_start, a_stride, b_start, b_row, c, c_row, start, start_row] = tile;
  const Real *a = a_start, *b = b_start;
  const Index row = AdjacentRows ? G : a_stride, step = AdjacentRows ? a_stride : G;
  Vector<Real> sums[R][V] = {};
  for (Index k = 0; k < K; ++k, a += step, b += b_row) {
    Vector<Real> right[V];
    MOTEGPT_UNROLL
    for (int v = 0; v < V; ++v) right[v] = load(b + v * lanes<Real>);
    MOTEGPT_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vector<Real> left = broadcast_few<G>(a + r * row);
      MOTEGPT_UNROLL
      for (int v = 0; v < V; ++v) sums[r][v] += left * right[v];
    }
  }
  if (start) {
    MOTEGPT_UNROLL
    for (int i = 0; i < R * V; ++i)
      sums[i / V][i % V] += load(start + i / V * start_row + i % V * lanes<Real>);
  }
  MOTEGPT_UNROLL
  for (int i = 0; i < R * V; ++i) store(c + i / V * c_row + i % V * lanes<Real>, sums[i / V][i % V]);
}

/// Most rows of a tile that is V vectors wide: enough sums to hide the latency of multiply-add, few
/// enough for the registers.
constexpr int most_rows(int V) {
  if (vector_registers == 16) return V == 1 ? 8 : 6;
  return V <= 2 ? 12 : V == 3 ? 8 : 6;
}

inline constexpr int tallest = 12;

template <class Real>
using TileFunction = void (*)(const Tile<Real>&);

template <class Real, bool AdjacentRows, int G>
struct TileTable {
  TileFunction<Real> of[panel_vectors + 1][tallest + 1] = {};

  constexpr TileTable() { fill<1, 1>(); }

  template <int R, int V>
  constexpr void fill() {
    if constexpr (V <= panel_vectors) {
      if constexpr (R <= most_rows(V)) {
        of[V][R] = multiply_tile<Real, R, V, AdjacentRows, G>;
        fill<R + 1, V>();
      } else {
        fill<1, V + 1>();
      }
    }
  }
};

template <class Real, bool AdjacentRows, int G>
inline constexpr TileTable<Real, AdjacentRows, G> tiles;

/// All M rows of one panel that is V vectors wide, split evenly into tiles. `tile` describes the first.
template <int G, class Real>
void multiply_panel(Index M, int V, bool adjacent_rows, Tile<Real>& tile) {
  const auto& functions = adjacent_rows ? tiles<Real, true, G>.of[V] : tiles<Real, false, G>.of[V];
  if (M <= most_rows(V)) return functions[M](tile);
  const unsigned most = unsigned(most_rows(V)), count = (unsigned(M) + most - 1) / most;
  const unsigned rows = unsigned(M) / count, taller = unsigned(M) % count;
  for (unsigned i = 0; i < count; ++i) {
    const Index R = rows + (i < taller);
    functions[R](tile);
    tile.a += R * (adjacent_rows ? G : tile.a_stride);
    tile.c += R * tile.c_row;
    tile.start += R * tile.start_row;
  }
}

/// Rows first_row … first_row + M of c over the K positions of k from first_k on; a begins there already.
/// bias (N), if any, is added instead of c.
template <int G, class Real>
void multiply_block(Index M, Index N, Index K, const Rows<Real>& a, const Columns<Real>& b, Index first_k,
                    const Columns<Real>& c, Index first_row, bool accumulate, const Real* bias = nullptr) {
  const bool adjacent = a.row == G;
  for (Index n = 0, j = 0; n < N; n += panel_width<Real>, ++j) {
    const Index width = min(N - n, panel_width<Real>);
    const Index b_row = b.row_of(width), c_row = c.row_of(width);
    Real* result = c.panel(j) + first_row * c_row;
    Tile<Real> tile{K,
                    a.data,
                    adjacent ? a.step : a.row,
                    b.panel(j) + first_k * b_row,
                    b_row,
                    result,
                    c_row,
                    bias         ? bias + n
                    : accumulate ? result
                                 : nullptr,
                    accumulate ? c_row : 0};
    multiply_panel<G>(M, int(width / lanes<Real>), adjacent, tile);
  }
}

/// A transposed `a` touches another cache line for every k. This many lines at a time are still cached when
/// the next rows are read; and if each is on a page of its own, `gathered_rows` rows are first copied
/// together.
inline constexpr Index longest_stretch = 256;
template <class Real>
inline constexpr Index gathered_rows = 96 * Index(sizeof(float)) / Index(sizeof(Real));

/// M rows by K of a transposed `a`, row_stride numbers from k to k -> out (K, M)
template <class Real>
void gather_rows(Index M, Index K, const Real* a, Index row_stride, Real* out) {
  for (Index k = 0; k < K; ++k, a += row_stride, out += M) {
    for (Index m = 0; m < M; ++m) out[m] = a[m];
  }
}

template <class Real>
[[gnu::noinline]] void multiply_gathered(Index M, Index N, Index K, const Rows<Real>& a,
                                         const Columns<Real>& b, Index first_k, const Columns<Real>& c,
                                         bool accumulate) {
  alignas(Arena::alignment) Real gathered[gathered_rows<Real> * longest_stretch];
  for (Index m = 0; m < M; m += gathered_rows<Real>) {
    const Index height = min(gathered_rows<Real>, M - m);
    gather_rows(height, K, a.data + m, a.step, gathered);
    multiply_block<1>(height, N, K, transposed<Real>(gathered, height), b, first_k, c, m, accumulate);
  }
}

}  // namespace detail

/// c (M, N) = a (M, K) · b (K, N), or += where `accumulate`; N is in whole vectors, M and K are free.
///
/// With G above 1 the numbers of `a` are groups of G, and so are those of b and c along N: G products side by
/// side, of matrices whose numbers take turns.
template <class Real, int G = 1>
void multiply(Index M, Index N, Index K, const Rows<Real>& a, const Columns<Real>& b, const Columns<Real>& c,
              bool accumulate) {
  if (M == 0) return;
  if (a.row != G || K <= detail::longest_stretch) {
    return detail::multiply_block<G>(M, N, K, a, b, 0, c, 0, accumulate);
  }
  const bool far = G == 1 && a.step * Index(sizeof(Real)) >= Arena::page && N > panel_width<Real>;
  for (Index k = 0; k < K; k += detail::longest_stretch) {
    const Index stretch = min(detail::longest_stretch, K - k);
    const Rows<Real> rest{a.data + k * a.step, a.row, a.step};
    if (far) {
      detail::multiply_gathered(M, N, stretch, rest, b, k, c, accumulate || k > 0);
    } else {
      detail::multiply_block<G>(M, N, stretch, rest, b, k, c, 0, accumulate || k > 0);
    }
  }
}

/// c (M, N) = bias (N) + a (M, K) · b (K, N); a is not transposed, N in whole vectors.
template <class Real>
void multiply(Index M, Index N, Index K, const Rows<Real>& a, const Columns<Real>& b, const Columns<Real>& c,
              const Real* bias) {
  if (M > 0) detail::multiply_block<1>(M, N, K, a, b, 0, c, 0, false, bias);
}

}  // namespace motegpt::MOTEGPT_LEVEL
