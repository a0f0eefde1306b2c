// The next token of each sequence of a bundle: the average with n-grams, filters, and the draw.
#pragma once

#include "filters.hpp"
#include "kneser_ney.hpp"
#include "texts.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Chooses tokens from logits.
template <class Real>
class Choice {
 public:
  /// widest: columns at most
  Choice(const Shape& shape, Index widest, Arena& arena)
      : shape_(shape),
        uniforms_(arena.take<double>(widest)),
        e_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        weights_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        log_p_(arena.take<double>(Index(shape.vocab_size) * batch_lanes)),
        edges_(arena.take<float>(min(Index(shape.vocab_size), most_in_single) * lanes<float>)),
        heap_(arena.take<int>(shape.vocab_size)) {}

  /// logits (V, width) -> columns.token; a text that still runs takes a uniform number for it.
  ///
  /// start: the first token of the texts that the model sees
  void operator()(const Real* logits, Index width, const Texts& texts, const TextColumns& columns,
                  Index start) {
    const Request& request = texts.request;
    if (is_random(request.filters.temperature)) {
      for (Index s = 0; s < width; ++s)
        uniforms_[s] = columns.running[s] ? next_uniform(texts.states[columns.text[s]]) : 0;
    }
    Index s = 0;
    for (; is_plain(request) && s + lanes<float> <= width; s += lanes<float>) {
      const TextColumns here = columns.from(s);
      if (draw_in_single(shape_.vocab_size, logits + s, width, request.filters.temperature, uniforms_ + s,
                         here.running, edges_, here.token))
        continue;
      for (Index lane = 0; lane < lanes<float>; lane += batch_lanes)
        choose(logits + s + lane, width, texts, here.from(lane), uniforms_ + s + lane);
    }
    for (; s < width; s += batch_lanes) {
      const TextColumns here = columns.from(s);
      if (!request.n_grams) {
        choose(logits + s, width, texts, here, uniforms_ + s);
      } else if (average_lanes(logits + s, width, texts, here, start)) {
        choose(log_p_, batch_lanes, texts, here, uniforms_ + s);
      }
    }
  }

 private:
  /// log_p_ (V, batch_lanes) of the average of model and n-grams. Returns whether any of the texts runs.
  bool average_lanes(const Real* logits, Index stride, const Texts& texts, const TextColumns& columns,
                     Index start) {
    const NGrams& n_grams = *texts.request.n_grams;
    int histories[batch_lanes][largest_order];
    bool any = false;
    for (Index lane = 0; lane < batch_lanes; ++lane) {
      if (!columns.running[lane]) continue;
      any = true;
      const Index text = columns.text[lane], length = texts.request.prompt_length + texts.lengths[text];
      for (Index i = 0; i < n_grams.order - 1; ++i) {
        const Index place = length - 1 - i;
        histories[lane][i] = place < start ? shape_.vocab_size : texts.token_at(text, place);
      }
    }
    if (any) average(n_grams, shape_.vocab_size, logits, stride, histories, columns.running, e_, log_p_);
    return any;
  }

  /// Tokens of batch_lanes columns.   logits (V, stride), the first of their columns
  template <class Number>
  void choose(const Number* logits, Index stride, const Texts& texts, const TextColumns& columns,
              const double* uniforms) {
    const Index V = shape_.vocab_size;
    const double temperature = texts.request.filters.temperature;
    if (is_filtered(texts.request)) {
      choose_filtered(logits, stride, texts, columns, uniforms);
    } else if (is_random(temperature)) {
      draw(V, logits, stride, temperature, uniforms, e_, columns.token);
    } else {
      for (Index lane = 0; lane < batch_lanes; ++lane) {
        if (columns.running[lane]) columns.token[lane] = argmax(V, logits + lane, stride);
      }
    }
  }

  /// Whether tokens can be drawn in single precision.
  bool is_plain(const Request& request) const {
    return !request.n_grams && !is_filtered(request) && is_moderate(request.filters.temperature) &&
           shape_.vocab_size <= most_in_single;
  }

  static bool is_filtered(const Request& request) {
    const Filters& filters = request.filters;
    return request.masked || request.min_new_tokens > 0 || filters.repetition_penalty != 1 ||
           filters.top_k > 0 || filters.top_p < 1 || filters.min_p > 0;
  }

  template <class Number>
  void choose_filtered(const Number* logits, Index stride, const Texts& texts, const TextColumns& columns,
                       const double* uniforms) {
    const Request& request = texts.request;
    int per_sequence_mask[batch_lanes][2];
    for (Index lane = 0; lane < batch_lanes; ++lane) {
      const bool runs = columns.running[lane];
      const Index text = columns.text[lane];
      per_sequence_mask[lane][0] =
          runs && texts.lengths[text] < request.min_new_tokens ? request.end : -1;
      per_sequence_mask[lane][1] = runs ? texts.masked_stop(text) : -1;
    }
    const Masks masks{request.masked, columns.seen, columns.stride, per_sequence_mask};
    draw_filtered(shape_.vocab_size, logits, stride, request.filters, masks, uniforms, {e_, weights_, heap_},
                  columns.token);
  }

  const Shape& shape_;
  double *uniforms_, *e_, *weights_, *log_p_;
  float* edges_;  // (V, lanes<float>)
  int* heap_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
