// Elementary functions of whole vectors: exp, log, square root, and the quotient of Adam's update.
#pragma once

#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

namespace detail {

template <class Real>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float lowest = tiny_is_slow<float> ? -40.0f : -87.0f;
  static constexpr float rounder =
      12582912.0f;  // 1.5 · 2²³: adding it leaves the rounded value in the low bits
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;
  static constexpr int mantissa_bits = 23;
  // Minimax for the relative error on |x| <= ln 2 / 2 (2e-9), lowest power first.
  static constexpr float polynomial[] = {1.000000001f,  1.000000036f,    0.4999999208f,  0.1666642007f,
                                         0.0416682262f, 0.008374824054f, 0.001383683523f};
};

template <>
struct ExpConstants<double> {
  static constexpr double lowest = -708.0;
  static constexpr double rounder = 6755399441055744.0;  // 1.5 · 2⁵²
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr int mantissa_bits = 52;
  // 1 / n!: the first term left out is below 5e-18 on |x| <= ln 2 / 2.
  static constexpr double polynomial[] = {1.0,
                                          1.0,
                                          1.0 / 2,
                                          1.0 / 6,
                                          1.0 / 24,
                                          1.0 / 120,
                                          1.0 / 720,
                                          1.0 / 5040,
                                          1.0 / 40320,
                                          1.0 / 362880,
                                          1.0 / 3628800,
                                          1.0 / 39916800,
                                          1.0 / 479001600,
                                          1.0 / 6227020800.0};
};

template <class Real, int N>
MOTEGPT_INLINE Vector<Real> evaluate(const Real (&polynomial)[N], Vector<Real> x) {
  Vector<Real> y = broadcast(polynomial[N - 1]);
  MOTEGPT_UNROLL
  for (int i = N - 2; i >= 0; --i) y = y * x + polynomial[i];
  return y;
}

}  // namespace detail

/// eˣ = 2ⁿ · eʳ with n = round(x / ln 2), for x up to 88 (708 in double precision). x below `lowest` is
/// clamped to it: e⁻¹⁰⁰⁰ is tiny, not zero.
template <class Real>
MOTEGPT_INLINE Vector<Real> exp(Vector<Real> x) {
  using Constants = detail::ExpConstants<Real>;
  constexpr Real log2_e = Real(1.442695040888963407359924681);
  x = maximum(x, broadcast(Constants::lowest));
  const Vector<Real> shifted = x * log2_e + Constants::rounder;
  const Vector<Real> n = shifted - Constants::rounder;
  const Vector<Real> r = (x - n * Constants::ln2_high) - n * Constants::ln2_low;
  const Vector<Real> y = detail::evaluate<Real>(Constants::polynomial, r);
  using Words = typename detail::VectorOf<Real>::words;  // unsigned: outside the domain the sum wraps around
  const Words exponent = __builtin_bit_cast(Words, shifted) << Constants::mantissa_bits;
  return __builtin_bit_cast(Vector<Real>, __builtin_bit_cast(Words, y) + exponent);
}

/// log x for x > 0 and normal: x = 2ⁿ · y with y in [√½, √2), and the series of 2 artanh((y - 1) / (y + 1)).
template <class Real>
MOTEGPT_INLINE Vector<Real> log(Vector<Real> x) {
  using Constants = detail::ExpConstants<Real>;
  using Bits = typename detail::VectorOf<Real>::Bits;
  constexpr int terms = sizeof(Real) == 4 ? 5 : 12;
  constexpr int bits = Constants::mantissa_bits;
  constexpr Bits one = __builtin_bit_cast(Bits, Real(1));
  constexpr Bits root_half = __builtin_bit_cast(Bits, Real(0.70710678118654752440));
  const BitVector<Real> n = (bits_of<Real>(x) - root_half) >> bits;
  const Vector<Real> y = of_bits<Real>(bits_of<Real>(x) - (n << bits));
  static_assert(one > root_half);
  const Vector<Real> s = (y - Real(1)) / (y + Real(1));
  const Vector<Real> square = s * s;
  Vector<Real> series = broadcast(Real(1) / Real(2 * terms - 1));
  MOTEGPT_UNROLL
  for (int i = terms - 2; i >= 0; --i) series = series * square + Real(1) / Real(2 * i + 1);
  const Vector<Real> exponent = __builtin_convertvector(n, Vector<Real>);
  return exponent * Constants::ln2_high + (exponent * Constants::ln2_low + 2 * s * series);
}

