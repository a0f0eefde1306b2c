// The Python module of generators and learning rates. It is apart from the core, because it is wanted before
// there is an engine. Arguments are checked here; no mathematics.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "attributes.hpp"
#include "motegpt/random.hpp"
#include "motegpt/schedule.hpp"
#include "to_numpy.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using namespace motegpt::bindings;
using motegpt::Generator;
using motegpt::StepSettings;

template <class T>
using Writable = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

constexpr int python_version = 3;  // of the states of random.Random

Generator generator_of(const std::string& name) {
  return choice_of<Generator>(name, motegpt::generator_names, "Rng: expected the generator");
}

/// A generator of a run. States are those of RunRng.state in src/motegpt/model/rng.py.
class Rng {
 public:
  Rng(const std::string& name, nb::sequence state)
      : generator_(generator_of(name)), rng_(motegpt::make_rng(generator_, 0)) {
    restore(state);
  }
  Rng(const std::string& name, uint64_t seed)
      : generator_(generator_of(name)), rng_(motegpt::make_rng(generator_, seed)) {}

  double uniform() {
    const std::lock_guard alone(in_use_);
    return rng_->uniform();
  }
  double gauss(double mean, double std) {
    const std::lock_guard alone(in_use_);
    return rng_->gauss(mean, std);
  }
  void fill_gauss(double mean, double std, Writable<double> out) {
    const nb::gil_scoped_release unlocked;
    const std::lock_guard alone(in_use_);
    rng_->fill_gauss(mean, std, int64_t(out.size()), out.data());
  }
  void shuffle(Writable<uint32_t> items) {
    const nb::gil_scoped_release unlocked;
    const std::lock_guard alone(in_use_);
    rng_->shuffle(int64_t(items.size()), items.data());
  }

  int64_t categorical(const std::vector<double>& weights) {
    if (weights.empty()) throw nb::value_error("categorical: expected at least one weight");
    const std::lock_guard alone(in_use_);
    return rng_->categorical(weights.data(), int64_t(weights.size()));
  }

  nb::list state() const {
    const motegpt::RngState state = [&] {
      const std::lock_guard alone(in_use_);
      return rng_->state();
    }();
    const nb::object words = nb::cast(state.words);
    if (generator_ != Generator::python) return nb::cast<nb::list>(words);
    nb::list all;
    all.append(python_version);
    all.append(words);
    all.append(nb::cast(state.gauss_next));
    return all;
  }

  void restore(nb::sequence state) {
    motegpt::RngState found;
    const bool is_state = read(state, found);
    const std::lock_guard alone(in_use_);
    if (!is_state || !rng_->restore(found))
      throw nb::value_error("restore: expected a state of this generator");
  }

 private:
  bool read(nb::sequence state, motegpt::RngState& found) const {
    if (generator_ != Generator::python) return nb::try_cast(state, found.words);
    int version = 0;
    return nb::len(state) == 3 && nb::try_cast(state[0], version) && version == python_version &&
           nb::try_cast(state[1], found.words) && nb::try_cast(state[2], found.gauss_next);
  }

  Generator generator_;
  std::unique_ptr<motegpt::RunRng> rng_;
  mutable std::mutex in_use_;  // taken after the interpreter lock, or without it
};

StepSettings settings_of(nb::handle train) {
  StepSettings s{};
  s.steps = attribute<int64_t>(train, "steps");
  s.warmup_steps = attribute<int64_t>(train, "warmup_steps");
  s.schedule = choice<motegpt::Schedule>(train, "schedule", motegpt::schedule_names);
  s.lr = attribute<double>(train, "lr");
  s.lr_min = attribute<double>(train, "lr_min");
  s.adam = choice<motegpt::AdamForm>(train, "adam", motegpt::adam_form_names);
  s.beta1 = attribute<double>(train, "beta1");
  s.beta2 = attribute<double>(train, "beta2");
  s.eps = attribute<double>(train, "eps");
  s.momentum = attribute<double>(train, "momentum");
  s.weight_decay = attribute<double>(train, "weight_decay");
  s.ngram_weight_decay = attribute<double>(train, "ngram_weight_decay");
  return s;
}

/// A number per step of a function of (settings, step).
template <double function(const StepSettings&, int64_t)>
nb::object per_step(nb::handle train, int64_t first, size_t count) {
  const StepSettings settings = settings_of(train);
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = function(settings, first + int64_t(i));
  return to_numpy(std::move(values), {count});
}

nb::object step_scalars(const std::string& optimizer, nb::handle train, int64_t first, size_t count) {
  StepSettings settings = settings_of(train);
  settings.optimizer =
      choice_of<motegpt::Optimizer>(optimizer, motegpt::optimizer_names, "step_scalars: expected");
  const auto columns = size_t(motegpt::scalar_count(settings.optimizer));
  std::vector<double> rows(count * columns);
  motegpt::step_scalars(settings, first, int64_t(count), rows.data());
  return to_numpy(std::move(rows), {count, columns});
}

nb::object epoch_orders(uint64_t seed, uint64_t first, size_t count, size_t n) {
  std::vector<int64_t> orders(count * n);
  motegpt::epoch_orders(seed, first, int64_t(count), int64_t(n), orders.data());
  return to_numpy(std::move(orders), {count, n});
}

nb::tuple next_uniform(uint64_t state) {
  const double uniform = motegpt::next_uniform(state);
  return nb::make_tuple(state, uniform);
}

}  // namespace

NB_MODULE(_numbers, module) {
  nb::set_leak_warnings(false);  // what a script keeps to its end, such as a model in a cycle, is no leak
  module.doc() = "The generators and learning rates of motegpt: the numbers of its Python, bit for bit.";
  nb::class_<Rng>(module, "Rng", "The generator of a run, from a seed or a state.")
      .def(nb::init<const std::string&, uint64_t>(), "name"_a, "seed"_a)
      .def(nb::init<const std::string&, nb::sequence>(), "name"_a, "state"_a)
      .def("uniform", &Rng::uniform)
      .def("gauss", &Rng::gauss, "mean"_a, "std"_a)
      .def("fill_gauss", &Rng::fill_gauss, "mean"_a, "std"_a, "out"_a.noconvert(),
           "As many calls of gauss as `out` (n) has items.")
      .def("shuffle", &Rng::shuffle, "items"_a.noconvert(), "Permute unsigned 32-bit integers (n) in place.")
      .def("categorical", &Rng::categorical, "weights"_a)
      .def("state", &Rng::state, "The state as JSON values.")
      .def("restore", &Rng::restore, "state"_a, "ValueError if it is not a state of this generator.");
  module.def("splitmix64", [](uint64_t seed, uint64_t index) { return motegpt::splitmix64(seed, index); });
  module.def("next_uniform", &next_uniform, "state"_a, "The state of a text's stream -> the next, a number.");
  module.def("epoch_orders", &epoch_orders, "seed"_a, "first"_a, "count"_a, "n"_a, "Orders (count, n).");
  module.def("learning_rates", &per_step<motegpt::learning_rate>, "train"_a, "first"_a, "count"_a);
  module.def("table_decays", &per_step<motegpt::table_decay>, "train"_a, "first"_a, "count"_a);
  module.def("step_scalars", &step_scalars, "optimizer"_a, "train"_a, "first"_a, "count"_a,
             "The scalars of an optimizer (count, scalars), in the order of its named tuple.");
}
