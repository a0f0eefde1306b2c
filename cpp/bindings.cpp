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

/// Token sequences, checked once and kept.
class Sequences {
 public:
  Sequences(const AnyArray& tokens, const AnyArray& offsets)
      : tokens_(copied<int32_t>(tokens, "Sequences: tokens", {-1})),
        offsets_(copied<int64_t>(offsets, "Sequences: offsets", {-1})) {
    if (offsets_.empty() || offsets_.front() != 0 || offsets_.back() != int64_t(tokens_.size())) {
      throw nb::value_error(("Sequences: expected offsets to run from 0 to " +
                             std::to_string(tokens_.size()) + ", the number of tokens")
                                .c_str());
    }
    for (size_t s = 0; s + 1 < offsets_.size(); ++s) {
      if (offsets_[s + 1] < offsets_[s]) {
        throw nb::value_error(("Sequences: expected offsets to rise, but offsets[" + std::to_string(s + 1) +
                               "] is below the one before it")
                                  .c_str());
      }
    }
    for (const int32_t token : tokens_) {
      lowest_ = std::min(lowest_, token);
      highest_ = std::max(highest_, token);
    }
  }

  int64_t count() const { return int64_t(offsets_.size()) - 1; }

  /// Raises unless a model of this shape can learn from sequence s.
  void check(const Shape& shape, int64_t s, const char* operation) const {
    const std::string name = std::string(operation) + ": ";
    if (s < 0 || s >= count()) {
      throw nb::index_error((name + "expected sequence numbers in 0 … " + std::to_string(count() - 1) +
                             ", got " + std::to_string(s))
                                .c_str());
    }
    const int64_t inputs = offsets_[s + 1] - offsets_[s] - 1;
    if (inputs < 1 || inputs > shape.block_size) {
      throw nb::value_error(
          (name + "expected sequences of 2 … block_size + 1 = " + std::to_string(shape.block_size + 1) +
           " tokens, but sequence " + std::to_string(s) + " has " + std::to_string(inputs + 1))
              .c_str());
    }
  }

  void check_tokens(const Shape& shape, const char* operation) const {
    if (!tokens_.empty() && (lowest_ < 0 || highest_ >= shape.vocab_size)) {
      throw nb::value_error((std::string(operation) + ": expected token ids in 0 … vocab_size - 1 = " +
                             std::to_string(shape.vocab_size - 1) + ", got ids from " +
                             std::to_string(lowest_) + " to " + std::to_string(highest_))
                                .c_str());
    }
  }

  motegpt::Sequences view() const { return {tokens_.data(), offsets_.data()}; }

 private:
  std::vector<int32_t> tokens_;
  std::vector<int64_t> offsets_;
  int32_t lowest_ = std::numeric_limits<int32_t>::max();
  int32_t highest_ = std::numeric_limits<int32_t>::min();
};

/// Checked copies of what describes some steps.
struct Steps {
  std::vector<int64_t> indices;
  std::vector<double> weights;
  Batches batches;

  Steps(const Sequences& sequences, const Shape& shape, std::vector<int64_t>&& which,
        std::vector<double>&& counts, int64_t count, const char* operation)
      : indices(std::move(which)),
        weights(std::move(counts)),
        batches{sequences.view(), count, count ? int64_t(indices.size()) / count : 0, indices.data(),
                weights.data()} {
    if (count && indices.empty())
      throw nb::value_error((std::string(operation) + ": expected at least one sequence a step").c_str());
    sequences.check_tokens(shape, operation);
    for (const int64_t s : indices) sequences.check(shape, s, operation);
  }

  int64_t tokens() const {
    int64_t total = 0;
    for (const int64_t s : indices)
      total += batches.sequences.offsets[s + 1] - batches.sequences.offsets[s] - 1;
    return total;
  }
};

double bound_of(std::optional<double> clip, const char* what) {
  if (clip && !(*clip > 0))
    throw nb::value_error((std::string(what) + ": expected a bound above 0, or None").c_str());
  return clip.value_or(std::numeric_limits<double>::infinity());
}

class Model {
 public:
  Model(int vocab_size, int block_size, int n_layer, int n_embd, int n_head, bool tied, bool embedding_norm,
        const std::string& activation, double norm_eps, const std::string& dtype,
        std::optional<std::string> level, int threads, bool checkpoint_activations)
      : shape_(checked_shape(vocab_size, block_size, n_layer, n_embd, n_head, tied, embedding_norm,
                             activation, norm_eps)) {
    if (threads < 0 || threads > 256)
      throw nb::value_error("Model: expected threads in 1 … 256, or 0 for every core");
    const motegpt::Level& chosen = find_level(level);
    level_ = chosen.name;
    const motegpt::Execution execution{threads, checkpoint_activations};
    if (dtype == "float32") {
      core_ = std::unique_ptr<Core<float>>(chosen.make_float(shape_, execution));
    } else if (dtype == "float64") {
      core_ = std::unique_ptr<Core<double>>(chosen.make_double(shape_, execution));
    } else {
      throw nb::value_error(("Model: expected dtype float32 or float64, got " + dtype).c_str());
    }
  }

  std::string level() const { return level_; }

  void load(const AnyArray& parameters, const AnyArray& m, const AnyArray& v) {
    with_core("load", [&]<class Real>(Core<Real>& core) {
      const std::vector<int64_t> size{shape_.parameters()};
      const Real* p = checked<Real>(parameters, "load: parameters", size);
      core.load(p, checked<Real>(m, "load: m", size), checked<Real>(v, "load: v", size));
    });
  }

