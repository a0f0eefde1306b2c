// The specification of a model, as Python would pass it.
#pragma once

#include <set>

#include "check.hpp"
#include "motegpt/specification.hpp"

namespace motegpt {

/// Random keys of contexts. sizes: the number of contexts of 2, 3, … tokens
inline std::vector<std::vector<int64_t>> random_contexts(int vocab_size, const std::vector<int>& sizes) {
  check::Random random(9);
  std::vector<std::vector<int64_t>> keys;
  int rows = vocab_size;
  for (const int size : sizes) {
    std::set<int64_t> chosen;
    while (int(chosen.size()) < size) {
      const int64_t row = random.below(rows);
      chosen.insert(row << 20 | random.below(vocab_size));
    }
    keys.emplace_back(chosen.begin(), chosen.end());
    rows = size;
  }
  return keys;
}

/// contexts: how many of 2 tokens, of 3, …
inline Specification specify(int vocab_size, int block_size, int n_layer, int n_embd, int n_head, bool tied,
                             bool embedding_norm, Activation activation,
                             const std::vector<int>& contexts = {}, Position position = Position::learned,
                             bool qk_norm = false) {
  Shape shape{};
  shape.vocab_size = vocab_size;
  shape.block_size = block_size;
  shape.n_layer = n_layer;
  shape.n_embd = n_embd;
  shape.n_head = n_head;
  shape.n_hidden = 4 * n_embd;
  shape.embedding_norm = embedding_norm;
  shape.activation = activation;
  shape.norm_eps = 1e-5;
  shape.position = position;
  shape.rope_base = 100;
  shape.qk_norm = qk_norm;
  const int64_t C = n_embd, hidden = shape.n_hidden;
  std::vector<Tensor> tensors{{"wte", {vocab_size, C}, tied, true}};
  if (position == Position::learned) tensors.push_back({"wpe", {block_size, C}, false, true});
  for (size_t i = 0; i < contexts.size(); ++i)
    tensors.push_back({"ngram" + std::to_string(i + 2), {contexts[i], C}, false, false});
  if (!tied) tensors.push_back({"lm_head", {vocab_size, C}, true, true});
  for (int i = 0; i < n_layer; ++i) {
    const std::string layer = "layer" + std::to_string(i) + ".";
    for (const char* name : {"attn_wq", "attn_wk", "attn_wv", "attn_wo"})
      tensors.push_back({layer + name, {C, C}, true, true});
    if (qk_norm) tensors.push_back({layer + "attn_q_gain", {1}, false, false});
    tensors.push_back({layer + "mlp_fc1", {hidden, C}, true, true});
    tensors.push_back({layer + "mlp_fc2", {C, hidden}, true, true});
  }
  return Specification(shape, tensors, random_contexts(vocab_size, contexts));
}

/// Normal numbers for all parameters.
template <class Real>
std::vector<Real> random_parameters(const Shape& shape, double std) {
  check::Random random(5);
  std::vector<Real> w(size_t(shape.parameters));
  for (Real& value : w) value = Real(std * random.normal());
  return w;
}

}  // namespace motegpt
