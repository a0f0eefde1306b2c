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

/// σ(x) = 1 / (1 + e⁻ˣ)
template <class Real>
MOTEGPT_INLINE Vector<Real> sigmoid(Vector<Real> x) {
  const Vector<Real> limit = broadcast(-detail::ExpConstants<Real>::lowest);
  return Real(1) / (Real(1) + exp<Real>(minimum(-x, limit)));
}

namespace detail {

template <class Real>
struct TailPolynomial;

// The Chebyshev series in t, to 2e-7 (4e-16 in double precision) and in powers of t, lowest first.
template <>
struct TailPolynomial<float> {
  static constexpr float of_t[] = {0.7552851271f,    -0.6078964038f,   0.3871375629f,    -0.1865267109f,
                                   0.06039529587f,   -0.007512231382f, -0.003476167895f, 0.001563786899f,
                                   0.0001293256813f, -0.0001573205696f};
};

template <>
struct TailPolynomial<double> {
  static constexpr double of_t[] = {
      0.7552851304157514,     -0.6078966419718923,     0.38713740074222658,     -0.18652185795963661,
      0.060396574890360918,   -0.0075401889673863123,  -0.0034796923566515025,  0.0016308184674099085,
      0.00013334420916014778, -0.00023109501736277426, -1.907676030719098e-06,  3.5145111902837653e-05,
      7.1460215312674618e-07, -5.9216110459239778e-06, -6.2495510775651778e-07, 1.0247851016552774e-06,
      2.6473372819798679e-07, -1.597739614223922e-07,  -7.8783603426936384e-08, 1.7844927772981415e-08,
      1.60673869573294e-08,   -5.8736267649871908e-10, -1.6886576966786735e-09, -1.1997782031253095e-10};
};

}  // namespace detail

/// Of the standard normal distribution the density φ(x) = exp(-x²/2) / √(2π) and the probability Φ(x) of
/// numbers below x, which is ½ (1 + erf(x / √2)).
///
/// Beyond |x| are exp(-x²/2) · p(t) / (|x| + 4) with t = (|x| - 4) / (|x| + 4), after Shepherd and Laframboise
/// (1981): p is smooth from t = -1 to 1, so that one polynomial serves all x without a branch.
template <class Real>
struct Normal {
  Vector<Real> density, probability;

  MOTEGPT_INLINE explicit Normal(Vector<Real> x) {
    constexpr Real width = 4;
    const Vector<Real> distance = maximum(x, -x), e = exp<Real>(Real(-0.5) * x * x);
    const Vector<Real> s = Real(1) / (distance + width);
    const Vector<Real> beyond =
        e * s * detail::evaluate<Real>(detail::TailPolynomial<Real>::of_t, (distance - width) * s);
    density = e * Real(0.3989422804014326779399461);
    probability = x > Vector<Real>{} ? Real(1) - beyond : beyond;
  }
};

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
/// estimates of 1/x, of 14 (12) bits, ÷ is one of them refined by one Newton step, to within 4 (10) units in
/// the last place of the quotient. √ is estimated too where a vector has 64 bytes, the roots of which take
/// twelve cycles; those of 32 bytes take six, in which other units do the rest of Adam. In double precision √
/// and ÷ are correctly rounded.
template <class Real>
struct QuotientByRoot {
  Vector<Real> root, eps, rate;

  static constexpr bool estimating = sizeof(Real) == 4 && has_estimates;
  static constexpr bool estimating_root = estimating && vector_bytes == 64;

  /// With estimates, root and eps are divided by the rate in advance, and root also by 2 where twice √v is
  /// estimated.
  QuotientByRoot(double rate_, double root_, double eps_)
      : root(broadcast(Real(estimating ? root_ / (estimating_root ? 2 : 1) / nonzero(rate_) : root_))),
        eps(broadcast(Real(estimating ? normal(eps_ / nonzero(rate_)) : eps_))),
        rate(broadcast(Real(rate_))) {}

  MOTEGPT_INLINE Vector<Real> operator()(Vector<Real> m, Vector<Real> v) const {
    if constexpr (estimating) {
      const Vector<Real> divisor = root_of(v) * root + eps, inverse = inverse_estimate(divisor);
      return (m * inverse) * (Real(2) - divisor * inverse);
    } else {
      return rate * m / (square_root<Real>(v) * root + eps);
    }
  }

 private:
  /// √v or, where it is estimated, 2 · √v.
  MOTEGPT_INLINE static Vector<Real> root_of(Vector<Real> v) {
    if constexpr (!estimating_root) return square_root<Real>(v);
    const Vector<Real> estimate = inverse_root_estimate(v + smallest), once = v * estimate;
    return once * (Real(3) - once * estimate);
  }

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
