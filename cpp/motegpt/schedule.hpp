// Learning rates and the scalars that an optimizer takes per step. src/motegpt/model/schedule.py and
// src/motegpt/optim/ define them; these give the same numbers, bit for bit, with the C library's pow, sqrt
// and cos. No function throws. Steps are counted from 0.
#pragma once

#include "core.hpp"

namespace motegpt {

enum class Schedule { linear, linear_to_zero, cosine, constant };

/// What Python calls them, in order.
inline constexpr const char* schedule_names[] = {"linear", "linear_to_zero", "cosine", "constant"};

/// Where Adam adds eps: after the bias correction, or before it.
enum class AdamForm { corrected, folded };

/// What Python calls them, in order.
inline constexpr const char* adam_form_names[] = {"corrected", "folded"};

/// The training settings of these functions, by their names in Python.
struct StepSettings {
  int64_t steps, warmup_steps;
  Schedule schedule;
  double lr, lr_min;
  Optimizer optimizer;
  AdamForm adam;
  double beta1, beta2, eps;  // Adam
  double momentum;           // SGD
  double weight_decay, ngram_weight_decay;
};

/// The learning rate of a step.
double learning_rate(const StepSettings& settings, int64_t step);

/// Scalars per step: the size of the optimizer's `names` in core.hpp.
int scalar_count(Optimizer optimizer);

/// The scalars of the steps first … first + count - 1.   -> scalars (count, scalar_count)
void step_scalars(const StepSettings& settings, int64_t first, int64_t count, double* scalars);

/// The factor of the tables after the update of a step. The decay of table_decay_every steps acts at once.
double table_decay(const StepSettings& settings, int64_t step);

inline constexpr int64_t table_decay_every = 8;

}  // namespace motegpt
