// The contexts of the n-gram embedding, as all levels read them (see core.hpp).
#pragma once

#include <stdint.h>

namespace motegpt {

/// A trie of contexts: nodes 0 … vocab_size - 1 are the tokens, node vocab_size + r is the context whose
/// vector is row r of the tables, one after the other. The child of a node is the context longer by one token.
///
/// Its edges are one hash table with open addressing and linear probing, at most half full.
struct Contexts {
  struct Edge {
    int64_t key;  // parent << token_bits | token; -1: none
    int32_t child;
  };

  static constexpr int token_bits = 20;
  static constexpr int max_orders = 7;  // tables: of contexts of 2 … 8 tokens

  const Edge* edges = nullptr;  // (2^(64 - shift))
  int shift = 0;
  int vocab_size = 0;
  int orders = 0;  // tables: of contexts of 2 … orders + 1 tokens

  static int64_t key_of(int64_t parent, int64_t token) { return parent << token_bits | token; }

  /// Where the search for a key begins: Fibonacci hashing (Knuth, TAOCP 3, section 6.4).
  uint64_t first_of(int64_t key) const { return uint64_t(key) * 0x9E37'79B9'7F4A'7C15u >> shift; }
  uint64_t next_of(uint64_t i) const { return (i + 1) & (~uint64_t(0) >> shift); }
};

}  // namespace motegpt
