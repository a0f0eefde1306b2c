// The memory of a training: parameters once, and for each thread activations, scratch and a gradient.
// Sized for the largest step, reused by all that follow.
#pragma once

#include "parameters.hpp"
#include "tape.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The buffers of one thread.
template <class Real>
struct Worker {
  Group<Real> group;
  Scratch<Real> scratch;
  Real* gradient;  // (layout.size())
  double loss;
  double squared_norm;

  Worker(Arena& arena, const Shape& shape, const AttentionPlan<Real>& plan, bool checkpoint, Index rows,
         Index size)
      : group(arena, shape, plan, checkpoint, rows),
        scratch(arena, plan, rows),
        gradient(arena.take_staggered<Real>(0, size)) {}
};

/// Rows that pass through the model together: as many as keep a layer's activations in the L2 cache until the
/// backward pass, if these are more rows than channels. Otherwise many, so that each weight fetched is used
/// often.
template <class Real>
Index best_group_rows(const Shape& shape, const AttentionPlan<Real>& plan) {
  constexpr Index cache = 1792 * 1024, many = 512, activations = 18;
  const Index row = (activations * shape.n_embd + plan.tape_row) * Index(sizeof(Real));
  return cache / row > shape.n_embd ? cache / row : many;
}

template <class Real>
class Workers {
 public:
  Workers(const Shape& shape) : plan_(shape, false), group_rows_(best_group_rows(shape, plan_)) {}

  /// Allocates the buffers of this many threads and rows, unless they are large enough already.
  void reserve(const Shape& shape, bool checkpoint, Index size, int threads, Index rows,
               const AttentionPlan<Real>& plan) {
    const bool same_plan = plan.narrow == plan_.narrow && plan.heads == plan_.heads;
    if (threads <= threads_ && rows <= rows_ && same_plan) return;
    threads_ = max(threads, threads_);
    rows_ = max(rows, rows_);
    plan_ = plan;
    carve(memory_, [&](Arena& arena) { place(arena, shape, checkpoint, size); });
  }

  Worker<Real>& operator[](int rank) const { return workers_[rank]; }
  Real* const* gradients() const { return gradients_; }
  const AttentionPlan<Real>& plan() const { return plan_; }
  Index group_rows() const { return group_rows_; }

 private:
  void place(Arena& arena, const Shape& shape, bool checkpoint, Index size) {
    workers_ = arena.take<Worker<Real>>(threads_);
    gradients_ = arena.take<Real*>(threads_);
    for (int rank = 0; rank < threads_; ++rank) {
      const Worker<Real> worker(arena, shape, plan_, checkpoint, rows_, size);
      if (!workers_) continue;
      workers_[rank] = worker;
      gradients_[rank] = worker.gradient;
    }
  }

  Memory memory_;
  AttentionPlan<Real> plan_;
  Index group_rows_;
  int threads_ = 0;
  Index rows_ = 0;
  Worker<Real>* workers_ = nullptr;
  Real** gradients_ = nullptr;
};

}  // namespace motegpt::MOTEGPT_LEVEL
