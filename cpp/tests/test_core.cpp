// The core as a whole, at every level that can run here: gradients against finite differences, and the
// invariance of results under threads, checkpointing, chunks of a run, and another model beside it.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>

#include "check.hpp"
#include "levels.hpp"
#include "motegpt/core.hpp"
#include "specify.hpp"

namespace motegpt {
namespace {

constexpr double none = std::numeric_limits<double>::infinity();
const Clips unclipped{none, none, none}, clipped{0.05, 0.1, 0.5};
const Dropout kept{0, 0, 0}, dropped{7, 0.3, 0.4};

/// Batches of eight random documents, the longest there can be among them.
struct Data {
  std::vector<int32_t> tokens;
  std::vector<int64_t> offsets{0};
  std::vector<double> weights;
  std::vector<double> scalars, table_decay;
  Batches batches;

  Data(const Shape& shape, int64_t steps, int64_t batch_size, Optimizer optimizer = Optimizer::adam) {
    check::Random random(11);
    std::vector<int32_t> documents[8];
    for (std::vector<int32_t>& document : documents) {
      const int most = shape.block_size;
      document.resize(size_t(&document == documents ? most + 1 : 2 + random.below(most)));
      for (int32_t& token : document) token = random.below(shape.vocab_size);
    }
    for (int64_t s = 0; s < steps * batch_size; ++s) {
      const std::vector<int32_t>& document = documents[s * 3 % 8];
      tokens.insert(tokens.end(), document.begin(), document.end());
      offsets.push_back(int64_t(tokens.size()));
      for (size_t t = 1; t < document.size(); ++t)  // every third target is masked
        weights.push_back(t % 3 ? 1.0 / double(batch_size * int64_t(document.size())) : 0.0);
    }
    const double eps = 0.01;  // large, so that rounding of a zero gradient does not decide a step
    for (int64_t k = 1; k <= steps; ++k) {
      table_decay.push_back(k % 4 ? 1 : 1 - 0.01 * double(k));
      if (optimizer == Optimizer::adam) {
        const double step_size = 0.02 / (1 - std::pow(0.9, k)), v_scale = 1 / (1 - std::pow(0.99, k));
        scalars.insert(scalars.end(), {0.9, 0.1, 0.99, 0.01, 1, step_size, v_scale, eps});
      } else {
        scalars.insert(scalars.end(), {0.9, 1, 0.02});
      }
    }
    batches = {tokens.data(), offsets.data(), steps, batch_size, weights.data()};
  }

  /// Some of the steps.
  Batches cut(int64_t start, int64_t count) const {
    Batches part = batches;
    part.count = count;
    part.offsets += start * batches.batch_size;
    part.weights = batches.weights_of(start * batches.batch_size);
    return part;
  }
};

template <class Real>
std::unique_ptr<Core<Real>> make(const Level& level, const Specification& model, const Execution& execution,
                                 Optimizer optimizer = Optimizer::adam) {
  const auto make_core = [&](auto make) { return make(model.shape(), model.places(), optimizer, execution); };
  if constexpr (sizeof(Real) == 4) {
    return std::unique_ptr<Core<Real>>(make_core(level.make_float));
  } else {
    return std::unique_ptr<Core<Real>>(make_core(level.make_double));
  }
}

template <class Real>
std::vector<Real> initial(const Shape& shape) {
  return random_parameters<Real>(shape, 0.2);
}

template <class Real>
void load(Core<Real>& core, const std::vector<Real>& w) {
  const std::vector<Real> zeros(w.size() * size_t(core.slot_count()));
  core.load(w.data(), zeros.data());
}

/// Parameters and slots, one after the other.
template <class Real>
std::vector<Real> everything(const Core<Real>& core, const Shape& shape) {
  const size_t count = size_t(shape.parameters);
  std::vector<Real> all((1 + size_t(core.slot_count())) * count);
  core.store(all.data(), all.data() + count);
  return all;
}

void test_finite_differences(const Level& level, const Specification& model, const Dropout& dropout) {
  const Data data(model.shape(), 1, 3);
  auto core = make<double>(level, model, {1, false});
  std::vector<double> w = initial<double>(model.shape()), gradient(w.size());
  load(*core, w);
  core->gradients(data.batches, unclipped, dropout, 5, gradient.data());
  const double h = 1e-5;
  check::Random random(3);
  for (int probe = 0; probe < 60; ++probe) {
    const size_t i = size_t(random.below(int(w.size())));
    const double before = w[i];
    std::vector<double> unused(w.size());
    double losses[2];
    for (const int side : {0, 1}) {
      w[i] = before + (side ? h : -h);
      load(*core, w);
      losses[side] = core->gradients(data.batches, unclipped, dropout, 5, unused.data());
    }
    w[i] = before;
    check::near((losses[1] - losses[0]) / (2 * h), gradient[i], std::fmax(1e-2, std::fabs(gradient[i])), 1e-6,
                "finite differences");
  }
}

/// Trains, and returns parameters and slots.
template <class Real>
std::vector<Real> outcome(const Level& level, const Specification& model, Optimizer optimizer,
                          const Execution& execution, const Clips& clips, const Dropout& dropout,
                          const std::vector<int64_t>& chunks, std::vector<double>* losses = nullptr) {
  int64_t steps = 0;
  for (const int64_t chunk : chunks) steps += chunk;
  const Data data(model.shape(), steps, 4, optimizer);
  auto core = make<Real>(level, model, execution, optimizer);
  load(*core, initial<Real>(model.shape()));
  std::vector<double> seen(size_t(steps), 0.0);
  int64_t start = 0;
  for (const int64_t chunk : chunks) {
    core->train(data.cut(start, chunk), data.scalars.data() + start * core->scalar_count(), clips, dropout,
                start, seen.data() + start, data.table_decay.data() + start);
    start += chunk;
  }
  if (losses) *losses = seen;
  return everything(*core, model.shape());
}

template <class Real>
bool same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Real)) == 0;
}