#if defined(__AVX512F__)
MOTEGPT_INLINE Vector<float> inverse_root_estimate(Vector<float> x) { return _mm512_rsqrt14_ps(x); }
MOTEGPT_INLINE Vector<float> inverse_estimate(Vector<float> x) { return _mm512_rcp14_ps(x); }
inline constexpr bool has_estimates = true;
#elif defined(__AVX__)
MOTEGPT_INLINE Vector<float> inverse_root_estimate(Vector<float> x) { return _mm256_rsqrt_ps(x); }
MOTEGPT_INLINE Vector<float> inverse_estimate(Vector<float> x) { return _mm256_rcp_ps(x); }
inline constexpr bool has_estimates = true;
#elif defined(__SSE__)
MOTEGPT_INLINE Vector<float> inverse_root_estimate(Vector<float> x) { return _mm_rsqrt_ps(x); }
MOTEGPT_INLINE Vector<float> inverse_estimate(Vector<float> x) { return _mm_rcp_ps(x); }
inline constexpr bool has_estimates = true;
#else
inline constexpr bool has_estimates = false;
#endif

template <class Real>
MOTEGPT_INLINE Vector<Real> square_root(Vector<Real> x) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Real) == 4)
    return _mm512_sqrt_ps(x);
  else
    return _mm512_sqrt_pd(x);
#elif defined(__AVX__)
  if constexpr (sizeof(Real) == 4)
    return _mm256_sqrt_ps(x);
  else
    return _mm256_sqrt_pd(x);
#elif defined(__SSE2__)
  if constexpr (sizeof(Real) == 4)
    return _mm_sqrt_ps(x);
  else
    return _mm_sqrt_pd(x);
#else
  Vector<Real> y;
  for (int i = 0; i < lanes<Real>; ++i)
    y[i] = sizeof(Real) == 4 ? __builtin_sqrtf(x[i]) : __builtin_sqrt(x[i]);
  return y;
#endif
}

/// rate · m / (root · √v + eps) for many m and v >= 0.
///
/// In single precision √ and ÷ would take a quarter of the time of a training step. If the processor has
/// estimates of both, of 14 (12) bits, these are refined by one Newton step each, to within 4 (10) units in
/// the last place of the quotient. In double precision √ and ÷ are correctly rounded.
template <class Real>
struct QuotientByRoot {
  Vector<Real> root, eps, rate;

  static constexpr bool estimating = sizeof(Real) == 4 && has_estimates;

  /// With estimates, root and eps are divided by the rate in advance, and root also by 2, as operator()
  /// computes 2 · √v.
  QuotientByRoot(double rate_, double root_, double eps_)
      : root(broadcast(Real(estimating ? root_ / 2 / nonzero(rate_) : root_))),
        eps(broadcast(Real(estimating ? normal(eps_ / nonzero(rate_)) : eps_))),
        rate(broadcast(Real(rate_))) {}

  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> m, Vector<Real> v) const {
    if constexpr (estimating) {
      const Vector<Real> estimate = inverse_root_estimate(v + smallest);
      const Vector<Real> once = v * estimate, twice = once * (Real(3) - once * estimate);
      const Vector<Real> divisor = twice * root + eps;
      const Vector<Real> inverse = inverse_estimate(divisor);
      return (m * inverse) * (Real(2) - divisor * inverse);
    } else {
      return rate * m / (square_root<Real>(v) * root + eps);
    }
  }

 private:
  static constexpr float smallest = 1.17549435e-38f;  // prevents 1/√0 and 1/0
  static double normal(double x) { return x > smallest ? x : smallest; }
  static double nonzero(double x) { return x == 0 ? 1e-30 : x; }  // updates at this rate are negligible
};

template <class Real>
MOTEGPT_INLINE Real square_root_of(Real x) {
  if constexpr (sizeof(Real) == 4)
    return __builtin_sqrtf(x);
  else
    return __builtin_sqrt(x);
}

}  // namespace motegpt::MOTEGPT_LEVEL
