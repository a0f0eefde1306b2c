// Linear layer: y = x · Wᵀ, plus its bias if there is one, for the matrices of parameters.hpp.
#pragma once

#include "parameters.hpp"
#include "vector_product.hpp"
#include "vectors.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// y = x · Wᵀ + bias, or y += x · Wᵀ + bias.   x (N, in), W (out, in), bias (out) -> y (N, out)
template <class Real>
void linear(Index N, const Real* x, const Matrix& w, const Parameters<Real>& parameters, Real* y,
            bool accumulate) {
  const Index out = padded<Real>(w.out);
  const Rows<Real> left = rows(x, padded<Real>(w.in));
  const Columns<Real> right = parameters.transposed_matrix(w), result = row_major(y, out);
  if (w.bias >= 0 && !accumulate)
    return multiply<Real>(N, out, w.in, left, right, result, parameters.w + w.bias);
  if (w.bias >= 0) add_to_rows<Real>(N, w.out, parameters.w + w.bias, y);
  multiply(N, out, w.in, left, right, result, accumulate);
}

/// dx = dy · W.   dy (N, out) -> dx (N, in)
template <class Real>
void linear_backward(Index N, const Real* dy, const Matrix& w, const Parameters<Real>& parameters, Real* dx) {
  multiply(N, padded<Real>(w.in), w.out, rows(dy, padded<Real>(w.out)), parameters.matrix(w),
           row_major(dx, padded<Real>(w.in)), false);
}

/// dW = dyᵀ · x, or dW += dyᵀ · x.   dy (N, out), x (N, in) -> dW (out, in), at its place in dw
template <class Real>
void linear_backward_weights(Index N, const Real* dy, const Matrix& w, const Real* x, Real* dw,
                             bool accumulate) {
  multiply(w.out, padded<Real>(w.in), N, transposed(dy, padded<Real>(w.out)),
           row_major(const_cast<Real*>(x), padded<Real>(w.in)), in_panels(dw + w.at, w.out), accumulate);
}

/// dx = dy · W, dW = dyᵀ · x and dbias = Σ dy, the latter in pass.dw.
///
///   dy (N, out), x (N, in) -> dx (N, in), dW (out, in), dbias (out)
template <class Real>
void linear_backward_all(Index N, const Real* dy, const Matrix& w, const Real* x, Real* dx,
                         const BackwardPass<Real>& pass) {
  linear_backward(N, dy, w, pass.w, dx);  // first: the next operation waits for it
  linear_backward_weights(N, dy, w, x, pass.dw, pass.accumulate);
  if (w.bias >= 0) sum_rows<Real>(N, w.out, dy, pass.dw + w.bias, pass.accumulate);
}

/// y = x · Wᵀ + bias for one position of `width` sequences, with rows first … first + count - 1 of W.
///
///   x (in, width), parameters (P) canonical -> y (count, width)
template <class Real>
void linear_step(StepWidth width, const Real* x, const Matrix& w, Index first, Index count,
                 const Real* parameters, Real* y, bool accumulate) {
  const Real* rows_of_w = parameters + w.flat + first * w.in;
  if (w.bias >= 0) fill_rows<Real>(count, width, parameters + w.bias_flat + first, y, accumulate);
  accumulate |= w.bias >= 0;
  if (width.single) return multiply_vector_shared<Real>(count, w.in, rows_of_w, x, width, y, accumulate);
  multiply(count, width, w.in, rows(rows_of_w, w.in), row_major(const_cast<Real*>(x), width.columns),
           row_major(y, width.columns), accumulate);
}

/// The same with all rows of W.   x (in, width) -> y (out, width)
template <class Real>
void linear_step(StepWidth width, const Real* x, const Matrix& w, const Real* parameters, Real* y,
                 bool accumulate) {
  linear_step(width, x, w, 0, w.out, parameters, y, accumulate);
}

}  // namespace motegpt::MOTEGPT_LEVEL