template <class Real>
void test_invariance(const Level& level, const Specification& model, Optimizer optimizer, const Clips& clips,
                     const Dropout& dropout) {
  const std::string where = std::string(level.name) + (sizeof(Real) == 4 ? ", float: " : ", double: ");
  const auto train = [&](const Execution& execution, const std::vector<int64_t>& chunks,
                         std::vector<double>* losses = nullptr) {
    return outcome<Real>(level, model, optimizer, execution, clips, dropout, chunks, losses);
  };
  std::vector<double> losses;
  const auto plain = train({1, false}, {12}, &losses);
  check::that(losses.back() < losses.front() || clips.norm < none || dropout.ordinary,
              where + "the loss falls");
  check::that(same_bits(plain, train({1, false}, {12})), where + "the same twice");
  check::that(same_bits(plain, train({1, true}, {12})), where + "checkpointing");
  check::that(same_bits(plain, train({1, false}, {1, 6, 5})), where + "cut into chunks");
  for (const int threads : {2, 3}) {
    check::that(same_bits(train({threads, false}, {12}), train({threads, true}, {5, 7})),
                where + "the same with as many threads");
  }
}

/// Each number of `list` twice, row by row.
std::vector<double> doubled(const std::vector<double>& list, size_t row) {
  std::vector<double> out;
  for (size_t i = 0; i < list.size(); i += row) {
    for (int copy = 0; copy < 2; ++copy) out.insert(out.end(), list.begin() + long(i), list.begin() + long(i + row));
  }
  return out;
}

/// Two groups with the same scalars are trained as one; numbers of no group keep every bit, and their slots.
template <class Real>
void test_groups(const Level& level, const Specification& model, Optimizer optimizer) {
  const std::string where = std::string(level.name) + ": groups";
  const Data data(model.shape(), 12, 4, optimizer);
  const size_t size = size_t(model.shape().parameters);
  const std::vector<Real> before = initial<Real>(model.shape());
  const auto train = [&](const std::vector<Real>* groups) {
    auto core = make<Real>(level, model, {2, false}, optimizer);
    if (groups) core->set_groups(groups->data(), 2);
    load(*core, before);
    std::vector<double> losses(12);
    const size_t row = size_t(core->scalar_count());
    core->train(data.batches, (groups ? doubled(data.scalars, row) : data.scalars).data(), clipped, kept, 0,
                losses.data(), (groups ? doubled(data.table_decay, 1) : data.table_decay).data());
    return everything(*core, model.shape());
  };
  std::vector<Real> groups(size);
  for (size_t i = 0; i < size; ++i) groups[i] = Real(i % 3 == 1);
  const std::vector<Real> plain = train(nullptr), split = train(&groups);
  check::near_rows(split.data(), 1, std::vector<double>(plain.begin(), plain.end()), int(plain.size()), 1,
                   sizeof(Real) == 4 ? 2e-3 : 1e-11, where);
  std::vector<Real> kept_back = before;
  kept_back.resize(plain.size());
  std::fill(groups.begin(), groups.end(), Real(-1));
  check::that(same_bits(train(&groups), kept_back), where + ": frozen");
}

