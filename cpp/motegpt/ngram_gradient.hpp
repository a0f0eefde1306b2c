// The rows of the tables that a step uses, and their gradients. A step clips and updates these rows alone.
#pragma once

#include "dropout_masks.hpp"
#include "ngram_tables.hpp"
#include "optimizer.hpp"
#include "work_split.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// A row that a step uses, and the position and the table that it is used by first.
struct UsedRow {
  int row, position, table;
};

/// Entry (n, k) is the row of table k that position n of the step uses, or -1.
///
/// Of x[n] += scale · Σ_k table[rows[n][k]]: dtable[r] = scale · Σ dx[n] over the entries that are r. They are
/// linked in a list: the same sum in the same order, however many threads there are. Thread `rank` owns the
/// rows r with r % threads = rank.
template <class Real>
class NGramGradient {
 public:
  explicit NGramGradient(const Contexts& contexts) : contexts_(contexts) {}

  /// Allocates the buffers for steps of this many positions and threads, unless they are large enough.
  void reserve(const NGramTables<Real>& tables, Index positions, int threads) {
    if (orders() == 0 || (positions <= positions_ && threads <= threads_)) return;
    positions_ = max(positions, positions_);
    threads_ = max(threads, threads_);
    carve(memory_, [&](Arena& arena) { place(arena, tables); });
  }

  /// Look up the rows of document `index` of the batch, with n positions, `first` … of the step.
  void look_up(const NGramTables<Real>& tables, const int* tokens, Index n, Index first,
               const DropoutMasks& masks, Index index) {
    int* rows = rows_ + first * orders();
    find_rows(contexts_, n, [](Index t) { return t; }, [&](Index t, Index j) { return tokens[t - j]; }, rows);
    if (masks.ngram > 0) drop(n, masks, index, rows);
    for (Index i = 0; i < n * orders(); ++i) {
      if (rows[i] < 0) continue;
      __builtin_prefetch(first_ + rows[i], 1);
      tables.prefetch_row(rows[i]);
    }
  }

  /// The rows that the positions from `first` on add.
  NGramRows<Real> rows_from(Index first, const NGramTables<Real>& tables, const DropoutMasks& masks) const {
    return {rows_ + first * orders(), orders(), tables.row(0), scale(masks)};
  }

  /// Where the gradient of x is expected, from position `first` on: (…, C).
  Real* dx_from(Index first) const { return dx_ + first * stride_; }

  /// Lists the rows of the step that this thread owns, and applies the first `decays` factors to them.
  void list_used(NGramTables<Real>& tables, Index positions, Share share, int decays) {
    List& list = lists_[share.rank];
    list.count = 0;
    for (int n = 0, entry = 0; n < positions; ++n) {
      for (int k = 0; k < orders(); ++k, ++entry) {
        const int row = rows_[entry];
        if (row < 0 || (share.count > 1 && row % share.count != share.rank)) continue;
        if (append(row, n, entry)) continue;
        list.used[list.count++] = {row, n, k};
        tables.decay(row, decays);
      }
    }
  }

  /// Calls f(used, g) for the rows of a thread, where g(c) is the vector of the gradient at channel c.
  template <class F>
  MOTEGPT_INLINE void for_used(int rank, const DropoutMasks& masks, F f) const {
    if (orders() == 0) return;
    const Real factor = scale(masks);
    for (Index i = 0; i < lists_[rank].count; ++i) {
      const UsedRow& used = lists_[rank].used[i];
      f(used, [&](Index c) {
        Vector<Real> sum = load(dx_from(used.position) + c);
        for (int n = next(used.position, used.table); n >= 0; n = next(n, used.table))
          sum += load(dx_from(n) + c);
        return sum * factor;
      });
    }
  }

  /// Σ g² over the rows of a thread that are trained, after the clip of each number.
  double squared_norm(const NGramTables<Real>& tables, int rank, const DropoutMasks& masks,
                      const GradientClip<Real>& clip) const {
    double total = 0;
    for_used(rank, masks, [&](const UsedRow& used, auto gradient) {
      if (tables.group(used.row) < 0) return;
      Vector<Real> squares = {};
      for (Index c = 0; c < stride_; c += lanes<Real>) {
        const Vector<Real> g = clip(gradient(c));
        squares += g * g;
      }
      total += double(sum<Real>(squares));
    });
    return total;
  }