  nb::tuple store() {
    nb::tuple result;
    with_core("store", [&]<class Real>(Core<Real>& core) {
      const size_t size = size_t(shape_.parameters());
      std::vector<Real> p(size), m(size), v(size);
      core.store(p.data(), m.data(), v.data());
      result = nb::make_tuple(to_numpy(std::move(p), {size}), to_numpy(std::move(m), {size}),
                              to_numpy(std::move(v), {size}));
    });
    return result;
  }

  nb::object train(const Sequences& sequences, const AnyArray& indices, const AnyArray& weights,
                   const AnyArray& rates, std::optional<double> clip_node, std::optional<double> clip_value,
                   std::optional<double> clip_norm) {
    auto which = copied<int64_t>(indices, "train: indices", {-1, -1});
    const int64_t count = int64_t(indices.shape(0));
    auto counts = copied<double>(weights, "train: weights", {count, int64_t(indices.shape(1))});
    const Steps steps(sequences, shape_, std::move(which), std::move(counts), count, "train");
    const auto numbers = copied<double>(rates, "train: rates", {count, 8});
    static_assert(sizeof(AdamRates) == 8 * sizeof(double));
    const Clips clips{bound_of(clip_node, "train: clip_node"), bound_of(clip_value, "train: clip_value"),
                      bound_of(clip_norm, "train: clip_norm")};
    std::vector<double> losses(size_t(count), 0.0);
    with_core("train", [&]<class Real>(Core<Real>& core) {
      nb::gil_scoped_release unlocked;
      if (count)
        core.train(steps.batches, reinterpret_cast<const AdamRates*>(numbers.data()), clips, losses.data());
    });
    return to_numpy(std::move(losses), {size_t(count)});
  }

  nb::tuple gradients(const Sequences& sequences, const AnyArray& indices, const AnyArray& weights,
                      std::optional<double> clip_node) {
    auto which = copied<int64_t>(indices, "gradients: indices", {-1});
    auto counts = copied<double>(weights, "gradients: weights", {int64_t(indices.shape(0))});
    const Steps steps(sequences, shape_, std::move(which), std::move(counts), 1, "gradients");
    const double none = std::numeric_limits<double>::infinity();
    const Clips clips{bound_of(clip_node, "gradients: clip_node"), none, none};
    nb::tuple result;
    with_core("gradients", [&]<class Real>(Core<Real>& core) {
      std::vector<Real> gradient(size_t(shape_.parameters()));
      double loss = 0;
      {
        nb::gil_scoped_release unlocked;
        loss = core.gradients(steps.batches, clips, gradient.data());
      }
      const size_t size = gradient.size();
      result = nb::make_tuple(loss, to_numpy(std::move(gradient), {size}));
    });
    return result;
  }

  nb::object logits(const Sequences& sequences, const AnyArray& indices) {
    auto which = copied<int64_t>(indices, "logits: indices", {-1});
    std::vector<double> counts(which.size(), 0.0);
    const Steps steps(sequences, shape_, std::move(which), std::move(counts), 1, "logits");
    nb::object result;
    with_core("logits", [&]<class Real>(Core<Real>& core) {
      const size_t N = size_t(steps.tokens()), V = size_t(shape_.vocab_size);
      std::vector<Real> out(N * V);
      {
        nb::gil_scoped_release unlocked;
        core.logits(steps.batches, out.data());
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
      "The native core of motegpt. Flat arrays are canonical: every matrix (out, in), one after the other.";
  module.def("levels", &levels, "Processor levels that can run here, the fastest first.");
  module.def("compiler", &compiler, "What compiled the core.");
  nb::class_<Sequences>(module, "Sequences",
                        "Token sequences laid end to end: number s is tokens[offsets[s]:offsets[s + 1]].")
      .def(nb::init<const AnyArray&, const AnyArray&>(), "tokens"_a.noconvert(), "offsets"_a.noconvert())
      .def("__len__", &Sequences::count);
  bind_decoder(module);
  nb::class_<Model>(module, "Model", "Parameters, Adam's moments, and the buffers to train them.")
      .def(nb::init<int, int, int, int, int, bool, bool, const std::string&, double, const std::string&,
                    std::optional<std::string>, int, bool>(),
           nb::kw_only(), "vocab_size"_a, "block_size"_a, "n_layer"_a, "n_embd"_a, "n_head"_a, "tied"_a,
           "embedding_norm"_a, "activation"_a, "norm_eps"_a, "dtype"_a, "level"_a = nb::none(),
           "threads"_a = 0, "checkpoint_activations"_a = false)
      .def_prop_ro("level", &Model::level)
      .def("load", &Model::load, "parameters"_a.noconvert(), "m"_a.noconvert(), "v"_a.noconvert(),
           "Take over flat parameters and moments.")
      .def("store", &Model::store, "Copies of the flat parameters, m and v.")
      .def("train", &Model::train, "sequences"_a, "indices"_a.noconvert(), "weights"_a.noconvert(),
           "rates"_a.noconvert(), "clip_node"_a = nb::none(), "clip_value"_a = nb::none(),
           "clip_norm"_a = nb::none(),
           "Train; indices and weights (count, B), rates (count, 8) in the order of AdamRates -> losses "
           "(count).")
      .def("gradients", &Model::gradients, "sequences"_a, "indices"_a.noconvert(), "weights"_a.noconvert(),
           "clip_node"_a = nb::none(), "Loss and flat gradient of one batch; indices and weights (B).")
      .def("logits", &Model::logits, "sequences"_a, "indices"_a.noconvert(),
           "Logits after every input of some sequences, one after the other: (Σ n, V).");
}
