// The product of a matrix and the vector of a single sequence, as fast as the memory gives the matrix.
#pragma once

#include "core.hpp"
#include "product.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The columns of a bundle, a whole number of vectors; of those of a single sequence only the first is of use.
/// team: threads that may share the work of a single sequence; null: none.
struct StepWidth {
  Index columns;
  bool single;
  LazyTeam* team = nullptr;

  constexpr StepWidth(Index columns_, bool single_ = false) : columns(columns_), single(single_) {}
  constexpr operator Index() const { return columns; }
};

/// Numbers of x that are copied together before they are multiplied.
inline constexpr Index longest_vector = 4096;

namespace detail {

/// `lanes` rows of w · x: each sum runs over k in order, as in a tile of a product, and has the same bits.
///
///   w (lanes, K) row-major, x (K) with a stride -> sums
template <class Real>
MOTEGPT_INLINE Vector<Real> multiply_rows(Index K, const Real* w, const Real* x, Index stride) {
  Vector<Real> sums = {};
  Index k = 0;
  for (; k + lanes<Real> <= K; k += lanes<Real>) {
    Vector<Real> square[lanes<Real>];
    MOTEGPT_UNROLL
    for (int r = 0; r < lanes<Real>; ++r) {
      __builtin_prefetch(w + (r + lanes<Real>) * K + k);  // the rows that are next
      square[r] = load(w + r * K + k);
    }
    transpose<Real>(square);
    MOTEGPT_UNROLL
    for (int i = 0; i < lanes<Real>; ++i) sums += broadcast(x[(k + i) * stride]) * square[i];
  }
  for (; k < K; ++k) {
    Vector<Real> column;
    for (int r = 0; r < lanes<Real>; ++r) column[r] = w[r * K + k];
    sums += broadcast(x[k * stride]) * column;
  }
  return sums;
}

}  // namespace detail

/// y = w · x, or y += w · x, of the first column of x, in every column of y; by one thread.
///
///   w (M, K) row-major, x (K, width) -> y (M, width)
template <class Real>
[[gnu::noinline]] void multiply_vector(Index M, Index K, const Real* w, const Real* x, Index width, Real* y,
                                       bool accumulate) {
  alignas(Arena::alignment) Real gathered[longest_vector];
  const bool fits = K <= longest_vector;
  for (Index k = 0; fits && k < K; ++k) gathered[k] = x[k * width];
  Index m = 0;
  for (; m + lanes<Real> <= M; m += lanes<Real>) {
    const Vector<Real> sums =
        detail::multiply_rows<Real>(K, w + m * K, fits ? gathered : x, fits ? 1 : width);
    for (int r = 0; r < lanes<Real>; ++r) {
      for (Index c = 0; c < width; c += lanes<Real>) {
        Real* to = y + (m + r) * width + c;
        store(to, accumulate ? broadcast(sums[r]) + load(to) : broadcast(sums[r]));
      }
    }
  }
  multiply(M - m, width, K, rows(w + m * K, K), row_major(const_cast<Real*>(x), width),
           row_major(y + m * width, width), accumulate);
}

/// The same by the threads of a team, each with whole vectors of rows, so that every sum has the same bits.
///
/// Waiting for each other costs threads about as long as reading some ten thousand numbers.
template <class Real>
void multiply_vector_shared(Index M, Index K, const Real* w, const Real* x, StepWidth width, Real* y,
                            bool accumulate) {
  constexpr Index worth_a_thread = Index(1) << 17;  // numbers of w
  const Index most = width.team ? Index(width.team->largest()) : 1;
  const Index count = min(most, max(M * K / worth_a_thread, Index(1)));
  if (count == 1) return multiply_vector<Real>(M, K, w, x, width, y, accumulate);
  struct Task {
    Index M, K, columns, count;
    const Real *w, *x;
    Real* y;
    bool accumulate;

    static void run(void* context, int rank) {
      const Task& task = *static_cast<Task*>(context);
      if (rank >= task.count) return;
      const Index vectors = task.M / lanes<Real>, first = vectors * rank / task.count * lanes<Real>;
      const Index end = rank + 1 == task.count ? task.M : vectors * (rank + 1) / task.count * lanes<Real>;
      multiply_vector<Real>(end - first, task.K, task.w + first * task.K, task.x, task.columns,
                            task.y + first * task.columns, task.accumulate);
    }
  } task{M, K, width.columns, count, w, x, y, accumulate};
  width.team->ensure_threads(int(most)).run(Task::run, &task);
}

}  // namespace motegpt::MOTEGPT_LEVEL
