// The Python module: checks its arguments, releases the interpreter lock, calls the core. No mathematics
// here. Arrays that determine where the core reads are copied before the lock is released.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "checks.hpp"
#include "n_grams.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace motegpt::bindings;
using motegpt::Batches;
using motegpt::Clips;
using motegpt::Core;
using motegpt::Dropout;
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
/// lengths[s] tokens from tokens[starts[s]] on. Weights are checked and stay where they are: no number there
/// can lead outside an array.
class Steps {
 public:
  /// starts and lengths (count, B); weights (Σ lengths - 1), sequence by sequence. count:
  /// how many steps are expected, -1 for any number.
  Steps(const Shape& shape, const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
        const AnyArray& weights, int64_t count, const std::string& operation) {
    const auto first = copied<int64_t>(starts, (operation + ": starts").c_str(), {count, -1});
    batches_.count = int64_t(starts.shape(0));
    batches_.batch_size = int64_t(starts.shape(1));
    const auto size =
        copied<int64_t>(lengths, (operation + ": lengths").c_str(), {batches_.count, batches_.batch_size});
    if (batches_.count && !batches_.batch_size)
      throw nb::value_error((operation + ": expected at least one sequence per step").c_str());
    lay_out(shape, int64_t(tokens.size()), first, size, operation);
    with_ids(tokens, operation + ": tokens", [&]<class Id>(const Id* ids) {
      for (size_t s = 0; s < first.size(); ++s)
        copy(ids + first[s], size[s], shape.vocab_size, tokens_.data() + offsets_[s], operation);
    });
    batches_.tokens = tokens_.data();
    batches_.offsets = offsets_.data();
    batches_.weights = checked<double>(weights, (operation + ": weights").c_str(), {int64_t(positions())});
    check_finite(batches_.weights, positions(), operation);
  }

  const Batches& batches() const { return batches_; }
  /// Positions of all steps.
  size_t positions() const { return tokens_.size() + 1 - offsets_.size(); }

 private:
  /// Checks positions and lengths of the sequences, and allocates room for them.
  void lay_out(const Shape& shape, int64_t available, const std::vector<int64_t>& first,
               const std::vector<int64_t>& size, const std::string& operation) {
    offsets_.resize(first.size() + 1);
    for (size_t s = 0; s < first.size(); ++s) {
      if (size[s] < 2 || size[s] > int64_t(shape.block_size) + 1) {
        throw nb::value_error((operation + ": expected sequences of 2 … block_size + 1 = " +
                               std::to_string(shape.block_size + 1) + " tokens, got one of " +
                               std::to_string(size[s]))
                                  .c_str());
      }
      if (first[s] < 0 || first[s] > available - size[s]) {
        throw nb::index_error((operation + ": expected sequences within the " + std::to_string(available) +
                               " tokens, got one of " + std::to_string(size[s]) + " from " +
                               std::to_string(first[s]))
                                  .c_str());
      }
      offsets_[s + 1] = offsets_[s] + size[s];
    }
    tokens_.resize(size_t(offsets_.back()));
  }

  template <class Id>
  static void copy(const Id* ids, int64_t length, int vocab_size, int32_t* out,
                   const std::string& operation) {
    uint32_t highest = 0;
    for (int64_t t = 0; t < length; ++t) {
      highest = std::max(highest, uint32_t(ids[t]));
      out[t] = int32_t(ids[t]);
    }
    if (highest >= uint32_t(vocab_size)) {
      throw nb::value_error((operation + ": expected token ids in 0 … vocab_size - 1 = " +
                             std::to_string(vocab_size - 1) + ", got " + std::to_string(int64_t(Id(highest))))
                                .c_str());
    }
  }

  /// An infinite weight would leave no finite gradient.
  static void check_finite(const double* weights, size_t count, const std::string& operation) {
    for (size_t i = 0; i < count; ++i) {
      if (!std::isfinite(weights[i])) {
        throw nb::value_error(
            (operation + ": expected finite weights, got " + std::to_string(weights[i])).c_str());
      }
    }
  }

  std::vector<int32_t> tokens_;
  std::vector<int64_t> offsets_;
  Batches batches_{};
};

