// The non-linearity of the MLP: ReLU, or its square (So et al., 2021).
#pragma once

#include "core.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

namespace detail {

/// Calls f with whether max(0, u) is squared, as a constant.
template <class F>
void with_square(Activation kind, F f) {
  switch (kind) {
    case Activation::relu: return f.template operator()<false>();
    case Activation::squared_relu: return f.template operator()<true>();
  }
  __builtin_trap();
}

}  // namespace detail

/// g = max(0, u), or its square.   u, g (count), a whole number of vectors
template <class Real>
void activate(Activation kind, Index count, const Real* u, Real* g) {
  detail::with_square(kind, [=]<bool Squared>() {
    for (Index i = 0; i < count; i += lanes<Real>) {
      const Vector<Real> positive = maximum(load(u + i), Vector<Real>{});
      store(g + i, Squared ? positive * positive : positive);
    }
  });
}

/// du = dg where u > 0 and else 0, or 2 · max(0, u) · dg.   In place: dg becomes du.   u, dg (count)
template <class Real>
void activate_backward(Activation kind, Index count, const Real* u, Real* dg) {
  detail::with_square(kind, [=]<bool Squared>() {
    for (Index i = 0; i < count; i += lanes<Real>) {
      const Vector<Real> before = load(u + i), dafter = load(dg + i), zero = {};
      store(dg + i, Squared ? 2 * maximum(before, zero) * dafter : before > zero ? dafter : zero);
    }
  });
}

}  // namespace motegpt::MOTEGPT_LEVEL
