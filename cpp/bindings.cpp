// The Python module: checks what it is given, releases the interpreter lock, calls the core. No
// mathematics here. Whatever Python may change while the lock is released is copied first.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "checks.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace motegpt::bindings;
using motegpt::AdamRates;
using motegpt::Batches;
using motegpt::Clips;
using motegpt::Core;
using motegpt::Shape;
using motegpt::Specification;

/// Call f with the token ids, in the width they come in.
template <class F>
void with_ids(const AnyArray& tokens, const std::string& what, F f) {
  const std::vector<int64_t> any{-1};
  if (tokens.dtype() == nb::dtype<uint8_t>()) return f(checked<uint8_t>(tokens, what.c_str(), any));
  if (tokens.dtype() == nb::dtype<uint16_t>()) return f(checked<uint16_t>(tokens, what.c_str(), any));
  if (tokens.dtype() == nb::dtype<uint32_t>()) return f(checked<uint32_t>(tokens, what.c_str(), any));
  if (tokens.dtype() == nb::dtype<int32_t>()) return f(checked<int32_t>(tokens, what.c_str(), any));
  throw nb::type_error((what + ": expected dtype uint8, uint16, uint32 or int32").c_str());
}

/// The sequences of some steps, checked and copied out of flat memory that may hold many more: sequence s is
/// tokens[starts[s]], and lengths[s] tokens in all.
class Steps {
 public:
  /// starts, lengths and weights have the shape (B) for one step, else (count, B).
  Steps(const Shape& shape, const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
        std::vector<double>&& weights, const std::vector<int64_t>& dimensions, const std::string& operation)
      : weights_(std::move(weights)) {
    const auto first = copied<int64_t>(starts, (operation + ": starts").c_str(), dimensions);
    const auto size = copied<int64_t>(lengths, (operation + ": lengths").c_str(), dimensions);
    with_ids(tokens, operation + ": tokens", [&]<class Id>(const Id* ids) {
      for (size_t s = 0; s < first.size(); ++s) {
        if (size[s] < 2 || size[s] > int64_t(shape.block_size) + 1) {
          throw nb::value_error((operation + ": expected sequences of 2 … block_size + 1 = " +
                                 std::to_string(shape.block_size + 1) + " tokens, got one of " +
                                 std::to_string(size[s]))
                                    .c_str());
        }
        const int64_t last_start = int64_t(tokens.size()) - size[s];
        if (first[s] < 0 || first[s] > last_start) {
          throw nb::index_error((operation + ": expected sequences within the " +
                                 std::to_string(tokens.size()) + " tokens, got one of " +
                                 std::to_string(size[s]) + " from " + std::to_string(first[s]))
                                    .c_str());
        }
        copy(ids + first[s], size[s], shape.vocab_size, operation);
      }
    });
    batches_ = {tokens_.data(), offsets_.data(), 1, int64_t(first.size()), weights_.data()};
    if (dimensions.size() == 2) {
      batches_.count = dimensions[0];
      batches_.batch_size = dimensions[1];
    }
    if (batches_.count && !batches_.batch_size)
      throw nb::value_error((operation + ": expected at least one sequence a step").c_str());
  }

  const Batches& batches() const { return batches_; }
  /// Positions of all steps.
  size_t positions() const { return tokens_.size() + 1 - offsets_.size(); }

 private:
  template <class Id>
  void copy(const Id* ids, int64_t length, int vocab_size, const std::string& operation) {
    for (int64_t t = 0; t < length; ++t) {
      if (uint32_t(ids[t]) >= uint32_t(vocab_size)) {
        throw nb::value_error((operation + ": expected token ids in 0 … vocab_size - 1 = " +
                               std::to_string(vocab_size - 1) + ", got " + std::to_string(ids[t]))
                                  .c_str());
      }
      tokens_.push_back(int32_t(ids[t]));
    }
    offsets_.push_back(int64_t(tokens_.size()));
  }

