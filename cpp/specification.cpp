#include "motegpt/specification.hpp"

#include <map>

#include "motegpt/fail.hpp"

namespace motegpt {
namespace {

constexpr int64_t most_parameters = 2147483647;

[[noreturn]] void refuse(const std::string& reason) { fail("Specification: " + reason); }

void check_sizes(const Shape& shape) {
  for (const auto& [name, size] : {std::pair{"vocab_size", shape.vocab_size},
                                   {"block_size", shape.block_size},
                                   {"n_layer", shape.n_layer},
                                   {"n_embd", shape.n_embd},
                                   {"n_head", shape.n_head},
                                   {"n_kv_head", shape.n_kv_head},
                                   {"n_hidden", shape.n_hidden}}) {
    if (size < 1) refuse(std::string("expected ") + name + " of at least 1, got " + std::to_string(size));
  }
  if (shape.n_embd % shape.n_head) refuse("expected n_embd to be a multiple of n_head");
  if (shape.n_head % shape.n_kv_head) refuse("expected n_head to be a multiple of n_kv_head");
  if (!(shape.norm_eps > 0)) refuse("expected norm_eps above 0");
  if (shape.position == Position::rope) {
    if (shape.head_size() % 2) refuse("expected an even n_embd / n_head with position rope");
    if (!(shape.rope_base > 1)) refuse("expected rope_base above 1");
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + ")";
}

/// A matrix of a layer, and its rows.
struct Part {
  std::string name;
  int64_t out;
};

/// Tensors by name, each with the place of its numbers in the flat array.
class Table {
 public:
  explicit Table(const std::vector<Tensor>& tensors) {
    for (const Tensor& tensor : tensors) {
      if (!tensors_.emplace(tensor.name, std::pair{tensor, parameters_}).second)
        refuse("got two tensors " + tensor.name);
      int64_t size = 1;
      for (const int64_t length : tensor.shape) {
        if (length < 1) refuse("expected sizes of at least 1, got " + tensor.name + shape_text(tensor.shape));
        if (size > most_parameters / length) size = most_parameters + 1;
        if (size <= most_parameters) size *= length;
      }
      parameters_ += size;
      if (parameters_ > most_parameters)
        refuse("expected at most " + std::to_string(most_parameters) + " parameters");
    }
  }

  int64_t parameters() const { return parameters_; }
  bool has(const std::string& name) const { return tensors_.count(name) > 0; }

  /// The matrix of that name, which the core expects to be (out, in); multiplied: it multiplies by it.
  Place take(const std::string& name, int64_t out, int64_t in, bool multiplied = true) {
    const auto [tensor, flat] = take_tensor(name, {out, in});
    if (multiplied && !tensor.product) refuse("expected " + name + " to be a factor of a product");
    return {out, in, flat, tensor.product, tensor.decayed};
  }

  /// The vector (size,) of that name; that of layer0.ln1 called gain is layer0.ln1_gain.
  Place take_vector(const std::string& name, int64_t size) {
    const auto [tensor, flat] = take_tensor(name, {size});
    return {1, size, flat, false, tensor.decayed};
  }

  /// The matrices (out, in) of those names and sizes, which follow each other, as one.
  Place take_stacked(const std::vector<Part>& parts, int64_t in) {
    Place all = take(parts[0].name, parts[0].out, in);
    for (size_t i = 1; i < parts.size(); ++i) {
      const Place next = take(parts[i].name, parts[i].out, in);
      if (next.flat != all.flat + all.out * in || next.product != all.product || next.decayed != all.decayed)
        refuse("expected " + parts[i].name + " to follow " + parts[i - 1].name + ", and to be used like it");
      all.out += parts[i].out;
    }
    return all;
  }

  /// Their biases, as one vector.
  Place take_stacked_biases(const std::vector<Part>& parts) {
    Place all{1, 0, 0, false, false};
    all.bias = true;
    for (const Part& part : parts) {
      const Place next = take_vector(part.name + "_bias", part.out);
      if (all.in == 0) all.flat = next.flat;
      if (next.flat != all.flat + all.in || next.decayed)
        refuse("expected " + part.name + "_bias to follow the bias before it, without weight decay");
      all.in += part.out;
    }
    return all;
  }

  /// The tables ngram2, ngram3, … as one, with as many rows as there are contexts.
  Place take_tables(const std::vector<std::vector<int64_t>>& contexts, int64_t C) {
    if (contexts.size() > Contexts::max_orders) refuse("expected contexts of at most 8 tokens");
    Place all{};
    for (size_t i = 0; i < contexts.size(); ++i) {
      const std::string name = "ngram" + std::to_string(i + 2);
      const Place next = take(name, int64_t(contexts[i].size()), C, false);
      if (i == 0) all.flat = next.flat;
      if (next.flat != all.flat + all.out * C) refuse("expected " + name + " to follow the table before it");
      all.out += next.out;
    }
    all.in = C;
    return all;
  }

  /// Raises if a tensor was not taken.
  void check_all_taken() const {
    if (!tensors_.empty()) {
      refuse("the native engine does not compute with " + tensors_.begin()->first +
             "; try another engine, such as `engine='array'`");
    }
  }

 private:
  /// The tensor of that name and shape, and its place in the flat array.
  std::pair<Tensor, int64_t> take_tensor(const std::string& name, const std::vector<int64_t>& shape) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) refuse("expected a tensor " + name);
    auto taken = std::move(found->second);
    if (taken.first.shape != shape)
      refuse(name + " expected shape " + shape_text(shape) + ", got " + shape_text(taken.first.shape));
    tensors_.erase(found);
    return taken;
  }

