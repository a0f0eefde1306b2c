// What can be asked of a decoder, in types that are the same for every processor level (see core.hpp).
#pragma once

#include "core.hpp"

namespace motegpt {

/// What every sequence begins with, and how it goes on.
struct Request {
  const int32_t* prompt;
  int64_t prompt_length;  // at least 1
  int stop;               // the token that ends a sequence
  double temperature;     // 0: always the likeliest token
};

/// Sequences that grow token by token, with the keys and values of what they have seen.
template <class Real>
class Decoder {
 public:
  virtual ~Decoder();

  /// Forget everything that was fed.
  virtual void reset() = 0;

  /// Append a token to each sequence.   ids (n) -> logits (n, V) of the token to follow
  virtual void feed(const int32_t* ids, Real* logits) = 0;

  /// Draw n texts, sequence i with the linear congruential generator of state states[i], which goes on.
  /// -> ids (n, room) and lengths (n), the stop token left out, where room = block_size - prompt_length + 1
  virtual void generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                        int64_t* lengths) = 0;
};

}  // namespace motegpt
