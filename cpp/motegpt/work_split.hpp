// How the sequences of a step are split among threads.
//
// A pure function of the step, the shape and the number of threads: the same sums are always taken in
// the same order, wherever a run is cut into chunks.
#pragma once

#include "core.hpp"
#include "dropout_masks.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Positions of sequence b of a step.
inline Index length_of(const Batches& batches, Index step, Index b) {
  const int64_t* offset = batches.offsets + step * batches.batch_size + b;
  return Index(offset[1] - offset[0] - 1);
}

struct WorkSplit {
  static constexpr double min_work_per_thread = 2e6;  // multiply-adds that are worth another thread

  Index tokens = 0;      // positions of the step
  int active = 1;        // threads that take part
  bool by_rows = false;  // each thread takes a part of all rows, because whole documents are too unequal

  /// `work`: multiply-adds of the forward pass for one position.
  WorkSplit(const Batches& batches, Index step, double work, int threads) {
    for (Index b = 0; b < batches.batch_size; ++b) tokens += length_of(batches, step, b);
    active = int(min(double(threads), 1 + double(tokens) * work / min_work_per_thread));
    active = int(min(Index(active), max(tokens / min_positions_per_thread, Index(1))));
    if (active > 1) by_rows = double(largest_load(batches, step)) * active > max_imbalance * double(tokens);
  }

  /// Which thread takes a document that has `before` positions of the step before it.
  int thread_of(Index before, Index length) const {
    return active == 1 ? 0 : int((2 * before + length) * active / (2 * tokens));
  }

 private:
  /// Enough to make up for the exchange of gradients and weights.
  static constexpr Index min_positions_per_thread = 32;
  static constexpr double max_imbalance = 1.25;  // largest load of a thread over the average

  Index largest_load(const Batches& batches, Index step) const {
    Index before = 0, load = 0, largest = 0;
    for (Index b = 0, last = 0; b < batches.batch_size; ++b) {
      const Index length = length_of(batches, step, b);
      const Index thread = thread_of(before, length);
      load = thread == last ? load + length : length;
      last = thread;
      largest = max(largest, load);
      before += length;
    }
    return largest;
  }
};

/// A thread's share of work that several threads do together.
struct Share {
  int rank = 0, count = 1;
  Team* team = nullptr;

  Index begin(Index n) const { return count == 1 ? 0 : n * rank / count; }
  Index end(Index n) const { return count == 1 ? n : n * (rank + 1) / count; }
  void barrier() const {
    if (count > 1) team->barrier(count);
  }
};

/// One document of a group: its rows, beginning at `first`, and its index in the batch of the step.
struct Document {
  Index first, length, index;
};

/// A thread's part of a group: rows first … first + N - 1 and, where an operation reads other rows of a
/// document too, a share of its work.
struct Part {
  const Document* documents;
  Index count;
  DropoutMasks masks;
  Share share;
  Index first, N;
  const int* positions;  // (N)

  /// rows: those of all `count` documents; positions (rows)
  Part(const Document* documents_, Index count_, Index rows, const DropoutMasks& masks_,
       const int* positions_, Share share_)
      : documents(documents_),
        count(count_),
        masks(masks_),
        share(share_),
        first(share_.begin(rows)),
        N(share_.end(rows) - first),
        positions(positions_ + first) {}

  /// Calls f(document, first, last) for each document that has rows here: its positions first … last - 1.
  template <class F>
  void for_rows(F f) const {
    for (Index i = 0; i < count; ++i) {
      const Document& document = documents[i];
      const Index begin = max(first - document.first, Index(0));
      const Index end = min(first + N - document.first, document.length);
      if (begin < end) f(document, begin, end);
    }
  }

  /// Calls f(document, unit) for this thread's share of `units` pieces of work per document.
  template <class F>
  void for_units(Index units, F f) const {
    const Index begin = share.begin(count * units), end = share.end(count * units);
    for (Index document = 0, i = 0; document < count; ++document) {
      for (Index unit = 0; unit < units; ++unit, ++i) {
        if (i >= begin && i < end) f(documents[document], unit);
      }
    }
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
