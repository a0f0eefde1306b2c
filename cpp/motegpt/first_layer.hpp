// What a step begins with, kept for every token and position: it depends on nothing else.
#pragma once

#include "model.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The model of generation, which needs no gradients.
template <class Real>
using StepModel = Model<Real, Textbook<Real>>;

/// Per position and token: the residual stream x (C), and q (C), k and v (2 kv) of the first layer.
template <class Real>
class FirstLayer {
 public:
  FirstLayer(const Shape& shape, int orders, Arena& arena)
      : shape_(shape),
        V_(shape.vocab_size),
        row_(2 * padded<Real>(shape.n_embd) + padded<Real>(2 * Index(shape.kv_size()))),
        positions_(orders > 0 ? 0 : min(Index(shape.block_size), most_numbers / (V_ * row_))),
        rows_(arena.take<Real>(positions_ * V_ * row_)),
        wanted_(arena.take<Index>(positions_)),
        ids_(arena.take<int>(panel_width<Real>)) {}

  /// As model.step.
  void step(const StepModel<Real>& model, const Real* w, const int* ids, Bundle<Real>& bundle) {
    const Index t = bundle.position;
    if (t >= positions_ || !is_known(model, w, bundle, t)) {
      model.begin_step(w, ids, bundle);
    } else {
      const Index C = shape_.n_embd, width = bundle.width, kv = 2 * Index(shape_.kv_size());
      const Real* rows = rows_ + t * V_ * row_;
      gather(C, width, ids, rows, bundle.x);
      gather(C, width, ids, rows + padded<Real>(C), bundle.scratch.q);
      gather(kv, width, ids, rows + 2 * padded<Real>(C), bundle.caches[0].at(t, shape_, width));
    }
    model.end_step(w, bundle);
  }

 private:
  static constexpr Index most_numbers = Index(1) << 18;
  static constexpr Index worth = 4;  // times as many tokens were fed at a position as there are

  /// Whether position t is in the table, where it comes once it pays.
  bool is_known(const StepModel<Real>& model, const Real* w, Bundle<Real>& bundle, Index t) {
    if (wanted_[t] < 0) return true;
    wanted_[t] += bundle.width.single ? 1 : bundle.width.columns;
    if (wanted_[t] < worth * V_) return false;
    wanted_[t] = -1;
    fill(model, w, bundle, t);
    return true;
  }

  /// Position t, by means of a bundle that is at it.
  void fill(const StepModel<Real>& model, const Real* w, Bundle<Real>& bundle, Index t) {
    const Index C = shape_.n_embd, width = bundle.width, kv = 2 * Index(shape_.kv_size());
    const Index step = bundle.width.single ? 1 : width;
    for (Index first = 0; first < V_; first += step) {
      const Index count = min(step, V_ - first);
      for (Index s = 0; s < width; ++s) ids_[s] = int(first + min(s, count - 1));
      model.begin_step(w, ids_, bundle);
      Real* rows = rows_ + (t * V_ + first) * row_;
      scatter(C, width, count, bundle.x, rows);
      scatter(C, width, count, bundle.scratch.q, rows + padded<Real>(C));
      scatter(kv, width, count, bundle.caches[0].at(t, shape_, width), rows + 2 * padded<Real>(C));
    }
  }

  /// x (n, width) -> the first n numbers of `count` rows
  void scatter(Index n, Index width, Index count, const Real* x, Real* rows) const {
    for (Index s = 0; s < count; ++s) {
      for (Index i = 0; i < n; ++i) rows[s * row_ + i] = x[i * width + s];
    }
  }

  /// The first n numbers of the rows of ids (width) -> x (n, width)
  void gather(Index n, Index width, const int* ids, const Real* rows, Real* x) const {
    for (Index s = 0; s < width; s += lanes<Real>) {
      for (Index first = 0; first < n; first += lanes<Real>) {
        Vector<Real> square[lanes<Real>];
        MOTEGPT_UNROLL
        for (int lane = 0; lane < lanes<Real>; ++lane) square[lane] = load(rows + ids[s + lane] * row_ + first);
        transpose<Real>(square);
        const Index count = min(n - first, Index(lanes<Real>));
        for (Index i = 0; i < count; ++i) store(x + (first + i) * width + s, square[i]);
      }
    }
  }

  const Shape& shape_;
  Index V_, row_;
  Index positions_;  // as many as there is room for
  Real* rows_;       // (positions, V, row)
  Index* wanted_;    // (positions): tokens fed so far; -1: in the table
  int* ids_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
