// The activation of the MLP, of u or, with a gate, of a and u.
//
//   relu          max(0, u)
//   squared_relu  max(0, u)² (So et al., 2021)
//   gelu          u · Φ(u) (Hendrycks and Gimpel, 2016)
//   gelu_tanh     u/2 · (1 + tanh z) = u · σ(2 z) with z = √(2/π) · (u + 0.044715 u³)
//   swiglu        a · σ(a) · u (Shazeer, 2020)
#pragma once

#include "core.hpp"
#include "heads.hpp"
#include "math.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The input, which the backward needs, and the output, which that of the next product needs.
template <class Real>
struct ActivationTape {
  Real* u;  // (N, inputs) before the activation, where inputs is hidden or, with a gate, 2 hidden: a, then u
  Real* g;  // (N, hidden) after it

  static ActivationTape take(Arena& arena, const Shape& shape, Index N) {
    return {arena.take<Real>(N * padded<Real>(shape.mlp_inputs())),
            arena.take<Real>(N * padded<Real>(shape.n_hidden))};
  }
  ActivationTape from(Index row, const Shape& shape) const {
    return {u + row * padded<Real>(shape.mlp_inputs()), g + row * padded<Real>(shape.n_hidden)};
  }
};

namespace detail {

/// Each has value(u), which is 0 at 0, and gradient(u, dg), the derivative of value times dg.
template <class Real>
struct Relu {
  MOTEGPT_INLINE static Vector<Real> value(Vector<Real> u) { return maximum(u, Vector<Real>{}); }
  MOTEGPT_INLINE static Vector<Real> gradient(Vector<Real> u, Vector<Real> dg) {
    return u > Vector<Real>{} ? dg : Vector<Real>{};
  }
};

template <class Real>
struct SquaredRelu {
  MOTEGPT_INLINE static Vector<Real> value(Vector<Real> u) {
    const Vector<Real> positive = maximum(u, Vector<Real>{});
    return positive * positive;
  }
  MOTEGPT_INLINE static Vector<Real> gradient(Vector<Real> u, Vector<Real> dg) {
    return 2 * maximum(u, Vector<Real>{}) * dg;
  }
};

template <class Real>
struct Gelu {
  MOTEGPT_INLINE static Vector<Real> value(Vector<Real> u) { return u * Normal<Real>(u).probability; }
  MOTEGPT_INLINE static Vector<Real> gradient(Vector<Real> u, Vector<Real> dg) {
    const Normal<Real> normal(u);
    return (normal.probability + u * normal.density) * dg;
  }
};

/// 2 z = u · (scale + cubic · u²)
template <class Real>
struct GeluTanh {
  static constexpr Real scale = Real(1.5957691216057307117597842), cubic = scale * Real(0.044715);

  MOTEGPT_INLINE static Vector<Real> value(Vector<Real> u) {
    return u * sigmoid<Real>(u * (u * u * cubic + scale));
  }
  MOTEGPT_INLINE static Vector<Real> gradient(Vector<Real> u, Vector<Real> dg) {
    const Vector<Real> square = u * u, s = sigmoid<Real>(u * (square * cubic + scale));
    return s * (Real(1) + u * (square * (3 * cubic) + scale) * (Real(1) - s)) * dg;
  }
};

/// Calls f with one of the above as its type.
template <class Real, class F>
void with_activation(Activation kind, F f) {
  switch (kind) {
    case Activation::relu: return f.template operator()<Relu<Real>>();
    case Activation::squared_relu: return f.template operator()<SquaredRelu<Real>>();
    case Activation::gelu: return f.template operator()<Gelu<Real>>();
    case Activation::gelu_tanh: return f.template operator()<GeluTanh<Real>>();
    case Activation::swiglu: break;  // has two inputs
  }
  __builtin_trap();
}

/// g = a · σ(a) · u.   u (N, 2 hidden) -> g (N, hidden)
template <class Real>
void swiglu(Index N, Index hidden, ActivationTape<Real> tape) {
  auto [a, g] = tape;
  for (Index n = 0; n < N; ++n, a += padded<Real>(2 * hidden), g += padded<Real>(hidden)) {
    for (Index i = 0; i < hidden; i += lanes<Real>) {
      const Vector<Real> gate = load_first(a + i, hidden - i), u = load_first(a + hidden + i, hidden - i);
      store(g + i, gate * sigmoid<Real>(gate) * u);
    }
  }
}

/// da = dg · u · σ · (1 + a · (1 - σ)) and du = dg · a · σ.   dg (N, hidden) -> du (N, 2 hidden)
template <class Real>
void swiglu_backward(Index N, Index hidden, ActivationTape<Real> tape, const Real* dg, Real* da) {
  const Real* a = tape.u;
  const Index row = padded<Real>(2 * hidden);
  for (Index n = 0; n < N; ++n, a += row, da += row, dg += padded<Real>(hidden)) {
    for (Index i = 0; i < hidden; i += lanes<Real>) {
      const Index count = hidden - i;
      const Vector<Real> gate = load_first(a + i, count), u = load_first(a + hidden + i, count);
      const Vector<Real> d = load(dg + i), s = sigmoid<Real>(gate);
      store_first(da + i, d * u * s * (Real(1) + gate * (Real(1) - s)), count);
      store_first(da + hidden + i, d * gate * s, count);
    }
  }
}

}  // namespace detail

/// g of N rows, in training; or of one row of hidden · width numbers for one position of `width` sequences, where
/// g may be u.   tape.u (N, inputs) -> tape.g (N, hidden)
template <class Real>
void activate(Activation kind, Index N, Index hidden, ActivationTape<Real> tape) {
  if (kind == Activation::swiglu) return detail::swiglu(N, hidden, tape);
  detail::with_activation<Real>(kind, [=, u = tape.u, g = tape.g]<class Function>() {
    for (Index i = 0; i < N * padded<Real>(hidden); i += lanes<Real>)
      store(g + i, Function::value(load(u + i)));
  });
}

/// du.   dg (N, hidden) -> du (N, inputs), which is dg without a gate
template <class Real>
void activate_backward(Activation kind, Index N, Index hidden, ActivationTape<Real> tape, const Real* dg,
                       Real* du) {
  if (kind == Activation::swiglu) return detail::swiglu_backward(N, hidden, tape, dg, du);
  detail::with_activation<Real>(kind, [=, u = tape.u]<class Function>() {
    for (Index i = 0; i < N * padded<Real>(hidden); i += lanes<Real>)
      store(du + i, Function::gradient(load(u + i), load(dg + i)));
  });
}

}  // namespace motegpt::MOTEGPT_LEVEL
