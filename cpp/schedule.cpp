// Compiled with -ffp-contract=off: every operation rounds once, as in Python.
#include "motegpt/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

namespace motegpt {
namespace {

using std::numbers::pi;

double single(double x) { return double(float(x)); }

/// With t = step + 1:
///   corrected   step_size = lr / (1-β1ᵗ),             v_scale = 1 / (1-β2ᵗ)
///   folded      step_size = lr · √(1-β2ᵗ) / (1-β1ᵗ),  v_scale = 1, and β and 1-β in single precision
AdamScalars adam_scalars(const StepSettings& s, double lr, double decay, int64_t step) {
  const double t = double(step + 1);
  const double m_correction = 1.0 - std::pow(s.beta1, t), v_correction = 1.0 - std::pow(s.beta2, t);
  switch (s.adam) {
    case AdamForm::corrected:
      return {s.beta1, 1.0 - s.beta1,     s.beta2,            1.0 - s.beta2,
              decay,   lr / m_correction, 1.0 / v_correction, s.eps};
    case AdamForm::folded: {
      const double beta1 = single(s.beta1), beta2 = single(s.beta2);
      const double step_size = lr * std::sqrt(v_correction) / m_correction;
      return {beta1, single(1.0 - beta1), beta2, single(1.0 - beta2), decay, step_size, 1.0, s.eps};
    }
  }
  __builtin_unreachable();
}

template <class Scalars>
double* append(double* out, const Scalars& scalars) {
  const auto* numbers = reinterpret_cast<const double*>(&scalars);
  static_assert(sizeof scalars == sizeof(double) * std::size(Scalars::names));
  return std::copy(numbers, numbers + std::size(Scalars::names), out);
}

}  // namespace

double learning_rate(const StepSettings& s, int64_t step) {
  const int64_t completed = step - s.warmup_steps;
  const double done = double(completed), total = double(std::max(int64_t(1), s.steps - s.warmup_steps));
  if (completed < 0) return s.lr * double(step + 1) / double(s.warmup_steps);
  switch (s.schedule) {
    case Schedule::linear: return s.lr * (1.0 - done / total);
    case Schedule::linear_to_zero: return s.lr * (1.0 - (done + 1.0) / total);
    case Schedule::cosine: {
      const double decay = 0.5 * (1.0 + std::cos(pi * done / total));
      return s.lr_min + (s.lr - s.lr_min) * decay;
    }
    case Schedule::constant: return s.lr;
  }
  __builtin_unreachable();
}

int scalar_count(Optimizer optimizer) {
  switch (optimizer) {
    case Optimizer::adam: return int(std::size(AdamScalars::names));
    case Optimizer::sgd: return int(std::size(SGDScalars::names));
  }
  __builtin_unreachable();
}

void step_scalars(const StepSettings& s, int64_t first, int64_t count, double* scalars) {
  for (int64_t step = first; step < first + count; ++step) {
    const double lr = learning_rate(s, step), decay = 1.0 - lr * s.weight_decay;
    switch (s.optimizer) {
      case Optimizer::adam: scalars = append(scalars, adam_scalars(s, lr, decay, step)); break;
      case Optimizer::sgd: scalars = append(scalars, SGDScalars{s.momentum, decay, lr}); break;
    }
  }
}

double table_decay(const StepSettings& s, int64_t step) {
  if ((step + 1) % table_decay_every || s.ngram_weight_decay == 0) return 1.0;
  double factor = 1.0;
  for (int64_t i = step + 1 - table_decay_every; i <= step; ++i)
    factor *= 1.0 - learning_rate(s, i) * s.ngram_weight_decay;
  return factor;
}

}  // namespace motegpt
