// The interface of a decoder, in types that are the same for every processor level (see core.hpp).
#pragma once

#include "core.hpp"

namespace motegpt {

/// Changes to the distribution of the next token before sampling, in the order of generation/filters.py.
struct Filters {
  double temperature;         // 0: always the most likely token
  double repetition_penalty;  // 1: none
  int64_t top_k;              // 0: off
  double top_p;               // 1: off
  double min_p;               // 0: off
};

/// The n-grams of one length, 2 or more (src/motegpt/ngrams/kneser_ney.py). A context is what precedes the last
/// token; contexts are sorted by the shorter context that they end with, n-grams by their context.
struct NGramLevel {
  const int64_t* children;  // (shorter contexts + 1): the first context that ends with each
  const int32_t* first;     // (contexts): first tokens, ascending for each shorter context
  const int64_t* starts;    // (contexts + 1): the first n-gram of each
  const int32_t* last;      // (n-grams): last tokens
  const double* share;      // (n-grams): (c - D) / Σ c
  const double* backoff;    // (contexts): γ
};

inline constexpr int largest_order = 8;

/// Kneser-Ney n-grams of up to `order` tokens, and their weight in the average with the model.
struct NGrams {
  int order;
  NGramLevel levels[largest_order - 1];  // of 2, 3, … tokens
  const double* unigrams;                // (V): p of each token after an unknown one
  double weight;
};

/// What follows the last id of a text.
inline constexpr int32_t no_token = -1;

/// How sequences begin, continue and end, as in generation/request.py.
struct Request {
  const int32_t* prompt;
  int64_t prompt_length;    // at least 1
  int64_t n_prefix_tokens;  // of the prompt, at its end: part of the text, so they count as seen
  int64_t min_new_tokens, max_new_tokens;  // not counting `end`; max_new_tokens >= 1
  int end;                                 // the token that ends a sequence; -1: none
  const int32_t* stop;                     // tokens that end a sequence, and are removed from it
  int64_t stop_length;
  const uint8_t* masked;  // (V): not 0 for tokens that are never sampled; null: none
  Filters filters;
  const NGrams* n_grams = nullptr;  // averaged with the model; null: none
};

/// Sequences that grow token by token, with their cached keys and values.
template <class Real>
class Decoder {
 public:
  virtual ~Decoder();

  /// Forget everything that was fed.
  virtual void reset() = 0;

  /// Replace the history of sequence i by that of sequence sources[i].   sources (n), each 0 … n - 1
  virtual void reorder(const int32_t* sources) = 0;

  /// Append a token to each sequence.   ids (n) -> logits (n, V) of the token to follow
  virtual void feed(const int32_t* ids, Real* logits) = 0;

  /// Generate n texts; text i draws from the linear congruential generator with state states[i], which is
  /// advanced.   -> ids (n, max_new_tokens) and lengths (n), without `end` and `stop`; no_token
  /// follows the ids of a text.
  /// Returns false if any logits are not finite; ids and lengths are then unspecified.
  virtual bool generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                        int64_t* lengths) = 0;
};

}  // namespace motegpt