double bound_of(std::optional<double> clip, const char* what) {
  if (clip && !(*clip > 0))
    throw nb::value_error((std::string(what) + ": expected a bound above 0, or None").c_str());
  return clip.value_or(std::numeric_limits<double>::infinity());
}

/// Dropout with these probabilities. operation: for the error message
Dropout checked_dropout(uint64_t seed, double ordinary, double ngram, const std::string& operation) {
  for (const double p : {ordinary, ngram}) {
    if (!(p >= 0 && p < 1))
      throw nb::value_error((operation + ": expected a dropout of at least 0 and below 1").c_str());
  }
  return {seed, ordinary, ngram};
}

class Model {
 public:
  Model(const Specification& specification, const std::string& dtype, const std::string& optimizer,
        const std::vector<std::string>& scalars, std::optional<std::string> level, int threads,
        bool checkpoint_activations, bool inference)
      : shape_(specification.shape()),
        contexts_(specification.contexts()),
        columns_(scalar_columns(optimizer_of(optimizer), scalars)),
        inference_(inference) {
    if (threads < 0 || threads > 256)
      throw nb::value_error("Model: expected threads in 1 … 256, or 0 for every core");
    const motegpt::Level& chosen = find_level(level);
    level_ = chosen.name;
    const motegpt::Execution execution{threads, checkpoint_activations, inference};
    if (dtype == "float32") {
      core_ = std::unique_ptr<Core<float>>(
          chosen.make_float(shape_, specification.places(), optimizer_of(optimizer), execution));
    } else if (dtype == "float64") {
      core_ = std::unique_ptr<Core<double>>(
          chosen.make_double(shape_, specification.places(), optimizer_of(optimizer), execution));
    } else {
      throw nb::value_error(("Model: expected dtype float32 or float64, got " + dtype).c_str());
    }
  }

  std::string level() const { return level_; }

  void set_groups(const AnyArray& groups, int count) {
    check_training("set_groups");
    if (count < 1 || count > shape_.parameters)
      throw nb::value_error("set_groups: expected at least one group, and no more than parameters");
    with_core("set_groups", [&]<class Real>(Core<Real>& core) {
      const Real* of = checked<Real>(groups, "set_groups: groups", {shape_.parameters});
      for (int64_t i = 0; i < shape_.parameters; ++i) {
        if (!(of[i] >= -1 && of[i] < count && of[i] == std::floor(of[i])))
          throw nb::value_error("set_groups: expected groups below their number, or -1");
      }
      core.set_groups(of, count);
    });
  }

  void load(const AnyArray& parameters, const AnyArray& slots) {
    with_core("load", [&]<class Real>(Core<Real>& core) {
      const int64_t size = shape_.parameters;
      const Real* p = checked<Real>(parameters, "load: parameters", {size});
      core.load(p, checked<Real>(slots, "load: slots", {core.slot_count(), size}));
    });
  }

  nb::tuple store() {
    check_training("store");
    nb::tuple result;
    with_core("store", [&]<class Real>(Core<Real>& core) {
      const size_t size = size_t(shape_.parameters), count = size_t(core.slot_count());
      std::vector<Real> p(size), slots(count * size);
      core.store(p.data(), slots.data());
      result = nb::make_tuple(to_numpy(std::move(p), {size}), to_numpy(std::move(slots), {count, size}));
    });
    return result;
  }

  nb::object parameters() {
    check_training("parameters");
    nb::object result;
    with_core("parameters", [&]<class Real>(Core<Real>& core) {
      std::vector<Real> p(size_t(shape_.parameters));
      core.store(p.data(), nullptr);
      result = to_numpy(std::move(p), {size_t(shape_.parameters)});
    });
    return result;
  }

