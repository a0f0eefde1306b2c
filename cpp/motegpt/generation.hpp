// What can be asked of a decoder, in types that are the same for every processor level (see core.hpp).
#pragma once

#include "core.hpp"

namespace motegpt {

/// What happens to the probabilities of a token before it is drawn. The order is that of sampling/filters.py.
struct Filters {
  double temperature;         // 0: always the most likely token
  double repetition_penalty;  // 1: none
  int64_t top_k;              // 0: off
  double top_p;               // 1: off
  double min_p;               // 0: off
};

/// How sequences begin, go on and end: the twin of sampling/request.py.
struct Request {
  const int32_t* prompt;
  int64_t prompt_length;                   // at least 1
  int64_t n_prefix_tokens;                 // how many of its last tokens are text, and so count as seen
  int64_t min_new_tokens, max_new_tokens;  // tokens to draw, the end not counted; max_new_tokens >= 1
  int end;                                 // the token that ends a sequence; -1: none
  const int32_t* stop;  // tokens that end a sequence when they have been drawn, and are taken off again
  int64_t stop_length;
  const uint8_t* masked;  // (V): not 0 where a token is never drawn; null: none is
  Filters filters;
};

/// Sequences that grow token by token, with the keys and values of what they have seen.
template <class Real>
class Decoder {
 public:
  virtual ~Decoder();

  /// Forget everything that was fed.
  virtual void reset() = 0;

  /// Let sequence i go on from what sequence sources[i] was fed.   sources (n), each 0 … n - 1
  virtual void reorder(const int32_t* sources) = 0;

  /// Append a token to each sequence.   ids (n) -> logits (n, V) of the token to follow
  virtual void feed(const int32_t* ids, Real* logits) = 0;

  /// Draw n texts, sequence i with the linear congruential generator of state states[i], which goes on.
  /// -> ids (n, max_new_tokens) and lengths (n), what ends a sequence left out
  /// Returns false, and nothing of use, where a token would be drawn from logits that are not finite.
  virtual bool generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                        int64_t* lengths) = 0;
};

}  // namespace motegpt
