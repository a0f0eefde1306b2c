// Vectors of numbers, as wide as the processor level allows, through the compiler's vector types.
//
// Everything here and above lives in a namespace named after the level (MOTEGPT_LEVEL), because the
// same headers are compiled once per level with different flags and linked into one library: no two
// levels may define the same symbol. For the same reason nothing of the standard library is used.
#pragma once

#if defined(__x86_64__) && defined(__SSE__)
#include <immintrin.h>  // for what vector types lack: estimates of 1/x and 1/√x, √x, maxima
#endif

#ifndef MOTEGPT_LEVEL
#define MOTEGPT_LEVEL generic
#endif

#define MOTEGPT_INLINE [[gnu::always_inline]] inline
#define MOTEGPT_UNROLL _Pragma("GCC unroll 16")

namespace motegpt::MOTEGPT_LEVEL {

#if defined(__AVX512F__)
inline constexpr int vector_bytes = 64;
inline constexpr int vector_registers = 32;
#elif defined(__AVX__)
inline constexpr int vector_bytes = 32;
inline constexpr int vector_registers = 16;
#elif defined(__aarch64__)
inline constexpr int vector_bytes = 16;
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_bytes = 16;
inline constexpr int vector_registers = 16;
#endif

using Index = long long;  // signed: counts, strides and offsets

namespace detail {

template <class Real>
struct VectorOf;

template <>
struct VectorOf<float> {
  using Bits = int;
  typedef float type __attribute__((vector_size(vector_bytes)));
  typedef int bits __attribute__((vector_size(vector_bytes)));
  typedef unsigned words __attribute__((vector_size(vector_bytes)));
  typedef unsigned words32 __attribute__((vector_size(vector_bytes)));
  typedef float loose __attribute__((vector_size(vector_bytes), aligned(4)));
};

template <>
struct VectorOf<double> {
  using Bits = long long;
  typedef double type __attribute__((vector_size(vector_bytes)));
  typedef long long bits __attribute__((vector_size(vector_bytes)));
  typedef unsigned long long words __attribute__((vector_size(vector_bytes)));
  typedef unsigned words32 __attribute__((vector_size(vector_bytes / 2)));
  typedef double loose __attribute__((vector_size(vector_bytes), aligned(8)));
};

template <int... I>
struct Indices {};

template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};

template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class Real>
using LaneIndices = typename MakeIndices<vector_bytes / int(sizeof(Real))>::type;

}  // namespace detail

template <class Real>
using Vector = typename detail::VectorOf<Real>::type;

/// Integers of the same width: bit patterns, and the outcome of a comparison (all ones or all zeros).
template <class Real>
using BitVector = typename detail::VectorOf<Real>::bits;

/// As many unsigned integers of 32 bits as a vector has lanes.
template <class Real>
using Words32 = typename detail::VectorOf<Real>::words32;

/// While it lives, numbers too small for the type's full precision count as zero on this thread.
///
/// Adam's averages of a gradient that has become zero decay into such numbers, on which processors are
/// up to a hundred times slower; a training slowed down fivefold after some thousand steps without this.
class FlushTiny {
 public:
#if defined(__x86_64__)
  FlushTiny() : before_(__builtin_ia32_stmxcsr()) {
    __builtin_ia32_ldmxcsr(before_ | flush_results | flush_operands);
  }
  ~FlushTiny() { __builtin_ia32_ldmxcsr(before_); }

 private:
  static constexpr unsigned flush_results = 0x8000, flush_operands = 0x0040;
  unsigned before_;
#elif defined(__aarch64__)
  FlushTiny() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | flush));
  }
  ~FlushTiny() { asm volatile("msr fpcr, %0" : : "r"(before_)); }

 private:
  static constexpr unsigned long flush = 1ul << 24;
  unsigned long before_;
#else
  FlushTiny() {}
#endif

 public:
  FlushTiny(const FlushTiny&) = delete;
  FlushTiny& operator=(const FlushTiny&) = delete;
};

/// Whether numbers too small for the type's full precision are slow, and FlushTiny cannot change it: in
/// WebAssembly. In double precision a training does not reach them.
template <class Real>
inline constexpr bool tiny_is_slow =
#if defined(__wasm__)
    sizeof(Real) == 4;
