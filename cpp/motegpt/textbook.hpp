// The loss, and the backward of every operation, as model.hpp puts them together.
#pragma once

#include "activation.hpp"
#include "attention.hpp"
#include "embedding.hpp"
#include "linear.hpp"
#include "loss.hpp"
#include "narrow_attention.hpp"
#include "norm.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Where a backward pass finds the parameters and leaves their gradients.
template <class Real>
struct BackwardPass {
  const Parameters<Real>& w;
  Real* dw;         // (layout.size())
  bool accumulate;  // add to what is there

  Columns<Real> gradient(const Matrix& of) const { return in_panels(dw + of.at, of.out); }
};

/// The calculus of textbooks. node_clip.hpp has another, which takes its place where it is asked for.
template <class Real>
struct Textbook {
  static constexpr bool head_by_head = false;  // narrow attention will do, where it is faster

  /// Loss in nats; logits (N, V) become their gradient.
  double loss(Index N, Index V, Real* logits, const int* targets, const Real* weights,
              LossTape<Real> tape) const {
    const double loss = cross_entropy(N, V, logits, targets, weights, tape);
    cross_entropy_backward(N, V, logits, targets, weights, tape);
    return loss;
  }

  /// Of y = x · matrixᵀ.   dy (N, out), x (N, in) -> dx (N, in) and the gradient of the matrix
  void linear(Index N, Real* dy, const Matrix& matrix, const Real* x, Real* dx,
              const BackwardPass<Real>& pass) const {
    linear_backward_weights(N, dy, matrix, x, pass.dw, pass.accumulate);
    linear_backward(N, dy, matrix, pass.w, dx);
  }

  void activation(Activation kind, Index count, const Real* u, Real* dg) const {
    activate_backward(kind, count, u, dg);
  }

  void attention(const Head<Real>& head, const Real* p, Real* dy, Real* dqkv,
                 const AttentionScratch<Real>& scratch) const {
    attention_backward(head, p, dy, dqkv, scratch);
  }

  void rmsnorm(Index N, Index C, Real* dy, const Real* y, const Real* r, Real* dx, bool accumulate) const {
    rmsnorm_backward(N, C, dy, y, r, dx, accumulate);
  }

  void embedding(Index N, Index C, const int* ids, const int* positions, Real* dx, Columns<Real> dwte,
                 Columns<Real> dwpe) const {
    embedding_backward(N, C, ids, positions, dx, dwte, dwpe);
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
