// Adam (Kingma and Ba, 2015).
#pragma once

#include "core.hpp"
#include "math.hpp"

namespace motegpt::MOTEGPT_LEVEL {

///   m <- beta1 · m + one_minus_beta1 · g,   v <- beta2 · v + one_minus_beta2 · g²,
///   w <- decay · w - step_size · m / (√(v_scale · v) + eps)
template <class Real>
class Adam {
 public:
  using Scalars = AdamScalars;
  static constexpr int slots = 2;  // m, v

  explicit Adam(const Scalars& s)
      : beta1_(broadcast(Real(s.beta1))),
        one_minus_beta1_(broadcast(Real(s.one_minus_beta1))),
        beta2_(broadcast(Real(s.beta2))),
        one_minus_beta2_(broadcast(Real(s.one_minus_beta2))),
        quotient_(s.step_size, __builtin_sqrt(s.v_scale), s.eps) {}

  /// Updates the slots from a gradient; returns the decrease of w.
  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> g, Vector<Real>* slot) const {
    const Vector<Real> m = slot[0] = without_tiny<Real>(slot[0] * beta1_ + g * one_minus_beta1_);
    const Vector<Real> v = slot[1] = without_tiny<Real>(slot[1] * beta2_ + (g * one_minus_beta2_) * g);
    return quotient_(m, v);
  }

 private:
  Vector<Real> beta1_, one_minus_beta1_, beta2_, one_minus_beta2_;
  QuotientByRoot<Real> quotient_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