  std::vector<int32_t> tokens_;
  std::vector<int64_t> offsets_{0};
  std::vector<double> weights_;
  Batches batches_;
};

double bound_of(std::optional<double> clip, const char* what) {
  if (clip && !(*clip > 0))
    throw nb::value_error((std::string(what) + ": expected a bound above 0, or None").c_str());
  return clip.value_or(std::numeric_limits<double>::infinity());
}

class Model {
 public:
  Model(const Specification& specification, const std::string& dtype, std::optional<std::string> level,
        int threads, bool checkpoint_activations)
      : shape_(specification.shape()) {
    if (threads < 0 || threads > 256)
      throw nb::value_error("Model: expected threads in 1 … 256, or 0 for every core");
    const motegpt::Level& chosen = find_level(level);
    level_ = chosen.name;
    const motegpt::Execution execution{threads, checkpoint_activations};
    if (dtype == "float32") {
      core_ = std::unique_ptr<Core<float>>(chosen.make_float(shape_, specification.places(), execution));
    } else if (dtype == "float64") {
      core_ = std::unique_ptr<Core<double>>(chosen.make_double(shape_, specification.places(), execution));
    } else {
      throw nb::value_error(("Model: expected dtype float32 or float64, got " + dtype).c_str());
    }
  }

  std::string level() const { return level_; }

  void load(const AnyArray& parameters, const AnyArray& m, const AnyArray& v) {
    with_core("load", [&]<class Real>(Core<Real>& core) {
      const std::vector<int64_t> size{shape_.parameters};
      const Real* p = checked<Real>(parameters, "load: parameters", size);
      core.load(p, checked<Real>(m, "load: m", size), checked<Real>(v, "load: v", size));
    });
  }

  nb::tuple store() {
    nb::tuple result;
    with_core("store", [&]<class Real>(Core<Real>& core) {
      const size_t size = size_t(shape_.parameters);
      std::vector<Real> p(size), m(size), v(size);
      core.store(p.data(), m.data(), v.data());
      result = nb::make_tuple(to_numpy(std::move(p), {size}), to_numpy(std::move(m), {size}),
                              to_numpy(std::move(v), {size}));
    });
    return result;
  }

  nb::object train(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                   const AnyArray& weights, const AnyArray& rates, std::optional<double> clip_node,
                   std::optional<double> clip_value, std::optional<double> clip_norm) {
    auto counts = copied<double>(weights, "train: weights", {-1, -1});
    const int64_t count = int64_t(weights.shape(0));
    const Steps steps(shape_, tokens, starts, lengths, std::move(counts), {count, int64_t(weights.shape(1))},
                      "train");
    const auto numbers = copied<double>(rates, "train: rates", {count, 8});
    static_assert(sizeof(AdamRates) == 8 * sizeof(double));
    const Clips clips{bound_of(clip_node, "train: clip_node"), bound_of(clip_value, "train: clip_value"),
                      bound_of(clip_norm, "train: clip_norm")};
    std::vector<double> losses(size_t(count), 0.0);
    with_core("train", [&]<class Real>(Core<Real>& core) {
      nb::gil_scoped_release unlocked;
      if (count)
        core.train(steps.batches(), reinterpret_cast<const AdamRates*>(numbers.data()), clips, losses.data());
    });
    return to_numpy(std::move(losses), {size_t(count)});
  }

  nb::tuple gradients(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                      const AnyArray& weights, std::optional<double> clip_node) {
    auto counts = copied<double>(weights, "gradients: weights", {-1});
    const Steps steps(shape_, tokens, starts, lengths, std::move(counts), {int64_t(weights.shape(0))},
                      "gradients");
    const double none = std::numeric_limits<double>::infinity();
    const Clips clips{bound_of(clip_node, "gradients: clip_node"), none, none};
    nb::tuple result;
    with_core("gradients", [&]<class Real>(Core<Real>& core) {
      std::vector<Real> gradient(size_t(shape_.parameters));
      double loss = 0;
      {
        nb::gil_scoped_release unlocked;
        loss = core.gradients(steps.batches(), clips, gradient.data());
      }
      const size_t size = gradient.size();
      result = nb::make_tuple(loss, to_numpy(std::move(gradient), {size}));
    });
    return result;
  }

