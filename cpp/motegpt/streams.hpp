// Integer generators that need no state but a number. Inlined everywhere, because no code may be shared
// between processor levels.
#pragma once

#include <stdint.h>

namespace motegpt {

/// Output index + 1 of SplitMix64 (Steele, Lea and Flood, 2014) with this seed.
[[gnu::always_inline]] inline uint64_t splitmix64(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

/// a · number + c (mod 2^64) with Knuth's MMIX constants (TAOCP 2, section 3.3.4, table 1, line 26).
[[gnu::always_inline]] inline uint64_t lcg_step(uint64_t number) {
  return number * 6364136223846793005u + 1442695040888963407u;
}

/// The next number in [0, 1) of the stream of one text, whose state starts as splitmix64(seed, text).
[[gnu::always_inline]] inline double next_uniform(uint64_t& state) {
  state = lcg_step(state);
  return double(state >> 11) * 0x1p-53;
}

}  // namespace motegpt
