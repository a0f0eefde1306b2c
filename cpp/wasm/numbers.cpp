// The generators of runs, learning rates and the scalars of optimizers, which belong to no model. No
// mathematics here.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

#include "export.hpp"
#include "motegpt/random.hpp"
#include "motegpt/schedule.hpp"
#include "names.hpp"

namespace motegpt {

MOTEGPT_EXPORT(make_rng) RunRng* make_named_rng(const char* name, uint64_t seed) {
  Generator generator{};
  choose(generator, "rng", name, generator_names);
  return make_rng(generator, seed).release();
}

MOTEGPT_EXPORT(delete_rng) void delete_rng(RunRng* rng) { delete rng; }

MOTEGPT_EXPORT(uniform) double uniform(RunRng* rng) { return rng->uniform(); }

MOTEGPT_EXPORT(gauss) void gauss(RunRng* rng, double mean, double std, int n, double* out) {
  rng->fill_gauss(mean, std, n, out);
}

/// items: 0 … n - 1 -> in another order
MOTEGPT_EXPORT(shuffle) void shuffle(RunRng* rng, int n, uint32_t* items) { rng->shuffle(n, items); }

MOTEGPT_EXPORT(categorical) int categorical(RunRng* rng, const double* weights, int n) {
  return int(rng->categorical(weights, n));
}

/// The number of words -> words (at most 625), gauss_next (1), NaN for none
MOTEGPT_EXPORT(rng_state) int rng_state(const RunRng* rng, uint64_t* words, double* gauss_next) {
  const RngState state = rng->state();
  std::copy(state.words.begin(), state.words.end(), words);
  *gauss_next = state.gauss_next.value_or(std::numeric_limits<double>::quiet_NaN());
  return int(state.words.size());
}

/// Whether it is a state of such a generator.   words (count), gauss_next: NaN for none
MOTEGPT_EXPORT(restore_rng)
int restore_rng(RunRng* rng, const uint64_t* words, int count, double gauss_next) {
  RngState state{{words, words + count}, {}};
  if (!std::isnan(gauss_next)) state.gauss_next = gauss_next;
  return rng->restore(state);
}

/// The initial state of the stream of a text.
MOTEGPT_EXPORT(stream) uint64_t stream(uint64_t seed, double text) {
  return splitmix64(seed, uint64_t(text));
}

/// -> order (n)
MOTEGPT_EXPORT(epoch_order) void epoch_order(uint64_t seed, double epoch, int n, int32_t* order) {
  std::vector<int64_t> wide(static_cast<size_t>(n));
  epoch_orders(seed, uint64_t(epoch), 1, n, wide.data());
  std::copy(wide.begin(), wide.end(), order);
}

/// Bytes of StepSettings, which the caller allocates, all zero.
MOTEGPT_EXPORT(settings_size) int settings_size() { return int(sizeof(StepSettings)); }

MOTEGPT_EXPORT(settings_number) void settings_number(StepSettings* made, const char* name, double value) {
  const std::string_view setting = name;
#define MOTEGPT_NUMBER(field) \
  if (setting == #field) return void(made->field = decltype(made->field)(value));
  MOTEGPT_NUMBER(steps)
  MOTEGPT_NUMBER(warmup_steps)
  MOTEGPT_NUMBER(lr)
  MOTEGPT_NUMBER(lr_min)
  MOTEGPT_NUMBER(beta1)
  MOTEGPT_NUMBER(beta2)
  MOTEGPT_NUMBER(eps)
  MOTEGPT_NUMBER(momentum)
  MOTEGPT_NUMBER(weight_decay)
  MOTEGPT_NUMBER(ngram_weight_decay)
#undef MOTEGPT_NUMBER
  fail_unknown(setting);
}

MOTEGPT_EXPORT(settings_choice)
void settings_choice(StepSettings* made, const char* name, const char* value) {
  const std::string_view setting = name;
  if (setting == "schedule") return choose(made->schedule, name, value, schedule_names);
  if (setting == "optimizer") return choose(made->optimizer, name, value, optimizer_names);
  if (setting == "adam") return choose(made->adam, name, value, adam_form_names);
  fail_unknown(setting);
}

MOTEGPT_EXPORT(scalar_count) int scalar_count_of(const StepSettings* settings) {
  return scalar_count(settings->optimizer);
}

/// -> scalars (count, scalar_count)
MOTEGPT_EXPORT(scalars) void scalars(const StepSettings* settings, double first, int count, double* out) {
  step_scalars(*settings, int64_t(first), count, out);
}

/// -> learning rates (count)
MOTEGPT_EXPORT(rates) void rates(const StepSettings* settings, double first, int count, double* out) {
  for (int i = 0; i < count; ++i) out[i] = learning_rate(*settings, int64_t(first) + i);
}

/// -> factors of the n-gram tables after each step (count)
MOTEGPT_EXPORT(table_decays)
void table_decays(const StepSettings* settings, double first, int count, double* out) {
  for (int i = 0; i < count; ++i) out[i] = table_decay(*settings, int64_t(first) + i);
}

}  // namespace motegpt
