// The activation of the MLP: g = max(0, u), or its square (So et al., 2021).
#pragma once

#include "core.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The input, which the backward needs, and the output, which that of the next product needs.
template <class Real>
struct ActivationTape {
  Real* u;  // (N, hidden) before the activation
  Real* g;  // (N, hidden) after it

  static ActivationTape take(Arena& arena, Index N, Index hidden) {
    return {arena.take<Real>(N * padded<Real>(hidden)), arena.take<Real>(N * padded<Real>(hidden))};
  }
  ActivationTape from(Index row, Index hidden) const {
    return {u + row * padded<Real>(hidden), g + row * padded<Real>(hidden)};
  }
};

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

/// g = max(0, u), or its square, in training as for one position of many sequences.
///
///   u -> g, both `count` numbers in whole vectors; g may be u.
template <class Real>
void activate(Activation kind, Index count, ActivationTape<Real> tape) {
  detail::with_square(kind, [=, u = tape.u, g = tape.g]<bool Squared>() {
    for (Index i = 0; i < count; i += lanes<Real>) {
      const Vector<Real> positive = maximum(load(u + i), Vector<Real>{});
      store(g + i, Squared ? positive * positive : positive);
    }
  });
}

/// du = dg where u > 0 and else 0, or 2 · max(0, u) · dg.   dg (count) becomes du.
template <class Real>
void activate_backward(Activation kind, Index count, ActivationTape<Real> tape, Real* dg) {
  detail::with_square(kind, [=, u = tape.u]<bool Squared>() {
    for (Index i = 0; i < count; i += lanes<Real>) {
      const Vector<Real> before = load(u + i), dafter = load(dg + i), zero = {};
      store(dg + i, Squared ? 2 * maximum(before, zero) * dafter : before > zero ? dafter : zero);
    }
  });
}

}  // namespace motegpt::MOTEGPT_LEVEL
