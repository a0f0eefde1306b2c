// The multiply-adds that a processor level can do in registers: the peak that speeds are compared with.
#pragma once

#include <stdint.h>

#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// x = x · a + b, `rounds` times on as many independent vectors as hide the latency of the instruction.
/// Returns the number of operations, two for each number of a vector; out (lanes) keeps the compiler from
/// leaving them out.
template <class Real>
[[gnu::noinline]] int64_t multiply_add(int64_t rounds, Real* out) {
  constexpr int chains = vector_registers * 3 / 4;
  const Vector<Real> a = broadcast(Real(0.5)), b = broadcast(Real(1));
  Vector<Real> x[chains];
#pragma GCC unroll 32
  for (int i = 0; i < chains; ++i) x[i] = broadcast(Real(i));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 32
    for (int i = 0; i < chains; ++i) x[i] = x[i] * a + b;
  }
  Vector<Real> total = x[0];
#pragma GCC unroll 32
  for (int i = 1; i < chains; ++i) total += x[i];
  store(out, total);
  return 2 * rounds * chains * lanes<Real>;
}

}  // namespace motegpt::MOTEGPT_LEVEL