  nb::object train(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                   const AnyArray& weights, const AnyArray& scalars, std::optional<double> clip_node,
                   std::optional<double> clip_value, std::optional<double> clip_norm, int64_t first,
                   uint64_t seed, double dropout, double ngram_dropout,
                   const std::optional<AnyArray>& table_decay) {
    check_training("train");
    const Steps steps(shape_, tokens, starts, lengths, weights, -1, "train");
    const int64_t count = steps.batches().count;
    const Clips clips{bound_of(clip_node, "train: clip_node"), bound_of(clip_value, "train: clip_value"),
                      bound_of(clip_norm, "train: clip_norm")};
    const Dropout masks = checked_dropout(seed, dropout, ngram_dropout, "train");
    std::vector<double> losses(size_t(count), 0.0);
    with_core("train", [&]<class Real>(Core<Real>& core) {
      const int64_t rows = count * core.group_count();
      const auto numbers =
          in_core_order(checked<double>(scalars, "train: scalars", {rows, core.scalar_count()}), rows);
      const auto factors =
          table_decay ? copied<double>(*table_decay, "train: table_decay", {rows}) : std::vector<double>();
      nb::gil_scoped_release unlocked;
      if (count) {
        core.train(steps.batches(), numbers.data(), clips, masks, first, losses.data(),
                   table_decay ? factors.data() : nullptr);
      }
    });
    return to_numpy(std::move(losses), {size_t(count)});
  }

  nb::tuple gradients(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                      const AnyArray& weights, std::optional<double> clip_node, int64_t step, uint64_t seed,
                      double dropout, double ngram_dropout) {
    check_training("gradients");
    const Steps steps(shape_, tokens, starts, lengths, weights, 1, "gradients");
    const double none = std::numeric_limits<double>::infinity();
    const Clips clips{bound_of(clip_node, "gradients: clip_node"), none, none};
    const Dropout masks = checked_dropout(seed, dropout, ngram_dropout, "gradients");
    nb::tuple result;
    with_core("gradients", [&]<class Real>(Core<Real>& core) {
      std::vector<Real> gradient(size_t(shape_.parameters));
      double loss = 0;
      {
        nb::gil_scoped_release unlocked;
        loss = core.gradients(steps.batches(), clips, masks, step, gradient.data());
      }
      const size_t size = gradient.size();
      result = nb::make_tuple(loss, to_numpy(std::move(gradient), {size}));
    });
    return result;
  }

