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
  /// advanced.   -> ids (n, max_new_tokens) and lengths (n), without `end` and `stop`
  /// Returns false if any logits are not finite; ids and lengths are then unspecified.
  virtual bool generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                        int64_t* lengths) = 0;
};

}  // namespace motegpt
