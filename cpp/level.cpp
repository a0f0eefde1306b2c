// The core at one processor level. Compiled once per level, with that level's flags and MOTEGPT_LEVEL
// naming its namespace.
#include "motegpt/decoder.hpp"
#include "motegpt/peak.hpp"
#include "motegpt/trainer.hpp"

namespace motegpt {

#define MOTEGPT_JOIN(a, b) a##_##b
#define MOTEGPT_NAME(a, b) MOTEGPT_JOIN(a, b)

Core<float>* MOTEGPT_NAME(make_float, MOTEGPT_LEVEL)(const Shape& shape, const Places& places,
                                                     Optimizer optimizer, const Execution& execution) {
  return new MOTEGPT_LEVEL::Trainer<float>(shape, places, optimizer, execution);
}

Core<double>* MOTEGPT_NAME(make_double, MOTEGPT_LEVEL)(const Shape& shape, const Places& places,
                                                       Optimizer optimizer, const Execution& execution) {
  return new MOTEGPT_LEVEL::Trainer<double>(shape, places, optimizer, execution);
}

Decoder<float>* MOTEGPT_NAME(make_float_decoder, MOTEGPT_LEVEL)(const Shape& shape, const Places& places,
                                                                const float* w, int64_t n, int threads) {
  return new MOTEGPT_LEVEL::BundledDecoder<float>(shape, places, w, n, threads);
}

Decoder<double>* MOTEGPT_NAME(make_double_decoder, MOTEGPT_LEVEL)(const Shape& shape, const Places& places,
                                                                  const double* w, int64_t n, int threads) {
  return new MOTEGPT_LEVEL::BundledDecoder<double>(shape, places, w, n, threads);
}

int64_t MOTEGPT_NAME(multiply_add_float, MOTEGPT_LEVEL)(int64_t rounds, float* out) {
  return MOTEGPT_LEVEL::multiply_add<float>(rounds, out);
}

int64_t MOTEGPT_NAME(multiply_add_double, MOTEGPT_LEVEL)(int64_t rounds, double* out) {
  return MOTEGPT_LEVEL::multiply_add<double>(rounds, out);
}

}  // namespace motegpt
