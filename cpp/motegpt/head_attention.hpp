// Causal attention of one head over one document, by matrix products: any head width, any length.
#pragma once

#include "math.hpp"
#include "product.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// One head of one document. Pointers to its qkv, y and their gradients are to the head's first channel at
/// the document's first position; strides count the elements of whole rows.
template <class Real>
struct Head {
  Index T;      // positions
  Index D;      // channels of the head
  Index k_at;   // offset from q to k
  Index v_at;   // and to v
  bool later;   // dk and dv are added to those of an earlier head with the same k and v
  Index row;    // stride of qkv and dqkv
  Index y_row;  // stride of y and dy
  Index p_row;  // stride of p
  const Real* qkv;
};

/// Copies of parts of a head in the layout that a product needs, and results of products.
template <class Real>
struct HeadScratch {
  Real* transposed;  // (D, T) k or v, transposed
  Real* first;       // (T, D) in whole vectors
  Real* second;      // (T, D)
  Real* result;      // (T, D)
  Real* dp;          // (T, T)

  HeadScratch(Arena& arena, Index T, Index D)
      : transposed(arena.take<Real>(D * padded<Real>(T))),
        first(arena.take<Real>(T * padded<Real>(D))),
        second(arena.take<Real>(T * padded<Real>(D))),
        result(arena.take<Real>(T * padded<Real>(D))),
        dp(arena.take<Real>(T * padded<Real>(T))) {}
};

namespace detail {

inline constexpr Index query_block = tallest;  // queries processed together

/// x (T, D) in rows of a wider matrix -> (T, D) in whole vectors, zeros at the end.
template <class Real>
void gather_head(Index T, Index D, const Real* x, Index row, Real* out) {
  const Index out_row = padded<Real>(D);
  for (Index t = 0; t < T; ++t, x += row, out += out_row) {
    Index d = 0;
    for (; d + lanes<Real> <= D; d += lanes<Real>) store(out + d, load(x + d));
    if (d < D) store(out + d, Vector<Real>{});
    for (; d < D; ++d) out[d] = x[d];
  }
}

/// The inverse: (T, D) in whole vectors -> rows of a wider matrix, or added to them.
template <class Real>
void scatter_head(Index T, Index D, const Real* x, Real* out, Index row, bool accumulate = false) {
  for (Index t = 0; t < T; ++t, x += padded<Real>(D), out += row) {
    Index d = 0;
    for (; d + lanes<Real> <= D; d += lanes<Real>)
      store(out + d, accumulate ? load(out + d) + load(x + d) : load(x + d));
    for (; d < D; ++d) out[d] = accumulate ? out[d] + x[d] : x[d];
  }
}

/// x (T, D) in rows of a wider matrix -> (D, T), rows in whole vectors, zeros at the end.
template <class Real>
void transpose_head(Index T, Index D, const Real* x, Index row, Real* out) {
  const Index out_row = padded<Real>(T);
  for (Index t = 0; t < T; t += lanes<Real>) {
    for (Index d = 0; d < D; d += lanes<Real>) {
      const Index height = min<Index>(T - t, lanes<Real>), width = min<Index>(D - d, lanes<Real>);
      Vector<Real> block[lanes<Real>] = {};
      for (Index i = 0; i < height; ++i) {
        const Real* from = x + (t + i) * row + d;
        if (width == lanes<Real>)
          block[i] = load(from);
        else
          for (Index j = 0; j < width; ++j) block[i][j] = from[j];
      }
      transpose<Real>(block);
      for (Index j = 0; j < width; ++j) store(out + (d + j) * out_row + t, block[j]);
    }
  }
}

/// p = softmax(x · scale) over positions 0 … t, for query t; p is 0 at t + 1 … end - 1.   p replaces x (end)
template <class Real>
void causal_softmax(Index t, Index end, Real scale, Real* x) {
  Vector<Real> largest = broadcast(x[0]), total = {};
  const Index whole = (t + 1) / lanes<Real> * lanes<Real>;
  const auto seen = lane_numbers<Real>() <= broadcast(Real(t - whole));
  for (Index u = 0; u < whole; u += lanes<Real>) largest = maximum(largest, load(x + u));
  if (whole < end) largest = maximum(largest, seen ? load(x + whole) : largest);
  largest = group_maximum<Real>(largest);
  for (Index u = 0; u < whole; u += lanes<Real>) {
    const Vector<Real> e = exp<Real>((load(x + u) - largest) * scale);
    store(x + u, e);
    total += e;
  }
  if (whole < end) {
    const Vector<Real> e = seen ? exp<Real>((load(x + whole) - largest) * scale) : Vector<Real>{};
    store(x + whole, e);
    total += e;
  }
  for (Index u = whole + lanes<Real>; u < end; u += lanes<Real>) store(x + u, Vector<Real>{});
  const Real inverse = 1 / sum<Real>(total);
  for (Index u = 0; u < t + 1; u += lanes<Real>) store(x + u, load(x + u) * inverse);
}

}  // namespace detail

