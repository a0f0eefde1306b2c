// The embedding of contexts of the last 2, 3, … tokens: x[n] += Σ_k ngram_k[row of the context].
#pragma once

#include "contexts.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The context of `parent` and the token before it; -1 if the table has none.
MOTEGPT_INLINE int child_of(const Contexts& contexts, int parent, int token) {
  const int64_t key = Contexts::key_of(parent, token);
  for (uint64_t i = contexts.first_of(key);; i = contexts.next_of(i)) {
    const Contexts::Edge edge = contexts.edges[i];
    if (edge.key == key) return edge.child;
    if (edge.key < 0) return -1;
  }
}

/// The rows of the contexts that end at `count` places, -1 for none, order by order, so that reading the
/// edges of one place need not wait for those of another. A context has a row only if the shorter ones have.
///
///   before(i): tokens before place i in its sequence, token(i, j): the one j before it -> rows (count, orders)
template <class Before, class Token>
void find_rows(const Contexts& contexts, Index count, Before before, Token token, int* rows) {
  const int orders = contexts.orders;
  for (int k = 0; k < orders; ++k) {
    const auto parent = [&](Index i) {
      if (before(i) <= k) return -1;
      const int row = k == 0 ? 0 : rows[i * orders + k - 1];
      return k == 0 ? token(i, 0) : row < 0 ? -1 : row + contexts.vocab_size;
    };
    for (Index i = 0; i < count; ++i) {
      const int node = parent(i);
      if (node >= 0)
        __builtin_prefetch(contexts.edges + contexts.first_of(Contexts::key_of(node, token(i, k + 1))));
    }
    for (Index i = 0; i < count; ++i) {
      const int node = parent(i), child = node < 0 ? -1 : child_of(contexts, node, token(i, k + 1));
      rows[i * orders + k] = child < 0 ? -1 : child - contexts.vocab_size;
    }
  }
}

/// What each position of a group adds.
template <class Real>
struct NGramRows {
  const int* rows = nullptr;  // (N, orders), -1 for none; null without an n-gram embedding
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
    const Real* found[Contexts::max_orders];
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

/// The last tokens of `width` sequences, for their contexts, and scratch.
template <class Real>
struct NGramStep {
  int* tokens = nullptr;  // (orders, width): that of position t in row t % orders
  int* rows = nullptr;    // (width, orders)
  Real* sum = nullptr;    // (C)

  static NGramStep take(Arena& arena, int orders, Index C, Index width) {
    if (orders == 0) return {};
    return {arena.take<int>(orders * width), arena.take<int>(orders * width), arena.take<Real>(C)};
  }
};

/// x[:, s] += Σ_k table[row of context k of sequence s] at position t; remembers the tokens.
///
///   ids (width), table (…, C) row-major, x (C, width) -> x
template <class Real>
void ngram_step(const Contexts& contexts, Index width, Index C, const int* ids, Index t, const Real* table,
                const NGramStep<Real>& step, Real* x) {
  const int orders = contexts.orders;
  if (orders == 0) return;
  const auto token = [&](Index s, Index j) {
    return j == 0 ? ids[s] : step.tokens[(t - j) % orders * width + s];
  };
  find_rows(contexts, width, [t](Index) { return t; }, token, step.rows);
  for (Index s = 0; s < width; ++s) {
    const int* rows = step.rows + s * orders;
    step.tokens[t % orders * width + s] = ids[s];
    if (rows[0] < 0) continue;
    for (Index c = 0; c < C; ++c) step.sum[c] = table[rows[0] * C + c];
    for (int k = 1; k < orders && rows[k] >= 0; ++k) {
      for (Index c = 0; c < C; ++c) step.sum[c] += table[rows[k] * C + c];
    }
    for (Index c = 0; c < C; ++c) x[c * width + s] += step.sum[c];
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
