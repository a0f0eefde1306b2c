// Shared by the tests of one processor level: numbers in the layout of the core, and a check that the level
// can run here.
#pragma once

#include <algorithm>
#include <cstring>

#include "check.hpp"
#include "motegpt/core.hpp"
#include "motegpt/view.hpp"
#include "naive.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

using check::Random;
using naive::Array;

const int sizes[] = {1, 7, 15, 16, 17, 31, 33, 65};

/// Largest error of a kernel relative to the largest number of its result: rounding of sums of up to 200
/// products, some tens of units in the last place (a sum of squares over a whole model: some hundred).
template <class Real>
constexpr double tolerance = sizeof(Real) == 4 ? 1e-5 : 5e-14;

/// Whole vectors at an aligned address, NaN where nothing was written.
template <class Real>
class Buffer {
 public:
  explicit Buffer(Index count) : memory_((count + lanes<Real>)*Index(sizeof(Real)) + 64) {
    Arena arena(memory_.data());
    data_ = arena.take<Real>(count);
    std::fill(data_, data_ + count, Real(NAN));
  }
  operator Real*() { return data_; }
  Real* get() { return data_; }

 private:
  Memory memory_;
  Real* data_;
};

/// (rows, columns) -> rows in whole vectors, zeros at the end.
template <class Real>
void spread(const Array& x, int rows, int columns, Real* out) {
  for (int r = 0; r < rows; ++r) {
    for (Index c = 0; c < padded<Real>(columns); ++c) {
      out[r * padded<Real>(columns) + c] = c < columns ? Real(x[size_t(r * columns + c)]) : Real(0);
    }
  }
}

/// The numbers as the precision has them, so that both sides start from the same.
template <class Real>
Array rounded(Array x) {
  for (double& value : x) value = Real(value);
  return x;
}

template <class Real>
struct Rowwise : Buffer<Real> {
  Rowwise(const Array& x, int rows, int columns) : Buffer<Real>(rows * padded<Real>(columns)) {
    spread(x, rows, columns, this->get());
  }
};

/// Rows in whole vectors: their numbers as expected, zeros behind them.
template <class Real>
void check_padded(const Real* got, const Array& expected, int rows, int columns, double allowed,
                  const std::string& what) {
  check::near_rows(got, padded<Real>(columns), expected, rows, columns, allowed, what);
  check::zero_beyond(got, padded<Real>(columns), rows, columns, what);
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

#define MOTEGPT_TEXT_OF(name) #name
#define MOTEGPT_TEXT(name) MOTEGPT_TEXT_OF(name)

namespace check {

/// Runs the tests if this processor can. Returns the exit code; 77 says that they were skipped.
inline int run_at_level(const char* subject, void (*tests)()) {
  const char* name = MOTEGPT_TEXT(MOTEGPT_LEVEL);
  motegpt::Level levels[4];
  const int count = motegpt::usable_levels(levels);
  const auto is_this = [name](const motegpt::Level& level) { return std::strcmp(level.name, name) == 0; };
  if (!std::any_of(levels, levels + count, is_this)) {
    std::printf("%s: this processor cannot run the level %s\n", subject, name);
    return 77;
  }
  tests();
  return verdict((std::string(subject) + ", " + name).c_str());
}

}  // namespace check