  /// The optimizer's step, without weight decay, on the rows of a thread and a group: w <- w - rule(g, slots).
  template <class Rule>
  void update(const NGramTables<Real>& tables, int group, int rank, const DropoutMasks& masks,
              const GradientClip<Real>& clip, const typename Rule::Scalars& scalars) const {
    if (orders() == 0) return;
    const Rule rule(scalars);
    const List& list = lists_[rank];
    for (Index i = 0; i < min(prefetched, list.count); ++i) tables.prefetch_all(list.used[i].row);
    for_used(rank, masks, [&](const UsedRow& used, auto gradient) {
      if (&used + prefetched < list.used + list.count) tables.prefetch_all((&used)[prefetched].row);
      if (tables.group(used.row) != group) return;
      Real* w = tables.row(used.row);
      for (Index c = 0; c < stride_; c += lanes<Real>) {
        Vector<Real> slot[Rule::slots];
        for (int s = 0; s < Rule::slots; ++s) slot[s] = load(tables.slot(used.row, s) + c);
        const Vector<Real> change = rule(clip(gradient(c)), slot);
        for (int s = 0; s < Rule::slots; ++s) store(tables.slot(used.row, s) + c, slot[s]);
        store(w + c, load(w + c) - change);
      }
    });
  }

  /// Copy the gradient of the rows of a thread into a flat gradient (P).
  void copy_to(const NGramTables<Real>& tables, int rank, const DropoutMasks& masks, Real* flat) const {
    for_used(rank, masks, [&](const UsedRow& used, auto gradient) {
      for (Index c = 0; c < tables.channels(); ++c)
        flat[tables.flat(used.row) + c] = gradient(c / lanes<Real> * lanes<Real>)[c % lanes<Real>];
    });
  }

 private:
  static constexpr Index prefetched = 8;  // rows whose slots are on their way while one is updated

  struct List {
    UsedRow* used;
    Index count;
  };

  int orders() const { return contexts_.orders; }
  int next(int n, int table) const { return next_[n * orders() + table]; }
  static Real scale(const DropoutMasks& masks) { return Real(1 / (1 - masks.ngram)); }

  /// Append position n to the list of a row, unless this is its first entry. Returns whether it was appended.
  bool append(int row, int n, int entry) {
    next_[entry] = -1;
    const int first = first_[row];  // perhaps of an earlier step
    if (first < entry && rows_[first] == row) {
      next_[last_[first]] = n;
      last_[first] = entry;
      return true;
    }
    first_[row] = last_[entry] = entry;
    return false;
  }

  /// Vector k of position t is dropped as a whole, by the mask of site 2 + k.   rows (n, orders)
  void drop(Index n, const DropoutMasks& masks, Index index, int* rows) const {
    const DropoutMask<Real> mask(masks.ngram);
    for (int k = 0; k < orders(); ++k) {
      const unsigned key = masks.key(2 + k, index);
      for (Index t = k + 1; t < n; ++t) {
        if (mask.drops(key, unsigned(t))) rows[t * orders() + k] = -1;
      }
    }
  }

  void place(Arena& arena, const NGramTables<Real>& tables) {
    const Index entries = positions_ * orders();
    stride_ = tables.stride();
    rows_ = arena.take<int>(entries);
    next_ = arena.take<int>(entries);
    last_ = arena.take<int>(entries);
    first_ = arena.take<int>(tables.rows());
    dx_ = arena.take<Real>(positions_ * stride_);
    lists_ = arena.take<List>(threads_);
    for (int rank = 0; rank < threads_; ++rank) {
      const List list{arena.take<UsedRow>(entries), 0};
      if (lists_) lists_[rank] = list;
    }
  }

  Contexts contexts_;
  Memory memory_;
  Index positions_ = 0, stride_ = 0;
  int threads_ = 0;
  int *rows_ = nullptr, *next_ = nullptr, *last_ = nullptr;  // (positions, orders)
  int* first_ = nullptr;   // (rows of the tables): the entry that used it last
  Real* dx_ = nullptr;     // (positions, C)
  List* lists_ = nullptr;  // (threads)
};

}  // namespace motegpt::MOTEGPT_LEVEL
