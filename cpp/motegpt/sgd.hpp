// Stochastic gradient descent with momentum.
#pragma once

#include "core.hpp"
#include "math.hpp"

namespace motegpt::MOTEGPT_LEVEL {

///   velocity <- momentum · velocity + g,   w <- decay · w - lr · velocity
template <class Real>
class SGD {
 public:
  using Scalars = SGDScalars;
  static constexpr int slots = 1;  // velocity

  explicit SGD(const Scalars& s) : momentum_(broadcast(Real(s.momentum))), lr_(broadcast(Real(s.lr))) {}

  /// Updates the slot from a gradient; returns the decrease of w.
  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> g, Vector<Real>* slot) const {
    const Vector<Real> velocity = slot[0] = without_tiny<Real>(slot[0] * momentum_ + g);
    return velocity * lr_;
  }

 private:
  Vector<Real> momentum_, lr_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