#else
    false;
#endif

/// Numbers in one vector.
template <class Real>
inline constexpr int lanes = vector_bytes / int(sizeof(Real));

/// n rounded up to whole vectors: the stride of every row in the core, so that no kernel has a ragged end.
///
/// What a row holds beyond its n numbers is zero at all times, as sums run over whole vectors. Memory is zero
/// when allocated, loading parameters writes zeros there, and operations map zeros to zeros, or do not write
/// there.
template <class Real>
constexpr Index padded(Index n) {
  return (n + lanes<Real> - 1) / lanes<Real> * lanes<Real>;
}

/// A vector of doubles from numbers of either precision.
template <class Real>
MOTEGPT_INLINE Vector<double> load_doubles(const Real* p) {
  typedef Real Few __attribute__((vector_size(lanes<double> * sizeof(Real)), aligned(sizeof(Real))));
  return __builtin_convertvector(*reinterpret_cast<const Few*>(p), Vector<double>);
}

template <class Real>
MOTEGPT_INLINE Vector<Real> load(const Real* p) {
  return *reinterpret_cast<const typename detail::VectorOf<Real>::loose*>(p);
}

template <class Real>
MOTEGPT_INLINE void store(Real* p, Vector<Real> x) {
  *reinterpret_cast<typename detail::VectorOf<Real>::loose*>(p) = x;
}

namespace detail {

template <class Real, int... I>
MOTEGPT_INLINE Vector<Real> repeat(Real x, Indices<I...>) {
  return Vector<Real>{((void)I, x)...};
}

template <class Real, int... I>
MOTEGPT_INLINE Vector<Real> count(Indices<I...>) {
  return Vector<Real>{Real(I)...};
}

template <int Step, class V, int... I>
MOTEGPT_INLINE V exchange(V x, Indices<I...>) {
  return __builtin_shufflevector(x, x, (I ^ Step)...);
}

// Lanes of a where the lane number has bit Step clear, of b shifted up by Step where it is set.
template <int Step, class V, int... I>
MOTEGPT_INLINE V weave_low(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (I & Step ? int(sizeof...(I)) + (I ^ Step) : I)...);
}

template <int Step, class V, int... I>
MOTEGPT_INLINE V weave_high(V a, V b, Indices<I...>) {
  return __builtin_shufflevector(a, b, (I & Step ? int(sizeof...(I)) + I : (I ^ Step))...);
}

}  // namespace detail

/// (x, x, …, x)
template <class Real>
MOTEGPT_INLINE Vector<Real> broadcast(Real x) {
  return detail::repeat<Real>(x, detail::LaneIndices<Real>{});
}

/// (0, 1, …, lanes - 1)
template <class Real>
MOTEGPT_INLINE Vector<Real> lane_numbers() {
  return detail::count<Real>(detail::LaneIndices<Real>{});
}

/// (p[0], …, p[G - 1], p[0], …): G numbers again and again. Only 1 is possible where vectors have 16 bytes.
template <int G, class Real>
MOTEGPT_INLINE Vector<Real> broadcast_few(const Real* p) {
  constexpr int bytes = G * int(sizeof(Real));
  if constexpr (G == 1) return broadcast(*p);
  if constexpr (G == 2 && bytes == 8) {
    double both;
    __builtin_memcpy(&both, p, sizeof both);
    return __builtin_bit_cast(Vector<Real>, broadcast(both));
  }
#if defined(__AVX512F__)
  const auto* numbers = reinterpret_cast<const float*>(p);
  if constexpr (bytes == 16)
    return __builtin_bit_cast(Vector<Real>, _mm512_broadcast_f32x4(_mm_loadu_ps(numbers)));
  if constexpr (bytes == 32)
    return __builtin_bit_cast(Vector<Real>, _mm512_broadcast_f32x8(_mm256_loadu_ps(numbers)));
#elif defined(__AVX__)
  if constexpr (bytes == 16)
    return __builtin_bit_cast(Vector<Real>, _mm256_broadcast_ps(reinterpret_cast<const __m128*>(p)));
#endif
  __builtin_unreachable();
}

