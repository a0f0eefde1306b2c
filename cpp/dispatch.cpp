// The processor levels of this build, and those that this processor can run.
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "motegpt/generation.hpp"

namespace motegpt {

#define MOTEGPT_DECLARE(level)                                                                    \
  Core<float>* make_float_##level(const Shape&, const Places&, Optimizer, const Execution&);      \
  Core<double>* make_double_##level(const Shape&, const Places&, Optimizer, const Execution&);    \
  Decoder<float>* make_float_decoder_##level(const Shape&, const Places&, const float*, int64_t, int); \
  Decoder<double>* make_double_decoder_##level(const Shape&, const Places&, const double*, int64_t, int); \
  int64_t multiply_add_float_##level(int64_t, float*);                                            \
  int64_t multiply_add_double_##level(int64_t, double*);

#define MOTEGPT_LEVEL_NAMED(level) \
  {#level,                                                                                        \
   make_float_##level,                                                                            \
   make_double_##level,                                                                           \
   make_float_decoder_##level,                                                                    \
   make_double_decoder_##level,                                                                   \
   multiply_add_float_##level,                                                                    \
   multiply_add_double_##level}

MOTEGPT_DECLARE(baseline)
#if defined(__x86_64__)
MOTEGPT_DECLARE(avx2)
MOTEGPT_DECLARE(avx512)
#endif

#if defined(__x86_64__)
namespace {

/// The register files that the operating system saves for a program, one bit each (XCR0).
unsigned saved_registers() {
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

struct Processor {
  bool avx2 = false, avx512 = false;

  /// Checks for the instructions that the flags in CMakeLists.txt enable; the bits are those of CPUID.
  Processor() {
    unsigned a, b, c, d;
    constexpr unsigned fma = 1u << 12, osxsave = 1u << 27;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (fma | osxsave)) != (fma | osxsave)) return;
    constexpr unsigned ymm = 0x6, zmm = 0xe6;
    const unsigned saved = saved_registers();
    constexpr unsigned bmi = 1u << 3, avx2_bit = 1u << 5, bmi2 = 1u << 8;
    constexpr unsigned f = 1u << 16, dq = 1u << 17, cd = 1u << 28, bw = 1u << 30, vl = 1u << 31;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    constexpr unsigned first = bmi | avx2_bit | bmi2, second = f | dq | cd | bw | vl;
    avx2 = (b & first) == first && (saved & ymm) == ymm;
    avx512 = avx2 && (b & second) == second && (saved & zmm) == zmm;
  }
};

}  // namespace
#endif

int usable_levels(Level* levels) {
  int count = 0;
#if defined(__x86_64__)
  const Processor processor;
  if (processor.avx512) levels[count++] = MOTEGPT_LEVEL_NAMED(avx512);
  if (processor.avx2) levels[count++] = MOTEGPT_LEVEL_NAMED(avx2);
#endif
  levels[count++] = MOTEGPT_LEVEL_NAMED(baseline);
  return count;
}

int Shape::head_size() const { return n_embd / n_head; }
int Shape::kv_size() const { return n_kv_head * head_size(); }
bool Shape::gated() const { return activation == Activation::swiglu; }
int Shape::mlp_inputs() const { return gated() ? 2 * n_hidden : n_hidden; }

template <class Real>
Core<Real>::~Core() = default;

template <class Real>
Decoder<Real>::~Decoder() = default;

template class Core<float>;
template class Core<double>;
template class Decoder<float>;
template class Decoder<double>;

}  // namespace motegpt
