// Which levels there are, and which of them this processor can run.
#include "motegpt/generation.hpp"

namespace motegpt {

#define MOTEGPT_DECLARE(level)                                                     \
  Core<float>* make_float_##level(const Shape&, const Execution&);                 \
  Core<double>* make_double_##level(const Shape&, const Execution&);               \
  Decoder<float>* make_float_decoder_##level(const Shape&, const float*, int64_t); \
  Decoder<double>* make_double_decoder_##level(const Shape&, const double*, int64_t);

#define MOTEGPT_LEVEL_NAMED(level) \
  {#level, make_float_##level, make_double_##level, make_float_decoder_##level, make_double_decoder_##level}

MOTEGPT_DECLARE(baseline)
#if defined(__x86_64__)
MOTEGPT_DECLARE(avx2)
MOTEGPT_DECLARE(avx512)
#endif

int usable_levels(Level* levels) {
  int count = 0;
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) levels[count++] = MOTEGPT_LEVEL_NAMED(avx512);
  if (avx2) levels[count++] = MOTEGPT_LEVEL_NAMED(avx2);
#endif
  levels[count++] = MOTEGPT_LEVEL_NAMED(baseline);
  return count;
}

int Shape::head_size() const { return n_embd / n_head; }

int Shape::n_hidden() const { return 4 * n_embd; }

int64_t Shape::parameters() const {
  const int64_t C = n_embd, rows = int64_t(vocab_size) * (tied ? 1 : 2) + block_size;
  return rows * C + n_layer * (4 * C * C + 2 * C * n_hidden());
}

template <class Real>
Core<Real>::~Core() = default;

template <class Real>
Decoder<Real>::~Decoder() = default;

template class Core<float>;
template class Core<double>;
template class Decoder<float>;
template class Decoder<double>;

}  // namespace motegpt
