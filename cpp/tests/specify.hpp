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

/// The rest of an architecture; today's presets have it as it is here.
struct Options {
  int n_kv_head = 0;  // 0: as many as heads
  int n_hidden = 0;   // 0: 4 n_embd
  bool bias = false;
  NormKind norm = NormKind::rms;
  bool norm_gain = false, norm_bias = false, final_norm = false;
};

/// The tensors of a model in the order of src/motegpt/model/spec.py.
class TensorList {
 public:
  TensorList(const Shape& shape, bool tied, const std::vector<int>& contexts) : shape_(shape) {
    const int64_t C = shape.n_embd, V = shape.vocab_size;
    add("wte", {V, C}, tied, true);
    if (shape.position == Position::learned) add("wpe", {shape.block_size, C}, false, true);
    for (size_t i = 0; i < contexts.size(); ++i)
      add("ngram" + std::to_string(i + 2), {contexts[i], C}, false, false);
    if (!tied) add("lm_head", {V, C}, true, true);
    for (int i = 0; i < shape.n_layer; ++i) add_layer("layer" + std::to_string(i) + ".");
    if (shape.final_norm) add_norm("ln_f");
  }

  std::vector<Tensor> list;

 private:
  struct Matrix {
    const char* name;
    int64_t out, in;
  };

  void add(const std::string& name, const std::vector<int64_t>& shape, bool product, bool decayed) {
    list.push_back({name, shape, product, decayed});
  }

  void add_norm(const std::string& place) {
    if (shape_.norm_gain) add(place + "_gain", {shape_.n_embd}, false, false);
    if (shape_.norm_bias) add(place + "_bias", {shape_.n_embd}, false, false);
  }

  void add_matrices(const std::string& module, const std::vector<Matrix>& matrices) {
    for (const auto& [name, out, in] : matrices) add(module + name, {out, in}, true, true);
    for (const auto& [name, out, in] : matrices) {
      if (shape_.bias) add(module + name + "_bias", {out}, false, false);
    }
  }

  void add_layer(const std::string& module) {
    const int64_t C = shape_.n_embd, kv = shape_.kv_size(), hidden = shape_.n_hidden;
    add_norm(module + "ln1");
    add_matrices(module, {{"attn_wq", C, C}, {"attn_wk", kv, C}, {"attn_wv", kv, C}, {"attn_wo", C, C}});
    if (shape_.qk_norm) add(module + "attn_q_gain", {1}, false, false);
    add_norm(module + "ln2");
    std::vector<Matrix> mlp{{"mlp_fc1", hidden, C}, {"mlp_fc2", C, hidden}};
    if (shape_.gated()) mlp.insert(mlp.begin(), {"mlp_gate", hidden, C});
    add_matrices(module, mlp);
  }

  const Shape& shape_;
};

/// contexts: how many of 2 tokens, of 3, …
inline Specification specify(int vocab_size, int block_size, int n_layer, int n_embd, int n_head, bool tied,
                             bool embedding_norm, Activation activation,
                             const std::vector<int>& contexts = {}, Position position = Position::learned,
                             bool qk_norm = false, const Options& options = {}) {
  Shape shape{};
  shape.vocab_size = vocab_size;
  shape.block_size = block_size;
  shape.n_layer = n_layer;
  shape.n_embd = n_embd;
  shape.n_head = n_head;
  shape.n_kv_head = options.n_kv_head ? options.n_kv_head : n_head;
  shape.n_hidden = options.n_hidden ? options.n_hidden : 4 * n_embd;
  shape.bias = options.bias;
  shape.embedding_norm = embedding_norm;
  shape.activation = activation;
  shape.norm = options.norm;
  shape.norm_gain = options.norm_gain;
  shape.norm_bias = options.norm_bias;
  shape.final_norm = options.final_norm;
  shape.norm_eps = 1e-5;
  shape.position = position;
  shape.rope_base = 100;
  shape.qk_norm = qk_norm;
  return Specification(shape, TensorList(shape, tied, contexts).list, random_contexts(vocab_size, contexts));
}

/// Models that have every option, alone or with others.
inline std::vector<Specification> architectures() {
  return {
      // vocabulary, block, layers, channels, heads, tied, embedding norm, activation, contexts, position,
      // QK norm, {kv heads, hidden channels, bias, norm, gain, bias, final norm}
      specify(11, 9, 2, 12, 2, true, false, Activation::gelu, {}, Position::learned, false,
              {2, 0, true, NormKind::layer, true, true, true}),
      specify(9, 12, 2, 24, 4, false, true, Activation::swiglu, {}, Position::rope, false,
              {2, 19, false, NormKind::rms, true, false, true}),
      specify(9, 40, 1, 32, 8, false, false, Activation::swiglu, {}, Position::rope, true,
              {1, 32, true, NormKind::layer, false, true, true}),
      specify(9, 12, 2, 16, 4, true, true, Activation::gelu_tanh, {}, Position::none, true,
              {4, 5, true, NormKind::none, false, false, false}),
  };
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