namespace detail {

template <class Real, int... I>
MOTEGPT_INLINE Words32<Real> count32(Indices<I...>) {
  return Words32<Real>{unsigned(I)...};
}

}  // namespace detail

/// (0, 1, …, lanes - 1) as integers.
template <class Real>
MOTEGPT_INLINE Words32<Real> lane_indices() {
  return detail::count32<Real>(detail::LaneIndices<Real>{});
}

/// Lane i takes the value of lane i XOR Step.
template <class Real, int Step>
MOTEGPT_INLINE Vector<Real> swap_lanes(Vector<Real> x) {
  return detail::exchange<Step>(x, detail::LaneIndices<Real>{});
}

/// The larger of each pair; b where either is not a number. (Compilers miss the instruction for constants.)
template <class V>
MOTEGPT_INLINE V maximum(V a, V b) {
#if defined(__AVX512F__)
  if constexpr (__is_same(V, Vector<float>)) return _mm512_max_ps(a, b);
#elif defined(__AVX__)
  if constexpr (__is_same(V, Vector<float>)) return _mm256_max_ps(a, b);
#elif defined(__SSE__)
  if constexpr (__is_same(V, Vector<float>)) return _mm_max_ps(a, b);
#endif
  return a > b ? a : b;
}

template <class V>
MOTEGPT_INLINE V minimum(V a, V b) {
  return a < b ? a : b;
}

/// x, with 0 in place of numbers whose products with others may be tiny, where tiny_is_slow.
template <class Real>
MOTEGPT_INLINE Vector<Real> without_tiny(Vector<Real> x) {
  if constexpr (!tiny_is_slow<Real>) return x;
  constexpr Real smallest = Real(1e-30);
  return maximum(x, -x) < broadcast(smallest) ? Vector<Real>{} : x;
}

/// Every lane becomes the sum of its group of Group neighboring lanes, or of those in it that are a multiple of
/// Apart lanes away (powers of two).
template <class Real, int Group = lanes<Real>, int Apart = 1>
MOTEGPT_INLINE Vector<Real> group_sum(Vector<Real> x) {
  if constexpr (Group > Apart) {
    x += swap_lanes<Real, Group / 2>(x);
    x = group_sum<Real, Group / 2, Apart>(x);
  }
  return x;
}

/// The same with the largest of them.
template <class Real, int Group = lanes<Real>, int Apart = 1>
MOTEGPT_INLINE Vector<Real> group_maximum(Vector<Real> x) {
  if constexpr (Group > Apart) {
    x = maximum(x, swap_lanes<Real, Group / 2>(x));
    x = group_maximum<Real, Group / 2, Apart>(x);
  }
  return x;
}

template <class Real>
MOTEGPT_INLINE Real sum(Vector<Real> x) {
  return group_sum<Real>(x)[0];
}

template <class Real>
MOTEGPT_INLINE BitVector<Real> bits_of(Vector<Real> x) {
  return __builtin_bit_cast(BitVector<Real>, x);
}

template <class Real>
MOTEGPT_INLINE Vector<Real> of_bits(BitVector<Real> x) {
  return __builtin_bit_cast(Vector<Real>, x);
}

namespace detail {

template <class Real, int Step>
MOTEGPT_INLINE void transpose_stages(Vector<Real> (&x)[lanes<Real>]) {
  if constexpr (Step < lanes<Real>) {
    MOTEGPT_UNROLL
    for (int i = 0; i < lanes<Real>; ++i) {
      if (i & Step) continue;
      const Vector<Real> a = x[i], b = x[i ^ Step];
      x[i] = weave_low<Step>(a, b, LaneIndices<Real>{});
      x[i ^ Step] = weave_high<Step>(a, b, LaneIndices<Real>{});
    }
    transpose_stages<Real, Step * 2>(x);
  }
}

}  // namespace detail

/// x[i][j] becomes x[j][i]: in log2(lanes) stages, one bit of the row number changes places with one of the
/// lane.
template <class Real>
MOTEGPT_INLINE void transpose(Vector<Real> (&x)[lanes<Real>]) {
  detail::transpose_stages<Real, 1>(x);
}

}  // namespace motegpt::MOTEGPT_LEVEL