  nb::object logits(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths) {
    const int64_t count = int64_t(starts.size());
    const Steps steps(shape_, tokens, starts, lengths, std::vector<double>(size_t(count)), {count}, "logits");
    nb::object result;
    with_core("logits", [&]<class Real>(Core<Real>& core) {
      const size_t N = steps.positions(), V = size_t(shape_.vocab_size);
      std::vector<Real> out(N * V);
      {
        nb::gil_scoped_release unlocked;
        core.logits(steps.batches(), out.data());
      }
      result = to_numpy(std::move(out), {N, V});
    });
    return result;
  }

 private:
  /// Call f with the core, unless another thread is in it.
  template <class F>
  void with_core(const char* operation, F f) {
    const std::unique_lock<std::mutex> alone(in_use_, std::try_to_lock);
    if (!alone)
      throw std::runtime_error(std::string(operation) +
                               ": this model is in use by another thread; give each its own");
    std::visit([&](auto& core) { f(*core); }, core_);
  }

  Shape shape_;
  std::string level_;
  std::variant<std::unique_ptr<Core<float>>, std::unique_ptr<Core<double>>> core_;
  std::mutex in_use_;
};

std::string compiler() {
#if defined(__clang__)
  return "Clang " __clang_version__;
#else
  return "GCC " __VERSION__;
#endif
}

std::vector<std::string> levels() {
  motegpt::Level usable[4];
  const int count = motegpt::usable_levels(usable);
  std::vector<std::string> names;
  for (int i = 0; i < count; ++i) names.emplace_back(usable[i].name);
  return names;
}

}  // namespace

NB_MODULE(_core, module) {
  module.doc() =
      "The native core of motegpt. Flat arrays hold every tensor of the specification, one after the other.";
  module.def("levels", &levels, "Processor levels that can run here, the fastest first.");
  module.def("compiler", &compiler, "What compiled the core.");
  bind_specification(module);
  bind_decoder(module);
  nb::class_<Model>(module, "Model", "Parameters, Adam's moments, and the buffers to train them.")
      .def(nb::init<const Specification&, const std::string&, std::optional<std::string>, int, bool>(),
           "specification"_a, nb::kw_only(), "dtype"_a, "level"_a = nb::none(), "threads"_a = 0,
           "checkpoint_activations"_a = false)
      .def_prop_ro("level", &Model::level)
      .def("load", &Model::load, "parameters"_a.noconvert(), "m"_a.noconvert(), "v"_a.noconvert(),
           "Take over flat parameters and moments.")
      .def("store", &Model::store, "Copies of the flat parameters, m and v.")
      .def("train", &Model::train, "tokens"_a.noconvert(), "starts"_a.noconvert(), "lengths"_a.noconvert(),
           "weights"_a.noconvert(), "rates"_a.noconvert(), "clip_node"_a = nb::none(),
           "clip_value"_a = nb::none(), "clip_norm"_a = nb::none(),
           "Train on sequences of `lengths` tokens from `starts`; starts, lengths and weights (count, B), "
           "rates (count, 8) in the order of AdamRates -> losses (count).")
      .def("gradients", &Model::gradients, "tokens"_a.noconvert(), "starts"_a.noconvert(),
           "lengths"_a.noconvert(), "weights"_a.noconvert(), "clip_node"_a = nb::none(),
           "Loss and flat gradient of one batch; starts, lengths and weights (B).")
      .def("logits", &Model::logits, "tokens"_a.noconvert(), "starts"_a.noconvert(), "lengths"_a.noconvert(),
           "Logits after every input of some sequences, one after the other: (Σ n, V).");
}
