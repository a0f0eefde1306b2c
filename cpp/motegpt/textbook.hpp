// The loss, and the backward of every operation, as layer.hpp and model.hpp compose them.
#pragma once

#include "activation.hpp"
#include "attention.hpp"
#include "embedding.hpp"
#include "linear.hpp"
#include "loss.hpp"
#include "norm.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The calculus of textbooks. node_clip.hpp has an alternative for the operations of Oxidized-GPT; the
/// backward of any other operation is called in layer.hpp directly, without a member here.
template <class Real>
struct Textbook {
  static constexpr bool head_by_head = false;  // narrow attention is allowed

  /// Loss in nats; logits (N, V) become their gradient.
  double loss(Index N, Index V, Real* logits, const int* targets, const Real* weights,
              LossTape<Real> tape) const {
    const double loss = cross_entropy(N, V, logits, targets, weights, tape);
    cross_entropy_backward(N, V, logits, targets, weights, tape);
    return loss;
  }

  void linear(const auto&... given) const { linear_backward_all(given...); }
  void activation(const auto&... given) const { activate_backward(given...); }
  void attention(const auto&... given) const { attention_backward(given...); }
  void rmsnorm(const auto&... given) const { rmsnorm_backward(given...); }
  void embedding(const auto&... given) const { embedding_backward(given...); }
};

}  // namespace motegpt::MOTEGPT_LEVEL
