// Random rows for the norm and the loss, and the expected results.
#pragma once

#include "buffers.hpp"
#include "motegpt/loss.hpp"
#include "motegpt/norm.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

template <class Real>
struct NormCase {
  int N, C;
  double eps = 1e-5;
  Array x, dy;
  Rowwise<Real> input, doutput;
  Buffer<Real> y, r, out;

  NormCase(Random& random, int N_, int C_)
      : N(N_),
        C(C_),
        x(rounded<Real>(random.normals(size_t(N * C)))),
        dy(rounded<Real>(random.normals(size_t(N * C)))),
        input(x, N, C),
        doutput(dy, N, C),
        y(N * padded<Real>(C)),
        r(N),
        out(N * padded<Real>(C)) {}

  NormTape<Real> tape() { return {y, r, out}; }

  void check_backward(const Real* dx, const std::string& what) const {
    check_gradient(dx, naive::rmsnorm_backward(N, C, eps, dy, x), what);
  }

  void check_gradient(const Real* dx, const Array& expected, const std::string& what) const {
    // In one channel the true gradient is nearly nothing, a difference of two large numbers.
    const double allowed = C == 1 ? 1e5 * tolerance<Real> : tolerance<Real>;
    check_padded<Real>(dx, expected, N, C, allowed, what);
  }
};

template <class Real>
struct LossCase {
  int N, V;
  Array logits, weights;
  std::vector<int> targets;
  Rowwise<Real> x, row_weights;
  Buffer<Real> inverse, target;

  LossCase(Random& random, int N_, int V_)
      : N(N_),
        V(V_),
        logits(rounded<Real>(random.normals(size_t(N * V)))),
        weights(rounded<Real>(random.normals(size_t(N)))),
        x(logits, N, V),
        row_weights(weights, 1, N),
        inverse(padded<Real>(N)),
        target(padded<Real>(N)) {
    for (int n = 0; n < N; ++n) targets.push_back(random.below(V));
  }

  LossTape<Real> tape() { return {inverse, target}; }

  /// The loss, and x, which holds the gradient of the logits by now.
  void check_results(double loss, double added_to_p, const std::string& what) {
    const naive::Loss expected = naive::cross_entropy(N, V, logits, targets, weights, added_to_p);
    check::near(loss, expected.loss, N, tolerance<Real>, what);
    check_padded<Real>(x, expected.dlogits, N, V, tolerance<Real>, what + ", dlogits");
  }
};

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL
