// The model as Python specifies it, and the offsets of its matrices. Compiled once, for all processor levels.
#pragma once

#include <string>
#include <vector>

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
  /// are derived from them. Throws std::invalid_argument for a model that the core cannot compute.
  Specification(const Shape& shape, const std::vector<Tensor>& tensors);

  const Shape& shape() const { return shape_; }
  Places places() const { return {places_.data(), int64_t(places_.size())}; }

 private:
  Shape shape_;
  std::vector<Place> places_;
};

}  // namespace motegpt