/// Backward of p = softmax(s · scale) for one query: ds = p · (dp - Σ p · dp) · scale.
///
///   p, dp (end), p zero at positions after the query's; ds replaces dp
template <class Real>
struct SoftmaxBackward {
  void operator()(Index, Index end, Real scale, const Real* p, Real* dp) const {
    Vector<Real> products = {};
    for (Index u = 0; u < end; u += lanes<Real>) products += load(p + u) * load(dp + u);
    const Vector<Real> mean = group_sum<Real>(products);
    for (Index u = 0; u < end; u += lanes<Real>) store(dp + u, load(p + u) * (load(dp + u) - mean) * scale);
  }
};

/// y = p · v with p = softmax(q · kᵀ / √D), position t attending to 0 … t (Vaswani et al., 2017).
///
///   qkv (T, C + 2 kv) -> p (T, T) lower triangle, y (T, D)
template <class Real>
void head_attention(const Head<Real>& head, Real* p, Real* y, const HeadScratch<Real>& scratch) {
  const auto [T, D, k_at, v_at, later, row, y_row, p_row, q] = head;
  const Real *k = q + k_at, *v = q + v_at;
  const Real scale = 1 / square_root_of(Real(D));
  const Index width = padded<Real>(D), transposed_row = padded<Real>(T);
  detail::transpose_head(T, D, k, row, scratch.transposed);
  detail::gather_head(T, D, v, row, scratch.first);
  for (Index t = 0; t < T; t += detail::query_block) {
    const Index M = min(detail::query_block, T - t), end = padded<Real>(t + M);
    Real* scores = p + t * p_row;
    multiply(M, end, D, rows(q + t * row, row), row_major(scratch.transposed, transposed_row),
             row_major(scores, p_row), false);
    for (Index i = 0; i < M; ++i) detail::causal_softmax(t + i, end, scale, scores + i * p_row);
    multiply(M, width, t + M, rows<Real>(scores, p_row), row_major(scratch.first, width),
             row_major(scratch.result + t * width, width), false);
  }
  detail::scatter_head(T, D, scratch.result, y, y_row);
}

/// Backward of y = p · v, p = softmax(s / √D), s = q · kᵀ: dp = dy · vᵀ, ds by SoftmaxBackward,
/// dq = ds · k, dk = dsᵀ · q, dv = pᵀ · dy.
///
///   p (T, T) of the forward, dy (T, D) -> dqkv (T, C + 2 kv), only the channels of this head
template <class Real, class Softmax = SoftmaxBackward<Real>>
void head_attention_backward(const Head<Real>& head, const Real* p, const Real* dy, Real* dqkv,
                             const HeadScratch<Real>& scratch, const Softmax& softmax_backward = {}) {
  const auto [T, D, k_at, v_at, later, row, y_row, p_row, q] = head;
  const Real *k = q + k_at, *v = q + v_at;
  const Real scale = 1 / square_root_of(Real(D));
  const Index width = padded<Real>(D), transposed_row = padded<Real>(T), dp_row = transposed_row;
  const Columns<Real> result = row_major(scratch.result, width);
  detail::transpose_head(T, D, v, row, scratch.transposed);
  detail::gather_head(T, D, k, row, scratch.first);
  for (Index t = 0; t < T; t += detail::query_block) {
    const Index M = min(detail::query_block, T - t), end = padded<Real>(t + M);
    Real* dp = scratch.dp + t * dp_row;
    multiply(M, end, D, rows(dy + t * y_row, y_row), row_major(scratch.transposed, transposed_row),
             row_major(dp, dp_row), false);
    for (Index i = 0; i < M; ++i) softmax_backward(t + i, end, scale, p + (t + i) * p_row, dp + i * dp_row);
    multiply(M, width, t + M, rows<Real>(dp, dp_row), row_major(scratch.first, width),
             row_major(scratch.result + t * width, width), false);
  }
  detail::scatter_head(T, D, scratch.result, dqkv, row);

  // dk and dv of position u are sums over the queries that attend to it: those of its block and later ones.
  const auto over_queries = [&](const Real* matrix, Index stride, const Real* right, Real* out) {
    for (Index u = 0; u < T; u += detail::query_block) {
      const Index M = min(detail::query_block, T - u);
      multiply(M, width, T - u, transposed(matrix + u * stride + u, stride),
               row_major(const_cast<Real*>(right) + u * width, width),
               row_major(result.data + u * width, width), false);
    }
    detail::scatter_head(T, D, scratch.result, out, row, later);
  };
  detail::gather_head(T, D, q, row, scratch.first);
  over_queries(scratch.dp, dp_row, scratch.first, dqkv + k_at);
  detail::gather_head(T, D, dy, y_row, scratch.second);
  over_queries(p, p_row, scratch.second, dqkv + v_at);
}

/// head_attention_backward as an object, for attention.hpp.
struct HeadAttentionBackward {
  void operator()(const auto&... given) const { head_attention_backward(given...); }
};

}  // namespace motegpt::MOTEGPT_LEVEL
