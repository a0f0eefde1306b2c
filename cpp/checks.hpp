// Checks shared by the bindings: dtype, shape and contiguity of arrays, and names.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "attributes.hpp"
#include "motegpt/core.hpp"
#include "motegpt/specification.hpp"
#include "to_numpy.hpp"

namespace motegpt::bindings {

namespace nb = nanobind;

using AnyArray = nb::ndarray<nb::ro, nb::device::cpu>;

inline std::string shape_text(const AnyArray& array) {
  std::string text = "(";
  for (size_t i = 0; i < array.ndim(); ++i) text += (i ? ", " : "") + std::to_string(array.shape(i));
  return text + ")";
}

/// NumPy's name of T: uint8, int64, float32.
template <class T>
std::string dtype_name() {
  const char* kind = std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint";
  return kind + std::to_string(8 * sizeof(T));
}

/// The numbers of a C-contiguous array of dtype T and the given shape, where -1 is any length.
template <class T>
const T* checked(const AnyArray& array, const char* what, const std::vector<int64_t>& shape) {
  if (array.dtype() != nb::dtype<T>()) {
    throw nb::type_error((std::string(what) + ": expected dtype " + dtype_name<T>() +
                          "; try numpy.ascontiguousarray(array, dtype=numpy." + dtype_name<T>() + ")")
                             .c_str());
  }
  bool fits = array.ndim() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i)
    fits = shape[i] < 0 || int64_t(array.shape(i)) == shape[i];
  if (!fits) {
    std::string expected = "(";
    for (size_t i = 0; i < shape.size(); ++i)
      expected += (i ? ", " : "") + (shape[i] < 0 ? "*" : std::to_string(shape[i]));
    throw nb::value_error(
        (std::string(what) + ": expected shape " + expected + "), got " + shape_text(array)).c_str());
  }
  int64_t stride = 1;
  for (size_t i = array.ndim(); i-- > 0; stride *= int64_t(array.shape(i))) {
    if (array.size() > 0 && array.shape(i) > 1 && array.stride(i) != stride) {
      throw nb::value_error(
          (std::string(what) + ": expected a C-contiguous array; try numpy.ascontiguousarray(array)")
              .c_str());
    }
  }
  return static_cast<const T*>(array.data());
}

template <class T>
std::vector<T> copied(const AnyArray& array, const char* what, const std::vector<int64_t>& shape) {
  const T* data = checked<T>(array, what, shape);
  return std::vector<T>(data, data + array.size());
}

/// The optimizer of that name; raises if there is none.
inline Optimizer optimizer_of(const std::string& name) {
  return choice_of<Optimizer>(name, optimizer_names, "Model: expected optimizer");
}

/// For each scalar of an optimizer, in the core's order, its place among `names`; raises if they do not
/// match.
inline std::vector<size_t> scalar_columns(Optimizer optimizer, const std::vector<std::string>& names) {
  const auto find = [&](const auto& expected) {
    std::vector<size_t> columns;
    std::string all;
    for (const char* name : expected) {
      columns.push_back(size_t(std::find(names.begin(), names.end(), name) - names.begin()));
      all += (all.empty() ? "" : ", ") + std::string(name);
    }
    if (columns.size() != names.size() || std::count(columns.begin(), columns.end(), names.size()))
      throw nb::value_error(("Model: expected the scalars " + all).c_str());
    return columns;
  };
  switch (optimizer) {
    case Optimizer::adam: return find(AdamScalars::names);
    case Optimizer::sgd: return find(SGDScalars::names);
  }
  __builtin_unreachable();
}

/// The level of that name, the fastest if None; raises if it cannot run here.
inline Level find_level(const std::optional<std::string>& name) {
  Level levels[4];
  const int count = usable_levels(levels);
  if (!name) return levels[0];
  std::string known;
  for (int i = 0; i < count; ++i) {
    if (*name == levels[i].name) return levels[i];
    known += (i ? ", " : "") + std::string(levels[i].name);
  }
  throw nb::value_error(("Model: expected level " + known + ", got " + *name).c_str());
}

/// Adds the class Decoder to the module.
void bind_decoder(nb::module_& module);

/// Adds the class Specification to the module.
void bind_specification(nb::module_& module);

}  // namespace motegpt::bindings
