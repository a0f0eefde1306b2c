#include "motegpt/context_trie.hpp"

#include <string>

#include "motegpt/fail.hpp"

namespace motegpt {

ContextTrie::ContextTrie(int vocab_size, const std::vector<std::vector<int64_t>>& keys)
    : vocab_size_(vocab_size), orders_(int(keys.size())) {
  int64_t count = 0;
  for (const auto& order : keys) count += int64_t(order.size());
  while ((int64_t(1) << (64 - shift_)) < 2 * count) --shift_;
  edges_.assign(size_t(1) << (64 - shift_), {-1, 0});
  // Nodes first_parent … first_parent + parents - 1 are the contexts of the order before.
  int64_t first_parent = 0, parents = vocab_size, child = vocab_size;
  for (const auto& order : keys) {
    int64_t before = -1;
    for (const int64_t key : order) {
      const int64_t row = key >> Contexts::token_bits, token = key - (row << Contexts::token_bits);
      if (key <= before || row >= parents || token >= vocab_size) {
        fail("Specification: expected ascending keys of contexts with rows below " + std::to_string(parents) +
             " and tokens below " + std::to_string(vocab_size) + ", got " + std::to_string(key) + " after " +
             std::to_string(before));
      }
      insert(Contexts::key_of(first_parent + row, token), int32_t(child++));
      before = key;
    }
    first_parent += parents;
    parents = int64_t(order.size());
  }
}

void ContextTrie::insert(int64_t key, int32_t child) {
  const Contexts at = view();
  uint64_t i = at.first_of(key);
  while (edges_[i].key >= 0) i = at.next_of(i);
  edges_[i] = {key, child};
}

}  // namespace motegpt
