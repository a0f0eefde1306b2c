// The Python class NGrams: tables of Kneser-Ney n-grams, checked and copied.
#pragma once

#include <tuple>

#include "checks.hpp"
#include "motegpt/generation.hpp"

namespace motegpt::bindings {

/// The tables of n-grams, which generation.hpp describes.
class KneserNeyTables {
 public:
  /// children, first, starts, last, share, backoff
  using Arrays = std::tuple<AnyArray, AnyArray, AnyArray, AnyArray, AnyArray, AnyArray>;

  /// levels: those of 2, 3, … tokens; unigrams (V)
  KneserNeyTables(const std::vector<Arrays>& levels, const AnyArray& unigrams);

  int64_t vocab_size() const { return int64_t(unigrams_.size()); }
  /// Views of the tables; weight: of the n-grams in the average.
  NGrams view(double weight) const;

 private:
  struct Level {
    std::vector<int64_t> children, starts;
    std::vector<int32_t> first, last;
    std::vector<double> share, backoff;
  };

  Level checked_level(const Arrays& arrays, int64_t shorter) const;

  std::vector<Level> levels_;
  std::vector<double> unigrams_;
};

/// Adds the class NGrams to the module.
void bind_n_grams(nb::module_& module);

}  // namespace motegpt::bindings
