// The embedding of contexts of the last 2, 3, … tokens: x[n] += Σ_k ngram_k[row of the context].
#pragma once

#include "contexts.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Tables of the n-gram embedding at most: contexts of 2 … 8 tokens.
inline constexpr int max_ngram_orders = 7;

/// The context of `parent` and the token before it; -1 if the table has none.
MOTEGPT_INLINE int child_of(const Contexts& contexts, int parent, int token) {
  const int64_t key = Contexts::key_of(parent, token);
  for (uint64_t i = contexts.first_of(key);; i = contexts.next_of(i)) {
    const Contexts::Edge edge = contexts.edges[i];
    if (edge.key == key) return edge.child;
    if (edge.key < 0) return -1;
  }
}

/// The rows of the contexts that end at a position with `before` tokens before it, -1 for none. A context has a
/// row only if the shorter ones that end there have.
///
///   token_before(i): the token i positions before -> rows (orders)
template <class F>
MOTEGPT_INLINE void find_rows(const Contexts& contexts, Index before, F token_before, int* rows) {
  int node = token_before(0);
  for (int k = 0; k < contexts.orders; ++k) {
    if (node >= 0) node = k < before ? child_of(contexts, node, token_before(k + 1)) : -1;
    rows[k] = node < 0 ? -1 : node - contexts.vocab_size;
  }
}

/// What each position of a group adds.
template <class Real>
struct NGramRows {
  const int* rows = nullptr;    // (N, orders), -1 for none; null without an n-gram embedding
  int orders = 0;
  const Real* table = nullptr;  // (all rows, C)
  Real scale = 1;               // of the rows that dropout keeps

  NGramRows from(Index n) const { return {rows + n * orders, orders, table, scale}; }
};

/// x[n] += scale · Σ_k table[rows[n][k]].   table (…, C) and x (N, C) in whole vectors
template <class Real>
void ngram_embedding(Index N, Index C, const NGramRows<Real>& given, Real* x) {
  const Index row = padded<Real>(C);
  const int* rows = given.rows;
  for (Index n = 0; n < N; ++n, rows += given.orders, x += row) {
    const Real* found[max_ngram_orders];
    int count = 0;
    for (int k = 0; k < given.orders; ++k) {
      found[count] = given.table + rows[k] * row;
      count += rows[k] >= 0;
    }
    if (count == 0) continue;
    for (Index c = 0; c < row; c += lanes<Real>) {
      Vector<Real> sum = load(found[0] + c);
      for (int i = 1; i < count; ++i) sum += load(found[i] + c);
      store(x + c, load(x + c) + sum * given.scale);
    }
  }
}

/// The last tokens of `width` sequences, for their contexts, and room for one sum.
template <class Real>
struct NGramStep {
  int* tokens = nullptr;  // (orders, width): that of position t in row t % orders
  Real* sum = nullptr;    // (C)

  static NGramStep take(Arena& arena, int orders, Index C, Index width) {
    if (orders == 0) return {};
    return {arena.take<int>(orders * width), arena.take<Real>(padded<Real>(C))};
  }
};

/// x[:, s] += Σ_k table[row of the context of order k of sequence s] at position t; the tokens are remembered.
///
///   ids (width), table (…, C) row-major, x (C, width) -> x
template <class Real>
void ngram_step(const Contexts& contexts, Index width, Index C, const int* ids, Index t, const Real* table,
                const NGramStep<Real>& step, Real* x) {
  const int orders = contexts.orders;
  for (Index s = 0; orders > 0 && s < width; ++s) {
    int rows[max_ngram_orders];
    find_rows(
        contexts, t, [&](Index i) { return i == 0 ? ids[s] : step.tokens[(t - i) % orders * width + s]; }, rows);
    if (rows[0] >= 0) {
      for (Index c = 0; c < C; ++c) step.sum[c] = table[rows[0] * C + c];
      for (int k = 1; k < orders && rows[k] >= 0; ++k) {
        for (Index c = 0; c < C; ++c) step.sum[c] += table[rows[k] * C + c];
      }
      for (Index c = 0; c < C; ++c) x[c * width + s] += step.sum[c];
    }
    step.tokens[t % orders * width + s] = ids[s];
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