  std::map<std::string, std::pair<Tensor, int64_t>> tensors_;
  int64_t parameters_ = 0;
};

/// The vector of an operation, such as the gain of ln1 in "layer0.".
void take_vector(const std::string& module, const char* owner, const char* name, int64_t size, Table& table,
                 std::vector<Place>& places) {
  places.push_back(table.take_vector(module + owner + "_" + name, size));
  places.back().owner = owner;
  places.back().name = name;
}

void take_norm(const Shape& shape, const std::string& module, const char* owner, Table& table,
               std::vector<Place>& places) {
  if (shape.norm_gain) take_vector(module, owner, "gain", shape.n_embd, table, places);
  if (shape.norm_bias) take_vector(module, owner, "bias", shape.n_embd, table, places);
}

void take_layer(const Shape& shape, const std::string& module, Table& table, std::vector<Place>& places) {
  const int64_t C = shape.n_embd, kv = shape.kv_size(), hidden = shape.n_hidden;
  const auto take = [&](std::vector<Part> parts, int64_t in) {
    for (Part& part : parts) part.name = module + part.name;
    places.push_back(table.take_stacked(parts, in));
    if (shape.bias) places.push_back(table.take_stacked_biases(parts));
  };
  take({{"attn_wq", C}, {"attn_wk", kv}, {"attn_wv", kv}}, C);
  take({{"attn_wo", C}}, C);
  if (shape.gated()) {
    take({{"mlp_gate", hidden}, {"mlp_fc1", hidden}}, C);
  } else {
    take({{"mlp_fc1", hidden}}, C);
  }
  take({{"mlp_fc2", C}}, hidden);
  take_norm(shape, module, "ln1", table, places);
  take_norm(shape, module, "ln2", table, places);
  if (shape.qk_norm) take_vector(module, "attn_q", "gain", 1, table, places);
}

}  // namespace

Specification::Specification(const Shape& shape, const std::vector<Tensor>& tensors,
                             const std::vector<std::vector<int64_t>>& contexts)
    : shape_(shape) {
  check_sizes(shape);
  Table table(tensors);
  const int64_t C = shape.n_embd;
  shape_.tied = !table.has("lm_head");
  shape_.parameters = table.parameters();
  places_.push_back(table.take("wte", shape.vocab_size, C, shape_.tied));
  if (shape.position == Position::learned) places_.push_back(table.take("wpe", shape.block_size, C, false));
  tables_ = table.take_tables(contexts, C);
  if (!shape_.tied) places_.push_back(table.take("lm_head", shape.vocab_size, C));
  for (int i = 0; i < shape.n_layer; ++i)
    take_layer(shape, "layer" + std::to_string(i) + ".", table, places_);
  if (shape.final_norm) take_norm(shape, "", "ln_f", table, places_);
  table.check_all_taken();
  contexts_ = std::make_shared<const ContextTrie>(shape.vocab_size, contexts);
}

}  // namespace motegpt
