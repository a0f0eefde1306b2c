// The texts of a call of generation, and which of them each column of the sequences has.
#pragma once

#include "generation.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Whether the last `count` of `length` ids are those of `end`.
inline bool ends_with(const int32_t* ids, Index length, const int32_t* end, Index count) {
  if (length < count) return false;
  for (Index i = 0; i < count; ++i) {
    if (ids[length - count + i] != end[i]) return false;
  }
  return true;
}

/// Texts that are generated side by side.
struct Texts {
  const Request& request;
  uint64_t* states;  // (n)
  int32_t* ids;      // (n, max_new_tokens)
  int64_t* lengths;  // (n)

  Texts from(Index first) const {
    return {request, states + first, ids + first * request.max_new_tokens, lengths + first};
  }

  int32_t* ids_of(Index text) const { return ids + text * request.max_new_tokens; }

  /// Token i of a text, prompt included.
  int token_at(Index text, Index i) const {
    return i < request.prompt_length ? request.prompt[i] : ids_of(text)[i - request.prompt_length];
  }

  /// Append a token. Returns whether the text goes on: no `end`, and no `stop`, which is removed.
  bool append(Index text, int token) const {
    if (token == request.end) return false;
    int64_t& length = lengths[text];
    ids_of(text)[length++] = token;
    if (request.stop_length == 0 || !ends_with(ids_of(text), length, request.stop, request.stop_length))
      return true;
    for (Index i = 0; i < request.stop_length; ++i) ids_of(text)[--length] = no_token;
    return false;
  }

  /// The last token of `stop` where it would end a text that is too short; -1 elsewhere.
  int masked_stop(Index text) const {
    const Index missing = request.stop_length - 1, length = lengths[text];
    if (missing < 0 || length - missing >= request.min_new_tokens) return -1;
    return ends_with(ids_of(text), length, request.stop, missing) ? request.stop[missing] : -1;
  }
};

/// The texts of neighboring columns.
struct TextColumns {
  int* text;      // which text each has
  bool* running;  // whether it goes on
  int* token;     // its last token
  uint8_t* seen;  // (V, stride): the tokens that it has; null: not needed
  Index stride;

  static TextColumns take(Arena& arena, Index V, Index columns) {
    return {arena.take<int>(columns), arena.take<bool>(columns), arena.take<int>(columns),
            arena.take<uint8_t>(V * columns), columns};
  }
  TextColumns from(Index s) const {
    return {text + s, running + s, token + s, seen ? seen + s : nullptr, stride};
  }

  void move(Index V, Index from, Index to) const {
    text[to] = text[from];
    token[to] = token[from];
    running[to] = running[from];
    running[from] = false;
    for (Index i = 0; seen && i < V; ++i) seen[i * stride + to] = seen[i * stride + from];
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
