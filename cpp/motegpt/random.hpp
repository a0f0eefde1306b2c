// The random number generators of runs. src/motegpt/model/rng.py defines them; these give the same numbers,
// bit for bit, with the C library's log, sqrt, sin and cos. No function throws.
#pragma once

#include <stdint.h>

#include <memory>
#include <optional>
#include <vector>

#include "streams.hpp"

namespace motegpt {

enum class Generator { python, lcg, xoshiro128plus };

/// What Python calls them, in order.
inline constexpr const char* generator_names[] = {"python", "lcg", "xoshiro128+"};

/// The state of a generator. Python saves it as [3, words, gauss_next] (python), or as the words alone.
struct RngState {
  std::vector<uint64_t> words;       // python: 624 words and the place of the next; lcg: 1; xoshiro128+: 4
  std::optional<double> gauss_next;  // python: the second number of a pair of normal numbers
};

/// The generator of a run: shuffles the documents, then initializes the weights, then samples.
class RunRng {
 public:
  virtual ~RunRng();

  /// A number in [0, 1), or 1 where single precision rounds up to it.
  virtual double uniform() = 0;
  /// A number from the normal distribution.
  virtual double gauss(double mean, double std) = 0;
  /// Index i with probability weights[i] / Σ weights, by inverse-CDF sampling.   weights (n), n > 0
  virtual int64_t categorical(const double* weights, int64_t n) = 0;

  virtual RngState state() const = 0;
  /// Restores a state; returns false and changes nothing if it is not one of this generator.
  virtual bool restore(const RngState& state) = 0;

  /// As many calls of gauss.   -> out (n)
  void fill_gauss(double mean, double std, int64_t n, double* out);
  /// Permutes in place: Fisher-Yates, from the last item down (Knuth, TAOCP 2, algorithm 3.4.2 P).
  void shuffle(int64_t n, uint32_t* items);

 protected:
  /// An integer in 0 … n - 1.
  virtual uint64_t below(uint64_t n) = 0;
};

/// A newly seeded generator.
std::unique_ptr<RunRng> make_rng(Generator generator, uint64_t seed);

/// 0 … n - 1 in the orders of the epochs first … first + count - 1, where epochs are reshuffled: sorted by the
/// high bits of splitmix64(splitmix64(seed, epoch), index), then by index; src/motegpt/data/reshuffle.py.
///
///   -> orders (count, n)
void epoch_orders(uint64_t seed, uint64_t first, int64_t count, int64_t n, int64_t* orders);

}  // namespace motegpt
