// y = x · Wᵀ and its backward, for the matrices of parameters.hpp.
#pragma once

#include "parameters.hpp"
#include "product.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// y = x · wᵀ, or y += x · wᵀ.   x (N, in), w (out, in) -> y (N, out)
template <class Real>
void linear(Index N, const Real* x, const Matrix& w, const Parameters<Real>& parameters, Real* y,
            bool accumulate) {
  multiply(N, padded<Real>(w.out), w.in, rows(x, padded<Real>(w.in)), parameters.transposed_matrix(w),
           row_major(y, padded<Real>(w.out)), accumulate);
}

/// dx = dy · w.   dy (N, out) -> dx (N, in)
template <class Real>
void linear_backward(Index N, const Real* dy, const Matrix& w, const Parameters<Real>& parameters, Real* dx) {
  multiply(N, padded<Real>(w.in), w.out, rows(dy, padded<Real>(w.out)), parameters.matrix(w),
           row_major(dx, padded<Real>(w.in)), false);
}

/// dw = dyᵀ · x, or dw += dyᵀ · x.   dy (N, out), x (N, in) -> its matrix in dw
template <class Real>
void linear_backward_weights(Index N, const Real* dy, const Matrix& w, const Real* x, Real* dw,
                             bool accumulate) {
  multiply(w.out, padded<Real>(w.in), N, transposed(dy, padded<Real>(w.out)),
           row_major(const_cast<Real*>(x), padded<Real>(w.in)), in_panels(dw + w.at, w.out), accumulate);
}

}  // namespace motegpt::MOTEGPT_LEVEL
