// A test harness of a page: numbers at random, comparison, and a count of failures for the exit code.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

namespace check {

inline int failures = 0;
inline int comparisons = 0;

inline void report(const std::string& what, double got, double expected, double error) {
  if (++failures <= 20)
    std::printf("FAILED %s: got %.9g, expected %.9g, error %.3g\n", what.c_str(), got, expected, error);
}

inline void that(bool holds, const std::string& what) {
  ++comparisons;
  if (!holds && ++failures <= 20) std::printf("FAILED %s\n", what.c_str());
}

/// |got - expected| must be within `tolerance` of `scale`, the size of the numbers it was computed from.
inline void near(double got, double expected, double scale, double tolerance, const std::string& what) {
  ++comparisons;
  const double error = std::fabs(got - expected) / (scale > 0 ? scale : 1);
  if (!(error <= tolerance)) report(what, got, expected, error);
}

inline double largest(const std::vector<double>& x) {
  double top = 0;
  for (const double value : x) top = std::fmax(top, std::fabs(value));
  return top;
}

/// rows of `got`, `stride` apart, against expected (rows, columns).
template <class Real>
void near_rows(const Real* got, long long stride, const std::vector<double>& expected, int rows, int columns,
               double tolerance, const std::string& what) {
  const double scale = largest(expected);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      near(double(got[r * stride + c]), expected[size_t(r * columns + c)], scale, tolerance, what);
    }
  }
}

/// What rows of `got` hold beyond their numbers, up to `stride`, must be zero: the core's promise.
template <class Real>
void zero_beyond(const Real* got, long long stride, int rows, int columns, const std::string& what) {
  for (int r = 0; r < rows; ++r) {
    for (long long c = columns; c < stride; ++c) that(got[r * stride + c] == 0, what + ": padding");
  }
}

/// A small generator of its own, so that a failure can be repeated.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return uint32_t(state_ >> 33);
  }
  double uniform() { return bits() / 2147483648.0; }
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
  int below(int n) { return int(bits() % uint32_t(n)); }
  std::vector<double> normals(size_t count) {
    std::vector<double> x(count);
    for (double& value : x) value = normal();
    return x;
  }

 private:
  uint64_t state_;
};

inline int verdict(const char* name) {
  std::printf("%s: %d comparisons, %d failures\n", name, comparisons, failures);
  return failures ? 1 : 0;
}

}  // namespace check
