// The one matrix product that everything else is made of: c = a · b or c += a · b.
//
// A tile of c, a few rows by up to a panel of columns, stays in registers while k runs: each number
// of a is broadcast and meets a row of b. No product needs a sum across a vector, because both W and
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
  bool accumulate;
};

/// c (R, V vectors) = or += a (R, K) · b (K, V vectors).
template <class Real, int R, int V, bool AdjacentRows>
[[gnu::noinline]] void multiply_tile(const Tile<Real>& tile) {
  const auto [K, a_start, a_stride, b_start, b_row, c, c_row, accumulate] = tile;
  const Real *a = a_start, *b = b_start;
  const Index row = AdjacentRows ? 1 : a_stride, step = AdjacentRows ? a_stride : 1;
  Vector<Real> sums[R][V] = {};
  for (Index k = 0; k < K; ++k, a += step, b += b_row) {
    Vector<Real> right[V];
    MOTEGPT_UNROLL
    for (int v = 0; v < V; ++v) right[v] = load(b + v * lanes<Real>);
    MOTEGPT_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vector<Real> left = broadcast(a[r * row]);
      MOTEGPT_UNROLL
      for (int v = 0; v < V; ++v) sums[r][v] += left * right[v];
    }
  }
  if (accumulate) {
    MOTEGPT_UNROLL
    for (int i = 0; i < R * V; ++i) sums[i / V][i % V] += load(c + i / V * c_row + i % V * lanes<Real>);
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

template <class Real, bool AdjacentRows>
struct TileTable {
  TileFunction<Real> of[panel_vectors + 1][tallest + 1] = {};

  constexpr TileTable() { fill<1, 1>(); }

  template <int R, int V>
  constexpr void fill() {
    if constexpr (V <= panel_vectors) {
      if constexpr (R <= most_rows(V)) {
        of[V][R] = multiply_tile<Real, R, V, AdjacentRows>;
        fill<R + 1, V>();
      } else {
        fill<1, V + 1>();
      }
    }
  }
};

template <class Real, bool AdjacentRows>
inline constexpr TileTable<Real, AdjacentRows> tiles;

/// One panel of b and c, `width` columns wide, under all rows of a, which are shared out evenly among tiles.
template <class Real>
void multiply_panel(Index M, Index width, Rows<Real> a, Tile<Real> tile) {
  const bool adjacent = a.row == 1;
  const int V = int(width / lanes<Real>);
  const auto& functions = adjacent ? tiles<Real, true>.of[V] : tiles<Real, false>.of[V];
  tile.a = a.data;
  tile.a_stride = adjacent ? a.step : a.row;
  if (M <= most_rows(V)) return functions[M](tile);
  const unsigned count = (unsigned(M) + unsigned(most_rows(V)) - 1) / unsigned(most_rows(V));
  const unsigned rows = unsigned(M) / count, taller = unsigned(M) % count;
  for (unsigned i = 0; i < count; ++i) {
    const Index R = rows + (i < taller);
    functions[R](tile);
    tile.a += R * a.row;
    tile.c += R * tile.c_row;
  }
}

/// Longest stretch of k at a time where `a` is transposed: then every k touches another cache line of a, and
/// so many of them are still there when the next rows are read.
inline constexpr Index longest_stretch = 256;
inline constexpr Index page = 4096;

/// All of c (M, N) over K positions of k, beginning with a.data and b.data.
template <class Real>
void multiply_stretch(Index M, Index N, Index K, Rows<Real> a, Columns<Real> b, Index b_first, Columns<Real> c,
                      bool accumulate) {
  for (Index n = 0, j = 0; n < N; n += panel_width<Real>, ++j) {
    const Index width = smaller(N - n, panel_width<Real>);
    const Index b_row = b.row_of(width), c_row = c.row_of(width);
    multiply_panel<Real>(M, width, a, {K, nullptr, 0, b.panel(j) + b_first * b_row, b_row, c.panel(j), c_row, accumulate});
  }
}

/// Copies R rows by K of a transposed `a` to where k is the slower index: out[k · R + r].
template <class Real>
void gather_tile(Index R, Index K, Rows<Real> a, Real* out) {
  for (Index k = 0; k < K; ++k, out += R) {
    for (Index r = 0; r < R; ++r) out[r] = a.data[k * a.step + r];
  }
}

/// The same as multiply_stretch for an `a` whose every k lies on another page: some rows at a time are copied
/// into the order in which the tiles read them.
template <class Real>
void multiply_gathered(Index M, Index N, Index K, Rows<Real> a, Columns<Real> b, Index b_first, Columns<Real> c,
                       bool accumulate) {
  constexpr Index R = most_rows(panel_vectors), most = 96 * Index(sizeof(float)) / Index(sizeof(Real)) / R * R;
  alignas(Arena::alignment) Real gathered[most * longest_stretch];
  for (Index m = 0; m < M; m += most) {
    const Index height = smaller(most, M - m);
    for (Index r = 0; r < height; r += R) {
      gather_tile(smaller(R, height - r), K, {a.data + m + r, 1, a.step}, gathered + r * K);
    }
    for (Index n = 0, j = 0; n < N; n += panel_width<Real>, ++j) {
      const Index width = smaller(N - n, panel_width<Real>);
      const Index b_row = b.row_of(width), c_row = c.row_of(width);
      for (Index r = 0; r < height; r += R) {
        const Index rows = smaller(R, height - r);
        multiply_panel<Real>(rows, width, {gathered + r * K, 1, rows},
                             {K, nullptr, 0, b.panel(j) + b_first * b_row, b_row, c.panel(j) + (m + r) * c_row, c_row,
                              accumulate});
      }
    }
  }
}

}  // namespace detail

/// c (M, N) = a (M, K) · b (K, N), or += where `accumulate`; N is in whole vectors, M and K are free.
template <class Real>
void multiply(Index M, Index N, Index K, Rows<Real> a, Columns<Real> b, Columns<Real> c, bool accumulate) {
  if (M == 0) return;
  const bool turned = a.row == 1 && a.step > 1, far = turned && a.step * Index(sizeof(Real)) >= detail::page;
  const Index longest = turned ? detail::longest_stretch : K;
  Index k = 0;
  do {
    const Index stretch = smaller(longest, K - k);
    const Rows<Real> rest{a.data + k * a.step, a.row, a.step};
    if (far && M > detail::tallest && N > panel_width<Real>) {
      detail::multiply_gathered(M, N, stretch, rest, b, k, c, accumulate || k > 0);
    } else {
      detail::multiply_stretch(M, N, stretch, rest, b, k, c, accumulate || k > 0);
    }
    k += stretch;
  } while (k < K);
}

}  // namespace motegpt::MOTEGPT_LEVEL
