// Whole texts, for as many sequences as a bundle has columns: windows, sampling, and where each text ends.
#pragma once

#include "filters.hpp"
#include "generation.hpp"
#include "kneser_ney.hpp"
#include "model.hpp"
#include "sampler.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The model of generation, which needs no gradients.
template <class Real>
using StepModel = Model<Real, Textbook<Real>>;

/// Sequences in a bundle at most: as many columns as one tile of a product covers.
template <class Real>
inline constexpr Index max_bundle_width = panel_width<Real>;

/// Generates the texts of one bundle at a time.
template <class Real>
class Generator {
 public:
  Generator(const Shape& shape, Arena& arena)
      : shape_(shape),
        uniforms_(arena.take<double>(max_width)),
        e_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        weights_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        log_p_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        heap_(arena.take<int>(shape.vocab_size)),
        tokens_(arena.take<int>(max_width)),
        latest_(arena.take<int>(max_width)),
        running_(arena.take<bool>(max_width)),
        seen_memory_(arena.take<uint8_t>(Index(shape.vocab_size) * max_width)) {}

  /// As Decoder::generate, for `count` sequences of a bundle.   w (P) canonical
  bool operator()(const StepModel<Real>& model, const Real* w, Bundle<Real>& bundle, const Request& request,
                  Index count, uint64_t* states, int32_t* ids, int64_t* lengths) {
    begin(bundle, request, count, lengths);
    Index start = window_start(request.prompt_length);
    feed_window(model, w, bundle, request, start, request.prompt_length, count, ids);
    for (Index at = 0;; ++at) {
      if (!is_finite(bundle, count)) return false;
      choose(bundle, request, count, states, at, ids, lengths);
      bool running = append(request.end, request.max_new_tokens, count, at, ids, lengths);
      if (request.stop_length > 0) running = cut_stops(request, count, at + 1, ids, lengths);
      if (!running || at + 1 == request.max_new_tokens) return true;
      for (Index s = 0; seen_ && s < count; ++s) seen_[latest_[s] * bundle.width + s] = 1;
      const Index length = request.prompt_length + at + 1, moved = window_start(length);
      if (moved == start) {
        model.step(w, latest_, bundle);
      } else {
        feed_window(model, w, bundle, request, start = moved, length, count, ids);
      }
    }
  }

 private:
  static constexpr Index max_width = max_bundle_width<Real>;

  /// No tokens yet: all sequences run, and have seen the text of the prompt.
  void begin(const Bundle<Real>& bundle, const Request& request, Index count, int64_t* lengths) {
    for (Index s = 0; s < count; ++s) {
      lengths[s] = 0;
      running_[s] = true;
    }
    seen_ = request.filters.repetition_penalty == 1 ? nullptr : seen_memory_;
    if (!seen_) return;
    for (Index i = 0; i < shape_.vocab_size * bundle.width; ++i) seen_[i] = 0;
    for (Index i = request.prompt_length - request.n_prefix_tokens; i < request.prompt_length; ++i) {
      for (Index s = 0; s < bundle.width; ++s) seen_[request.prompt[i] * bundle.width + s] = 1;
    }
  }

  /// Append tokens_ to every sequence that has not ended. Returns whether any goes on.
  bool append(int end, Index max_new_tokens, Index count, Index at, int32_t* ids, int64_t* lengths) {
    bool any = false;
    for (Index s = 0; s < count; ++s) {
      if (!running_[s]) continue;
      latest_[s] = tokens_[s];
      running_[s] = tokens_[s] != end;
      if (!running_[s]) continue;
      ids[s * max_new_tokens + at] = tokens_[s];
      lengths[s] = at + 1;
      any = true;
    }
    return any;
  }

  /// End the sequences that end with request.stop, and remove it from them. Returns whether any goes on.
  bool cut_stops(const Request& request, Index count, Index length, const int32_t* ids, int64_t* lengths) {
    bool any = false;
    for (Index s = 0; s < count; ++s) {
      if (!running_[s]) continue;
      running_[s] = !ends_with(ids + s * request.max_new_tokens, length, request.stop, request.stop_length);
      if (!running_[s]) lengths[s] = length - request.stop_length;
      any |= running_[s];
    }
    return any;
  }

  static bool ends_with(const int32_t* ids, Index length, const int32_t* end, Index count) {
    if (length < count) return false;
    for (Index i = 0; i < count; ++i) {
      if (ids[length - count + i] != end[i]) return false;
    }
    return true;
  }

  /// The first token that the model sees of a sequence of this length; sampling/context.py has the same rule.
  Index window_start(Index length) const {
    const Index block = shape_.block_size, stride = block - max(Index(1), block / 2) + 1;
    return length <= block ? 0 : (length - block + stride - 1) / stride * stride;
  }

  /// Feed tokens start … length - 1 of every sequence that runs, prompt included, to an empty bundle.
  void feed_window(const StepModel<Real>& model, const Real* w, Bundle<Real>& bundle, const Request& request,
                   Index start, Index length, Index count, const int32_t* ids) {
    bundle.position = 0;
    for (Index i = start; i < length; ++i) {
      for (Index s = 0; s < bundle.width; ++s) {
        const bool is_known = i < request.prompt_length || (s < count && running_[s]);
        latest_[s] = is_known ? token_at(request, i, s, ids) : 0;
      }
      model.step(w, latest_, bundle);
    }
  }

