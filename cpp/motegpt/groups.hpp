// Groups of tensors that are trained with scalars of their own, and tensors that are not trained at all.
#pragma once

#include "optimizer.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The group of each number of the parameters, or -1 if it is not trained: of (layout.size()), in panels.
///
/// A matrix of the core may join tensors of several groups, so each vector is updated once for every group, and
/// the numbers of others are kept. Only trainings with groups pass here.
template <class Real>
class Groups {
 public:
  bool any() const { return of_ != nullptr; }
  int count() const { return count_; }

  /// flat: the groups 0 … count - 1, or -1, in the canonical order.
  void set(const Layout<Real>& layout, const Real* flat, int count) {
    memory_.reserve(layout.size() * Index(sizeof(Real)));
    of_ = reinterpret_cast<Real*>(memory_.data());
    count_ = count;
    for (Index i = 0; i < layout.count(); ++i) to_panels(layout[i], flat + layout[i].flat, of_ + layout[i].at);
  }

  /// One step of the optimizer on the strips first … last - 1 of all matrices. scalars(group): its scalars.
  template <class Rule, class F>
  void update(const Layout<Real>& layout, Index first, Index last, const Parameters<Real>& all,
              const Gradients<Real>& gradients, const GradientClip<Real>& clip, F scalars) const {
    for_strips(layout, first, last,
               [&](const Matrix& matrix, Index o, Index c, Index begin, Index height, Index width) {
                 for (int group = 0; group < count_; ++group) {
                   const auto own = scalars(group);
                   update<Rule>(begin, begin + height * width, all, gradients, clip, Rule(own),
                                matrix.decayed ? Real(own.decay) : Real(1), Real(group));
                 }
                 if (matrix.transposed >= 0) detail::transpose_strip(all, matrix, o, c, height, width);
               });
  }

  /// Σ g² over the trained numbers of the strips first … last - 1, after the clip of each number.
  double squared_norm(const Layout<Real>& layout, Index first, Index last, const Gradients<Real>& gradients,
                      const GradientClip<Real>& clip) const {
    double total = 0;
    for_strips(layout, first, last, [&](const Matrix&, Index, Index, Index begin, Index height, Index width) {
      Vector<Real> squares = {};
      for (Index i = begin; i < begin + height * width; i += lanes<Real>) {
        const Vector<Real> g = load(of_ + i) < broadcast(Real(0)) ? Vector<Real>{} : clip(gradients(i));
        squares += g * g;
      }
      total += double(sum<Real>(squares));
    });
    return total;
  }

 private:
  template <class Rule>
  void update(Index first, Index last, const Parameters<Real>& all, const Gradients<Real>& gradients,
              const GradientClip<Real>& clip, const Rule& rule, Real decay, Real group) const {
    for (Index i = first; i < last; i += lanes<Real>) {
      const auto own = load(of_ + i) == broadcast(group);
      const Vector<Real> before = load(all.w + i);
      Vector<Real> slot[Rule::slots];
      for (int s = 0; s < Rule::slots; ++s) slot[s] = load(all.slots[s] + i);
      const Vector<Real> change = rule(clip(gradients(i)), slot);
      for (int s = 0; s < Rule::slots; ++s)
        store(all.slots[s] + i, own ? slot[s] : load(all.slots[s] + i));
      store(all.w + i, own ? before * decay - change : before);
    }
  }

  Memory memory_;
  Real* of_ = nullptr;  // null: all are of group 0
  int count_ = 1;
};

}  // namespace motegpt::MOTEGPT_LEVEL
