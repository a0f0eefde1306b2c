// The model as Python specifies it, and the offsets of its matrices. Compiled once, for all processor levels.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "context_trie.hpp"
#include "core.hpp"

namespace motegpt {

/// A tensor as src/motegpt/model/spec.py lists it.
struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  bool product;  // a factor of matrix products
  bool decayed;  // weight decay applies to it
};

/// The sizes of a model, and its matrices, looked up by name.
class Specification {
 public:
  /// tensors: all of them, in the order of the canonical flat array; shape.tied and shape.parameters
  /// are derived from them. contexts: keys of the tables ngram2, ngram3, … as in ContextTrie. Fails
  /// (fail.hpp) for a model that the core cannot compute.
  Specification(const Shape& shape, const std::vector<Tensor>& tensors,
                const std::vector<std::vector<int64_t>>& contexts = {});

  const Shape& shape() const { return shape_; }
  Places places() const { return {places_.data(), int64_t(places_.size()), tables_, contexts_->view()}; }
  /// Keeps the contexts of `places` alive.
  std::shared_ptr<const ContextTrie> contexts() const { return contexts_; }

 private:
  Shape shape_;
  std::vector<Place> places_;
  Place tables_{};
  std::shared_ptr<const ContextTrie> contexts_;
};

}  // namespace motegpt
