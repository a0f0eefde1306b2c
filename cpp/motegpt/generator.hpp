// Whole texts: the prompt, windows, and where each text ends.
//
// All texts of a wave are at the same position. The prompt is fed once and its keys and values are copied. When
// enough texts have ended, the others move together, so that columns without use are not computed.
#pragma once

#include "choice.hpp"
#include "first_layer.hpp"
#include "sequences.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Generates texts, as many side by side as there are sequences.
template <class Real>
class Generator {
 public:
  Generator(const Shape& shape, int orders, Index n, Arena& arena)
      : shape_(shape),
        n_((n + widest - 1) / widest * widest),
        columns_(TextColumns::take(arena, shape.vocab_size, n_)),
        seen_(columns_.seen),
        beginning_(Sequences<Real>::Beginning::take(arena, shape, orders)),
        logits_(arena.take<Real>(shape.vocab_size)),
        choice_(shape, widest, arena),
        first_layer_(shape, orders, arena) {}

  /// As Decoder::generate.   w (P) canonical
  bool operator()(const StepModel<Real>& model, const Real* w, Sequences<Real>& sequences, Index n,
                  const Texts& texts) {
    if (n == 0) return true;
    if (!feed_prompt(model, w, sequences, texts.request)) return false;
    for (Index first = 0; first < n; first += sequences.n) {
      if (!wave(model, w, sequences, min(sequences.n, n - first), texts.from(first))) return false;
    }
    return true;
  }

 private:
  static constexpr Index widest = max_bundle_width<Real>;

  /// What all texts begin with, and the logits (V) after it. Returns whether these are finite.
  bool feed_prompt(const StepModel<Real>& model, const Real* w, Sequences<Real>& sequences,
                   const Request& request) {
    sequences.restart(min(sequences.n, Index(2)));  // a single sequence is fed as one
    Bundle<Real>& bundle = sequences.bundle[0];
    for (Index i = window_start(request.prompt_length); i < request.prompt_length; ++i) {
      for (Index s = 0; s < bundle.width; ++s) sequences.ids[s] = request.prompt[i];
      first_layer_.step(model, w, sequences.ids, bundle);
    }
    sequences.save(beginning_);
    for (Index v = 0; v < shape_.vocab_size; ++v) logits_[v] = bundle.logits[v * bundle.width];
    return column_is_finite(shape_.vocab_size, logits_, 1);
  }

  /// `count` texts. Returns whether all logits are finite.
  bool wave(const StepModel<Real>& model, const Real* w, Sequences<Real>& sequences, Index count,
            const Texts& texts) {
    const Request& request = texts.request;
    begin(sequences, count, texts);
    Index start = window_start(request.prompt_length);
    for (Index at = 0;; ++at) {
      const Index length = request.prompt_length + at, before = start;
      start = window_start(length);
      for (Index i = 0; i < sequences.bundles; ++i) {
        Bundle<Real>& bundle = sequences.bundle[i];
        const TextColumns columns = columns_.from(i * widest);
        if (at == 0) {
          fill_rows(shape_.vocab_size, bundle.width, logits_, bundle.logits, false);
        } else if (start == before) {
          first_layer_.step(model, w, columns.token, bundle);
        } else {
          feed_window(model, w, bundle, texts, columns, start, length);
        }
        if (at > 0 && !is_finite(bundle, columns)) return false;
        choice_(bundle.logits, bundle.width, texts, columns, start);
        append(bundle.width, texts, columns);
      }
      if (at + 1 == request.max_new_tokens || !move_together(sequences)) return true;
    }
  }

  /// No tokens yet: all texts run, and have seen that of the prompt.
  void begin(Sequences<Real>& sequences, Index count, const Texts& texts) {
    const Request& request = texts.request;
    sequences.restart(count);
    sequences.begin_with(beginning_);
    for (Index s = 0; s < sequences.columns(); ++s) {
      columns_.text[s] = int(s);
      columns_.running[s] = s < count;
      columns_.token[s] = 0;
    }
    for (Index s = 0; s < count; ++s) {
      texts.lengths[s] = 0;
      for (Index i = 0; i < request.max_new_tokens; ++i) texts.ids_of(s)[i] = no_token;
    }
    columns_.seen = request.filters.repetition_penalty == 1 ? nullptr : seen_;
    if (!columns_.seen) return;
    for (Index i = 0; i < shape_.vocab_size * n_; ++i) seen_[i] = 0;
    for (Index i = request.prompt_length - request.n_prefix_tokens; i < request.prompt_length; ++i) {
      for (Index s = 0; s < n_; ++s) seen_[request.prompt[i] * n_ + s] = 1;
    }
  }

  /// The token of every text that runs.
  void append(Index width, const Texts& texts, const TextColumns& columns) const {
    for (Index s = 0; s < width; ++s) {
      if (!columns.running[s]) continue;
      columns.running[s] = texts.append(columns.text[s], columns.token[s]);
      if (columns.seen && columns.running[s]) columns.seen[columns.token[s] * columns.stride + s] = 1;
    }
  }

  /// Use fewer columns if enough texts have ended. Returns whether any runs.
  bool move_together(Sequences<Real>& sequences) {
    const Index all = sequences.columns();
    Index running = 0;
    for (Index s = 0; s < all; ++s) running += columns_.running[s];
    if (running == 0) return false;
    const Index needed = running == 1 ? 1 : (running + column_unit - 1) / column_unit * column_unit;
    if (needed >= all || (needed == 1 && all == padded<Real>(1))) return true;
    Index free = 0;
    for (Index s = needed; s < all; ++s) {
      if (!columns_.running[s]) continue;
      while (columns_.running[free]) ++free;
      sequences.move(s, free);
      columns_.move(shape_.vocab_size, s, free);
    }
    sequences.shrink(needed);
    return true;
  }

  /// The first token that the model sees of a text of this length; sampling/context.py has the same rule.
  Index window_start(Index length) const {
    const Index block = shape_.block_size, stride = block - max(Index(1), block / 2) + 1;
    return length <= block ? 0 : (length - block + stride - 1) / stride * stride;
  }

  /// Feed tokens start … length - 1 of every text that runs, prompt included, to an empty bundle.
  void feed_window(const StepModel<Real>& model, const Real* w, Bundle<Real>& bundle, const Texts& texts,
                   const TextColumns& columns, Index start, Index length) {
    bundle.position = 0;
    for (Index i = start; i < length; ++i) {
      for (Index s = 0; s < bundle.width; ++s)
        columns.token[s] = columns.running[s] ? texts.token_at(columns.text[s], i) : 0;
      first_layer_.step(model, w, columns.token, bundle);
    }
  }

  /// Whether the logits of every text that runs are finite; those of other columns do not matter.
  bool is_finite(const Bundle<Real>& bundle, const TextColumns& columns) const {
    if (all_finite(shape_.vocab_size * bundle.width, bundle.logits)) return true;
    for (Index s = 0; s < bundle.width; ++s) {
      if (columns.running[s] && !column_is_finite(shape_.vocab_size, bundle.logits + s, bundle.width))
        return false;
    }
    return true;
  }

  const Shape& shape_;
  Index n_;  // columns at most
  TextColumns columns_;
  uint8_t* seen_;  // (V, n)
  typename Sequences<Real>::Beginning beginning_;
  Real* logits_;  // (V)
  Choice<Real> choice_;
  FirstLayer<Real> first_layer_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