/// The gradient of one step, computed by this many threads.
template <class Real>
std::vector<double> gradient_with(const Level& level, const Specification& model, int threads,
                                  int64_t batch_size, const Dropout& dropout) {
  const Data data(model.shape(), 1, batch_size);
  auto core = make<Real>(level, model, {threads, false});
  load(*core, initial<Real>(model.shape()));
  std::vector<Real> gradient(size_t(model.shape().parameters));
  core->gradients(data.batches, unclipped, dropout, 5, gradient.data());
  return {gradient.begin(), gradient.end()};
}

/// Sums are taken in another order with another number of threads; nothing else may differ.
template <class Real>
void test_threads(const Level& level, const Specification& model, const Dropout& dropout) {
  for (const int64_t batch_size : {1, 4, 9}) {  // parts of documents, and whole ones
    const std::vector<double> one = gradient_with<Real>(level, model, 1, batch_size, dropout);
    for (const int threads : {2, 3}) {
      check::near_rows(gradient_with<Real>(level, model, threads, batch_size, dropout).data(), 1, one,
                       int(one.size()), 1, sizeof(Real) == 4 ? 1e-4 : 1e-13,
                       std::string(level.name) + ": threads");
    }
  }
}

/// Two models in training at the same time do not disturb each other.
void test_side_by_side(const Level& level, const Specification& model) {
  const auto train = [&] {
    return outcome<float>(level, model, Optimizer::adam, {2, false}, unclipped, dropped, {30});
  };
  const auto alone = train();
  std::vector<float> results[2];
  std::thread other([&] { results[0] = train(); });
  results[1] = train();
  other.join();
  check::that(same_bits(alone, results[0]) && same_bits(alone, results[1]), "side by side");
}

/// A block that is kept is cleared like one that is new.
void test_memory() {
  Memory memory;
  for (const int64_t bytes : {0, 1000, 1000, 10, 100000}) {
    memory.reserve(bytes);
    bool zero = true;
    for (int64_t i = 0; i < bytes; ++i) {
      zero &= memory.data()[i] == 0;
      memory.data()[i] = 1;
    }
    check::that(zero, "memory is zero");
  }
}

void test_level(const Level& level) {
  constexpr Activation relu = Activation::relu, squared = Activation::squared_relu;
  std::vector<Specification> models = {
      // vocabulary, block, layers, channels, heads, tied, embedding norm, activation
      specify(27, 16, 1, 16, 4, false, true, relu),
      specify(27, 8, 1, 16, 4, true, false, squared),
      specify(11, 9, 2, 12, 3, false, true, relu),
      specify(33, 40, 2, 64, 2, true, true, relu),
      specify(20, 70, 3, 32, 4, false, false, squared),
      specify(7, 5, 1, 7, 1, false, true, relu),
      // contexts of 2, 3, … tokens
      specify(5, 9, 1, 12, 3, true, true, relu, {12, 20, 20}),
      specify(3, 30, 2, 9, 1, false, false, squared, {6, 12, 20, 3, 1}),
      specify(9, 12, 2, 16, 4, false, true, relu, {}, Position::rope, true),  // narrow heads, then wider ones
      specify(9, 40, 2, 48, 2, true, true, squared, {}, Position::rope, true),
      specify(9, 12, 1, 12, 2, false, true, relu, {}, Position::rope),
      specify(9, 12, 1, 15, 3, false, true, relu, {}, Position::learned, true),
      specify(5, 9, 2, 20, 4, false, false, squared, {10, 20}, Position::none, false,
              {2, 64, false, NormKind::layer, true, false, true}),
  };
  for (const Specification& one : architectures()) models.push_back(one);
  for (const Specification& model : models) {
    for (const Dropout& dropout : {kept, dropped}) {
      test_finite_differences(level, model, dropout);
      test_invariance<float>(level, model, Optimizer::adam, unclipped, dropout);
      test_invariance<double>(level, model, Optimizer::adam, unclipped, dropout);
      test_threads<float>(level, model, dropout);
      test_threads<double>(level, model, dropout);
    }
    test_invariance<float>(level, model, Optimizer::adam, clipped, kept);
    test_invariance<double>(level, model, Optimizer::adam, clipped, kept);
    test_groups<float>(level, model, Optimizer::adam);
    test_groups<double>(level, model, Optimizer::sgd);
  }
  test_invariance<float>(level, models[2], Optimizer::sgd, unclipped, kept);
  test_invariance<double>(level, models[2], Optimizer::sgd, clipped, kept);
  test_side_by_side(level, models[3]);
}

}  // namespace
}  // namespace motegpt

int main(int argc, char** argv) {
  const std::vector<motegpt::Level> levels = motegpt::chosen_levels(argc, argv);
  if (levels.empty()) return motegpt::skipped;
  motegpt::test_memory();
  for (const motegpt::Level& level : levels) motegpt::test_level(level);
  return check::verdict("core");
}
