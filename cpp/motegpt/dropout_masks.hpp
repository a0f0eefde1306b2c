// Dropout masks, by the rules of src/motegpt/model/dropout.py: functions of where a number is.
#pragma once

#include "core.hpp"
#include "simd.hpp"
#include "streams.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The masks of one step; without arguments there is no dropout.
struct DropoutMasks {
  uint64_t step = 0;               // splitmix64(seed, step)
  double ordinary = 0, ngram = 0;  // probabilities

  DropoutMasks() = default;
  DropoutMasks(const Dropout& dropout, int64_t step)
      : step(splitmix64(dropout.seed, uint64_t(step))), ordinary(dropout.ordinary), ngram(dropout.ngram) {}

  /// The key of the mask at a site of one document of the batch.
  unsigned key(Index site, Index document) const {
    return unsigned(splitmix64(splitmix64(step, uint64_t(site)), uint64_t(document)) >> 32);
  }
};

/// What numbers are multiplied by: 0 with probability p, otherwise 1 / (1 - p).
template <class Real>
class DropoutMask {
 public:
  static constexpr unsigned golden = 0x9E3779B9;  // 2^32 / φ

  explicit DropoutMask(double p)
      : threshold_(threshold(p)), scale_(bits_of<Real>(broadcast(Real(1 / (1 - p))))) {}

  /// The factors of a few numbers.   start: key + index · golden, for each
  MOTEGPT_INLINE Vector<Real> operator()(Words32<Real> start) const {
    return of_bits<Real>(__builtin_convertvector(hash(start) >= threshold_, BitVector<Real>) & scale_);
  }

  /// Whether one number is dropped.
  bool drops(unsigned key, unsigned index) const { return hash(key + index * golden) < threshold_; }

 private:
  static unsigned threshold(double p) {
    const uint64_t rounded = uint64_t(__builtin_rint(p * 0x1p32));
    return rounded >> 32 ? ~0u : unsigned(rounded);
  }

  /// The finalizer of MurmurHash3 (Appleby, 2011).
  template <class Words>
  MOTEGPT_INLINE static Words hash(Words h) {
    h = (h ^ (h >> 16)) * 0x85EBCA6B;
    h = (h ^ (h >> 13)) * 0xC2B2AE35;
    return h ^ (h >> 16);
  }

  unsigned threshold_;
  BitVector<Real> scale_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
