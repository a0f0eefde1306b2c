// Generators and learning rates against numbers of the Python definition; tests/test_numbers.py compares many
// more, bit for bit.
#include <algorithm>
#include <numeric>
#include <string>

#include "check.hpp"
#include "motegpt/random.hpp"
#include "motegpt/schedule.hpp"

namespace motegpt {
namespace {

const Generator generators[] = {Generator::python, Generator::lcg, Generator::xoshiro128plus};

/// What Python gives for seed 2^64 - 1: the last of 1001 gauss(0.5, 0.08), then a uniform number, then 0 … 9
/// shuffled, then eight categorical indices with the weights 0.2, 0.3, 0.5.
struct Expected {
  double gauss, uniform;
  std::vector<uint32_t> items;
  std::vector<int64_t> indices;
};

const Expected expected[] = {
    {0x1.d3eb527a94c3fp-2, 0x1.5f394a48ed2c2p-2, {3, 1, 6, 9, 8, 2, 4, 0, 5, 7}, {1, 2, 0, 1, 2, 0, 1, 2}},
    {0x1.0f22700000000p-1, 0x1.31aa560000000p-3, {2, 3, 0, 4, 8, 7, 9, 5, 6, 1}, {2, 2, 2, 2, 2, 2, 0, 2}},
    {0x1.c4c94e0000000p-2, 0x1.55ab287800000p-1, {1, 0, 3, 9, 2, 7, 8, 5, 6, 4}, {2, 1, 2, 1, 2, 2, 2, 1}},
};

void test_numbers(Generator generator) {
  const std::string name = generator_names[int(generator)];
  const Expected& one = expected[int(generator)];
  const auto rng = make_rng(generator, UINT64_MAX);
  std::vector<double> normals(1001);
  rng->fill_gauss(0.5, 0.08, int64_t(normals.size()), normals.data());
  check::near(normals.back(), one.gauss, 1, 1e-14, name + ": gauss");
  check::that(rng->uniform() == one.uniform, name + ": uniform");
  std::vector<uint32_t> items(10);
  std::iota(items.begin(), items.end(), 0);
  rng->shuffle(10, items.data());
  check::that(items == one.items, name + ": shuffle");
  const double weights[] = {0.2, 0.3, 0.5};
  for (const int64_t index : one.indices)
    check::that(rng->categorical(weights, 3) == index, name + ": categorical");
  rng->shuffle(0, nullptr);
  rng->fill_gauss(0, 1, 0, nullptr);
}

/// A restored generator goes on as the other does, in the middle of a pair of normal numbers too.
void test_state(Generator generator) {
  const std::string name = generator_names[int(generator)];
  const auto rng = make_rng(generator, 42), other = make_rng(generator, 7);
  for (int i = 0; i < 777; ++i) rng->gauss(0, 1);
  check::that(other->restore(rng->state()), name + ": restore");
  for (int i = 0; i < 2000; ++i) check::that(rng->gauss(1, 2) == other->gauss(1, 2), name + ": restored");
  check::that(rng->state().words == other->state().words, name + ": state");

  RngState longer = rng->state(), zeros = rng->state();
  longer.words.push_back(0);
  std::fill(zeros.words.begin(), zeros.words.end(), 0);
  check::that(!rng->restore(longer) && !rng->restore({}), name + ": no state");
  check::that(rng->restore(zeros) == (generator != Generator::xoshiro128plus), name + ": zeros");
  if (generator != Generator::lcg) {
    zeros.words.back() = uint64_t(1) << 32;
    check::that(!rng->restore(zeros), name + ": words of 33 bits");
  }
}

void test_streams() {
  uint64_t state = splitmix64(1234567, 0);
  check::that(state == 6457827717110365317u, "splitmix64");
  check::that(next_uniform(state) == 0x1.4fff1e981556cp-3, "next_uniform");
}

void test_epoch_orders() {
  std::vector<int64_t> orders(12, -1), whole(3 * 1000), part(1000);
  epoch_orders(7, 3, 2, 6, orders.data());
  check::that(orders == std::vector<int64_t>{1, 4, 2, 0, 3, 5, 3, 2, 5, 4, 0, 1}, "epoch_orders");
  epoch_orders(7, 3, 3, 1000, whole.data());
  epoch_orders(7, 5, 1, 1000, part.data());
  check::that(std::equal(part.begin(), part.end(), whole.begin() + 2000), "an epoch on its own");
  int64_t only = -1;
  epoch_orders(7, 3, 1, 1, &only);
  check::that(only == 0, "one document");
  epoch_orders(7, 3, 4, 0, nullptr);
}

StepSettings small() {
  return {10,  2,    Schedule::cosine, 0.1, 0.01, Optimizer::adam, AdamForm::corrected,
          0.9, 0.99, 1e-8,             0.8, 0.5,  0.25};
}

void test_learning_rates() {
  StepSettings s = small();
  check::that(learning_rate(s, 0) == 0.05 && learning_rate(s, 1) == 0.1, "warmup");
  check::near(learning_rate(s, 6), 0.055, 1, 1e-15, "cosine, half way");
  check::that(learning_rate(s, 2) == 0.1, "cosine, first");
  s.schedule = Schedule::linear;
  check::that(learning_rate(s, 6) == 0.05, "linear, half way");
  s.schedule = Schedule::linear_to_zero;
  check::that(learning_rate(s, 9) == 0.0, "linear_to_zero, last");
  s.schedule = Schedule::constant;
  check::that(learning_rate(s, 9) == 0.1, "constant");
  s.steps = 1;  // fewer than those of warmup
  check::that(learning_rate(s, 0) == 0.05, "nothing but warmup");
}

void test_scalars() {
  StepSettings s = small();
  s.schedule = Schedule::constant;
  AdamScalars adam[3];
  step_scalars(s, 2, 3, &adam[0].beta1);
  check::that(scalar_count(Optimizer::adam) == 8 && scalar_count(Optimizer::sgd) == 3, "scalar_count");
  check::near(adam[0].step_size, 0.1 / (1 - 0.729), 1, 1e-15, "step_size");
  check::near(adam[2].v_scale, 1 / (1 - 0.9509900499), 100, 1e-14, "v_scale");
  check::that(adam[1].beta2 == 0.99 && adam[1].decay == 1 - 0.1 * 0.5 && adam[1].eps == 1e-8, "constants");
  s.adam = AdamForm::folded;
  step_scalars(s, 2, 1, &adam[0].beta1);
  check::near(adam[0].step_size, 0.1 * std::sqrt(1 - 0.970299) / (1 - 0.729), 1, 1e-15, "folded step_size");
  check::that(adam[0].beta1 == double(0.9f) && adam[0].v_scale == 1, "folded betas");
  s.optimizer = Optimizer::sgd;
  SGDScalars sgd[2];
  step_scalars(s, 0, 2, &sgd[0].momentum);
  check::that(sgd[0].momentum == 0.8 && sgd[0].lr == 0.05 && sgd[1].lr == 0.1, "sgd");

  check::that(table_decay(s, 6) == 1 && table_decay(s, 8) == 1, "tables between two decays");
  double factor = 1;
  for (int i = 0; i < 8; ++i) factor *= 1 - learning_rate(s, i) * 0.25;
  check::that(table_decay(s, 7) == factor && factor < 1, "decay of the tables");
  s.ngram_weight_decay = 0;
  check::that(table_decay(s, 7) == 1, "no decay of the tables");
}

}  // namespace
}  // namespace motegpt

int main() {
  for (const motegpt::Generator generator : motegpt::generators) {
    motegpt::test_numbers(generator);
    motegpt::test_state(generator);
  }
  motegpt::test_streams();
  motegpt::test_epoch_orders();
  motegpt::test_learning_rates();
  motegpt::test_scalars();
  return check::verdict("numbers");
}
