// Builds the contexts of the n-gram embedding. Compiled once, for all processor levels.
#pragma once

#include <vector>

#include "contexts.hpp"

namespace motegpt {

/// Owns the edges of a trie of contexts.
class ContextTrie {
 public:
  /// keys: of each order 2, 3, … as in src/motegpt/ngrams/contexts.py: row << 20 | token in ascending order,
  /// where row is that of the context without its first token, or its one token. Fails (fail.hpp)
  /// unless every row and token exists.
  ContextTrie(int vocab_size, const std::vector<std::vector<int64_t>>& keys);

  Contexts view() const { return {edges_.data(), shift_, vocab_size_, orders_}; }

 private:
  void insert(int64_t key, int32_t child);

  int shift_ = 63, vocab_size_, orders_;
  std::vector<Contexts::Edge> edges_;
};

}  // namespace motegpt