  nb::object logits(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                    const AnyArray& weights) {
    const Steps steps(shape_, tokens, starts, lengths, weights, 1, "logits");
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

  nb::tuple evaluate(const AnyArray& tokens, const AnyArray& starts, const AnyArray& lengths,
                     const AnyArray& weights) {
    const Steps steps(shape_, tokens, starts, lengths, weights, 1, "evaluate");
    const auto count = size_t(steps.batches().batch_size);
    std::vector<double> losses(count);
    std::vector<int64_t> likely(count);
    with_core("evaluate", [&]<class Real>(Core<Real>& core) {
      nb::gil_scoped_release unlocked;
      core.evaluate(steps.batches(), losses.data(), likely.data());
    });
    return nb::make_tuple(to_numpy(std::move(losses), {count}), to_numpy(std::move(likely), {count}));
  }

 private:
  void check_training(const char* operation) const {
    if (inference_) throw nb::value_error((std::string(operation) + ": this model is for inference").c_str());
  }

  /// The scalars (rows, n) of steps and groups, with the columns in the order of the core.
  std::vector<double> in_core_order(const double* scalars, int64_t rows) const {
    const size_t n = columns_.size();
    std::vector<double> ordered(size_t(rows) * n);
    for (size_t row = 0; row < size_t(rows); ++row) {
      for (size_t i = 0; i < n; ++i) ordered[row * n + i] = scalars[row * n + columns_[i]];
    }
    return ordered;
  }

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
  std::shared_ptr<const motegpt::ContextTrie> contexts_;  // read by core_
  std::vector<size_t> columns_;                           // of the optimizer's scalars
  bool inference_;
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

int64_t multiply_add(const std::string& name, const std::string& dtype, int64_t rounds) {
  if (rounds < 0) throw nb::value_error("multiply_add: expected rounds of at least 0");
  alignas(64) float single[16];
  alignas(64) double twice[8];
  motegpt::Level usable[4];
  const int count = motegpt::usable_levels(usable);
  for (int i = 0; i < count; ++i) {
    if (usable[i].name != name) continue;
    nb::gil_scoped_release unlocked;
    if (dtype == "float32") return usable[i].multiply_add_float(rounds, single);
    if (dtype == "float64") return usable[i].multiply_add_double(rounds, twice);
  }
  throw nb::value_error(("multiply_add: expected one of levels() and float32 or float64, got " + name +
                         " and " + dtype).c_str());
}

}  // namespace

NB_MODULE(_core, module) {
  nb::set_leak_warnings(false);  // what a script keeps to its end, such as a model in a cycle, is no leak
  module.doc() =
      "The native core of motegpt. Flat arrays hold every tensor of the specification, one after the other.";
  module.def("levels", &levels, "Processor levels that can run here, the fastest first.");
  module.def("compiler", &compiler, "What compiled the core.");
  module.def("multiply_add", &multiply_add, "level"_a, "dtype"_a, "rounds"_a,
             "Do multiply-adds in registers, as fast as the level can; returns the number of operations.");
  bind_specification(module);
  bind_n_grams(module);
  bind_decoder(module);
  nb::class_<Model>(module, "Model", "Parameters, slots of their optimizer, and the buffers to train them.")
      .def(nb::init<const Specification&, const std::string&, const std::string&,
                    const std::vector<std::string>&, std::optional<std::string>, int, bool, bool>(),
           "specification"_a, nb::kw_only(), "dtype"_a, "optimizer"_a, "scalars"_a, "level"_a = nb::none(),
           "threads"_a = 0, "checkpoint_activations"_a = false, "inference"_a = false)
      .def_prop_ro("level", &Model::level)
      .def("load", &Model::load, "parameters"_a.noconvert(), "slots"_a.noconvert(),
           "Load flat parameters (P) and slots (n, P).")
      .def("set_groups", &Model::set_groups, "groups"_a.noconvert(), "count"_a,
           "Train groups of tensors with scalars of their own; groups (P): the group of each number, or -1 if "
           "it is not trained. Before `load`.")
      .def("parameters", &Model::parameters, "A copy of the flat parameters (P).")
      .def("store", &Model::store, "Copies of the flat parameters (P) and slots (n, P).")
      .def(
          "train", &Model::train, "tokens"_a.noconvert(), "starts"_a.noconvert(), "lengths"_a.noconvert(),
          "weights"_a.noconvert(), "scalars"_a.noconvert(), "clip_node"_a = nb::none(),
          "clip_value"_a = nb::none(), "clip_norm"_a = nb::none(), "first"_a = 0, "seed"_a = 0,
          "dropout"_a = 0.0, "ngram_dropout"_a = 0.0, "table_decay"_a.noconvert() = nb::none(),
          "Train on sequences of `lengths` tokens from `starts`, both (count, B); weights (Σ lengths - 1) of "
          "their targets, scalars (count · groups, n), as Optimizer.chunk gives them, of every group after one "
          "another -> losses (count). first: the number of the first step, and seed: of the masks of dropout; "
          "table_decay (count · groups): factors of the tables after each step.")
      .def("gradients", &Model::gradients, "tokens"_a.noconvert(), "starts"_a.noconvert(),
           "lengths"_a.noconvert(), "weights"_a.noconvert(), "clip_node"_a = nb::none(), "step"_a = 0,
           "seed"_a = 0, "dropout"_a = 0.0, "ngram_dropout"_a = 0.0,
           "Loss and flat gradient of one step; starts and lengths (1, B), weights (Σ lengths - 1); step and "
           "seed: of the masks of dropout.")
      .def("logits", &Model::logits, "tokens"_a.noconvert(), "starts"_a.noconvert(), "lengths"_a.noconvert(),
           "weights"_a.noconvert(),
           "Logits after every input of one step, its sequences one after the other: (Σ lengths - 1, V).")
      .def("evaluate", &Model::evaluate, "tokens"_a.noconvert(), "starts"_a.noconvert(),
           "lengths"_a.noconvert(), "weights"_a.noconvert(),
           "Of the sequences of one step: the sum of the weighted -log p of each (B), and how many of its "
           "targets with a weight are the most likely token (B).");
}
