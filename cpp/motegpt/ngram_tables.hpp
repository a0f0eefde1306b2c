// The tables of the n-gram embedding in training, their slots and their weight decay.
#pragma once

#include "ngram.hpp"
#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// All tables as one of shape (rows, C).
///
/// Weight decay multiplies every row by a factor after some of the steps. Here a row is multiplied when it is
/// used or stored next, by the same factors in the same order, so that no step passes over the whole table.
template <class Real>
class NGramTables {
 public:
  NGramTables(const Shape& shape, const Place& place, int slot_count)
      : flat_(place.flat),
        rows_(place.out),
        C_(shape.n_embd),
        size_(shape.parameters),
        slot_count_(slot_count) {
    if (rows_ == 0) return;
    carve(memory_, [&](Arena& arena) {
      w_ = arena.take<Real>(rows_ * stride());
      slots_ = arena.take<Real>(rows_ * stride() * slot_count_);
      applied_ = arena.take<int>(rows_);
    });
  }

  /// groups, count: as of Core::set_groups. Before any factor is remembered.
  void set_groups(const Real* groups, int count) {
    groups_ = count;
    group_memory_.reserve(max<Index>(rows_, 1));
    group_ = reinterpret_cast<signed char*>(group_memory_.data());
    for (Index r = 0; r < rows_; ++r) group_[r] = static_cast<signed char>(groups[flat(r)]);
    capacity_ = 0;
  }

  /// The group of a row, or -1 if it is not trained.
  int group(Index r) const { return group_ ? group_[r] : 0; }

  Index rows() const { return rows_; }
  Index channels() const { return C_; }
  /// Numbers from row to row.
  Index stride() const { return padded<Real>(C_); }
  Real* row(Index r) const { return w_ + r * stride(); }
  Real* slot(Index r, int s) const { return slots_ + (r * slot_count_ + s) * stride(); }
  /// Where row r is in the canonical flat array.
  Index flat(Index r) const { return flat_ + r * C_; }

  /// Hints that a row, or a row and its slots, will be used soon.
  MOTEGPT_INLINE void prefetch_row(Index r) const {
    __builtin_prefetch(applied_ + r, 1);
    prefetch(row(r), stride());
  }
  MOTEGPT_INLINE void prefetch_all(Index r) const {
    prefetch(row(r), stride());
    prefetch(slot(r, 0), slot_count_ * stride());
  }

  /// The tables' part of Core::load.
  void load_rows(const Real* parameters, const Real* slots) {
    count_ = 0;
    for (Index r = 0; r < rows_; ++r) {
      copy(parameters + flat(r), row(r));
      for (int s = 0; s < slot_count_; ++s) copy(slots + s * size_ + flat(r), slot(r, s));
      applied_[r] = 0;
    }
  }

  /// The tables' part of Core::store.
  void store_rows(Real* parameters, Real* slots) const {
    const FlushTiny as_in_training;
    for (Index r = 0; r < rows_; ++r) {
      for (Index c = 0; c < C_; c += lanes<Real>) {
        const Vector<Real> w = decayed(r, c, count_);
        for (Index i = c; i < min<Index>(C_, c + lanes<Real>); ++i) parameters[flat(r) + i] = w[i - c];
      }
      for (int s = 0; slots && s < slot_count_; ++s) copy(slot(r, s), slots + s * size_ + flat(r));
    }
  }

  /// Whether a factor of any group after a step differs from 1.   factors (steps, groups)
  bool decays_after(const double* factors, Index step) const {
    for (Index i = step * groups_; i < (step + 1) * groups_; ++i) {
      if (factors[i] != 1) return true;
    }
    return false;
  }

  /// Remember the factors of the steps in which one differs from 1.   factors (steps, groups)
  /// Returns the number of steps remembered before.
  int add_factors(const double* factors, Index steps) {
    Index added = 0;
    for (Index i = 0; i < steps; ++i) added += decays_after(factors, i);
    if (count_ + added > capacity_) forget_factors(max(added, min_capacity));
    const int before = count_;
    for (Index i = 0; i < steps; ++i) {
      if (!decays_after(factors, i)) continue;
      for (int g = 0; g < groups_; ++g) factors_[count_ * groups_ + g] = Real(factors[i * groups_ + g]);
      ++count_;
    }
    return before;
  }

  /// The tables' part of a flat gradient (P) becomes zero.
  void clear(Real* gradient) const {
    for (Index i = 0; i < rows_ * C_; ++i) gradient[flat_ + i] = 0;
  }

  /// Number of remembered steps with factors.
  int factor_count() const { return count_; }

  /// Multiply a row by the factors of those of the first `count` steps that it was not multiplied by yet.
  void decay(Index r, int count) {
    if (applied_[r] == count) return;
    for (Index c = 0; c < stride(); c += lanes<Real>) store(row(r) + c, decayed(r, c, count));
    applied_[r] = count;
  }

 private:
  MOTEGPT_INLINE static void prefetch(const Real* numbers, Index count) {
    for (Index i = 0; i < count; i += Arena::alignment / Index(sizeof(Real)))
      __builtin_prefetch(numbers + i, 1);
  }

  static constexpr Index min_capacity = 4096;

  Vector<Real> decayed(Index r, Index c, int count) const {
    Vector<Real> w = load(row(r) + c);
    const int g = group(r);
    for (int i = applied_[r]; g >= 0 && i < count; ++i) w *= factors_[i * groups_ + g];
    return w;
  }

  /// Multiply every row by all factors; then there is room for `capacity` others.
  void forget_factors(Index capacity) {
    const FlushTiny as_in_training;
    for (Index r = 0; r < rows_; ++r) {
      decay(r, count_);
      applied_[r] = 0;
    }
    history_.reserve(capacity * groups_ * Index(sizeof(Real)));
    factors_ = reinterpret_cast<Real*>(history_.data());
    capacity_ = capacity;
    count_ = 0;
  }

  void copy(const Real* from, Real* to) const {
    for (Index c = 0; c < C_; ++c) to[c] = from[c];
  }

  Memory memory_, history_, group_memory_;
  Index flat_, rows_, C_, size_;
  int slot_count_, count_ = 0, groups_ = 1;
  Index capacity_ = 0;
  Real *w_ = nullptr, *slots_ = nullptr, *factors_ = nullptr;  // factors (steps, groups)
  int* applied_ = nullptr;          // (rows) steps by whose factors each row was multiplied
  signed char* group_ = nullptr;    // (rows); null: all are of group 0
};

}  // namespace motegpt::MOTEGPT_LEVEL