  /// Token i of a text, prompt included.
  static int token_at(const Request& request, Index i, Index s, const int32_t* ids) {
    const Index at = i - request.prompt_length;
    return at < 0 ? request.prompt[i] : ids[s * request.max_new_tokens + at];
  }

  /// Whether the logits of every sequence that runs are finite; those of other columns do not matter.
  bool is_finite(const Bundle<Real>& bundle, Index count) const {
    if (all_finite(shape_.vocab_size * bundle.width, bundle.logits)) return true;
    for (Index s = 0; s < count; ++s) {
      if (running_[s] && !column_is_finite(shape_.vocab_size, bundle.logits + s, bundle.width)) return false;
    }
    return true;
  }

  /// tokens_ (width) from the bundle's logits; a sequence that still runs takes a uniform number for it.
  void choose(const Bundle<Real>& bundle, const Request& request, Index count, uint64_t* states, Index at,
              const int32_t* ids, const int64_t* lengths) {
    const Index width = bundle.width;
    if (is_random(request.filters.temperature)) {
      for (Index s = 0; s < width; ++s) uniforms_[s] = s < count && running_[s] ? next_uniform(states[s]) : 0;
    }
    for (Index s = 0; s < count; s += batch_lanes) {
      const Real* logits = bundle.logits + s;
      if (!request.n_grams) {
        choose_lanes(logits, width, width, request, count, at, s, ids, lengths);
      } else if (average_lanes(logits, width, request, count, at, s, ids)) {
        choose_lanes(log_p_, batch_lanes, width, request, count, at, s, ids, lengths);
      }
    }
  }

  /// log_p_ (V, batch_lanes) of the average of model and n-grams, for the sequences from s on. Returns whether
  /// any of them runs.
  bool average_lanes(const Real* logits, Index stride, const Request& request, Index count, Index at, Index s,
                     const int32_t* ids) {
    const Index length = request.prompt_length + at, start = window_start(length);
    int histories[batch_lanes][largest_order];
    bool runs[batch_lanes], any = false;
    for (Index lane = 0; lane < batch_lanes; ++lane) {
      any |= runs[lane] = s + lane < count && running_[s + lane];
      for (Index i = 0; runs[lane] && i < request.n_grams->order - 1; ++i) {
        const Index place = length - 1 - i;
        histories[lane][i] = place < start ? shape_.vocab_size : token_at(request, place, s + lane, ids);
      }
    }
    if (any) average(*request.n_grams, shape_.vocab_size, logits, stride, histories, runs, e_, log_p_);
    return any;
  }

  /// tokens_ from s on.   logits (V, stride), the first of their columns; seen_ (V, width)
  template <class Number>
  void choose_lanes(const Number* logits, Index stride, Index width, const Request& request, Index count,
                    Index at, Index s, const int32_t* ids, const int64_t* lengths) {
    const Index V = shape_.vocab_size;
    const double temperature = request.filters.temperature;
    if (is_filtered(request)) {
      choose_filtered(logits, stride, width, request, count, at, s, ids, lengths);
    } else if (is_random(temperature)) {
      draw(V, logits, stride, temperature, uniforms_ + s, e_, tokens_ + s);
    } else {
      for (Index lane = 0; lane < min(Index(batch_lanes), count - s); ++lane)
        tokens_[s + lane] = argmax(V, logits + lane, stride);
    }
  }

  static bool is_filtered(const Request& request) {
    const Filters& filters = request.filters;
    return request.masked || request.min_new_tokens > 0 || filters.repetition_penalty != 1 ||
           filters.top_k > 0 || filters.top_p < 1 || filters.min_p > 0;
  }

  template <class Number>
  void choose_filtered(const Number* logits, Index stride, Index width, const Request& request, Index count,
                       Index at, Index s, const int32_t* ids, const int64_t* lengths) {
    const FilterScratch scratch{e_, weights_, heap_};
    int per_sequence_mask[batch_lanes][2];
    for (Index lane = 0; lane < batch_lanes; ++lane) {
      const bool runs = s + lane < count && running_[s + lane];
      per_sequence_mask[lane][0] = at < request.min_new_tokens ? request.end : -1;
      per_sequence_mask[lane][1] =
          runs ? masked_stop(request, ids + (s + lane) * request.max_new_tokens, lengths[s + lane]) : -1;
    }
    const Masks masks{request.masked, seen_ ? seen_ + s : nullptr, width, per_sequence_mask};
    draw_filtered(shape_.vocab_size, logits, stride, request.filters, masks, uniforms_ + s, scratch,
                  tokens_ + s);
  }

  /// The last token of request.stop where it would end a sequence that is too short; -1 elsewhere.
  static int masked_stop(const Request& request, const int32_t* ids, Index length) {
    const Index missing = request.stop_length - 1;
    if (missing < 0 || length - missing >= request.min_new_tokens) return -1;
    return ends_with(ids, length, request.stop, missing) ? request.stop[missing] : -1;
  }

  const Shape& shape_;
  double *uniforms_, *e_, *weights_, *log_p_;
  int *heap_, *tokens_, *latest_;
  bool* running_;
  uint8_t *seen_memory_, *seen_ = nullptr;  // (V, width); null without a repetition penalty
};

}  // namespace motegpt::MOTEGPT_LEVEL
