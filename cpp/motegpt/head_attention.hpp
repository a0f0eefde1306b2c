// Causal attention over one document by matrix products: any head width, any length.
//
// A product's rows are whole vectors, of which a narrow head would leave most lanes empty. So G heads are
// taken side by side: their numbers take turns, and every number below is G numbers, one of each head.
#pragma once

#include "head_layout.hpp"
#include "math.hpp"
#include "product.hpp"
#include "short_product.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// A head, or G adjacent ones, of one document. Pointers to qkv, y and their gradients are to the first channel
/// of the first head at the document's first position; strides count the elements of whole rows.
template <class Real>
struct Head {
  Index T;      // positions
  Index D;      // channels of a head
  Index k_at;   // offset from q to k
  Index v_at;   // and to v
  bool later;   // dk and dv are added to those of an earlier head with the same k and v
  Index row;    // stride of qkv and dqkv
  Index y_row;  // stride of y and dy
  const Real* qkv;
};

/// Numbers that head_attention saves for T positions of G heads: e of each (t, u), then 1 / Σe of each t.
template <class Real>
constexpr Index head_attention_tape(Index T, Index G) {
  return (T + 1) * padded<Real>(T * G);
}

namespace detail {

inline constexpr Index query_block = tallest;  // queries processed together

/// Queries whose dp stays cached until their part of dk and dv is taken, for T positions of G heads.
template <class Real>
constexpr Index query_stretch(Index T, Index G) {
  constexpr Index cache = 256 * 1024, fewest = 4 * query_block;
  const Index most = max(fewest, cache / (padded<Real>(max(T, Index(1)) * G) * Index(sizeof(Real))));
  const Index count = (T + most - 1) / most, blocks = (T + query_block - 1) / query_block;
  return count > 1 ? (blocks + count - 1) / count * query_block : T;
}

}  // namespace detail

/// Copies of parts of G heads in the layout that a product needs, and results of products.
template <class Real>
struct HeadScratch {
  Real* transposed;        // (D, T) k or v, transposed
  Real *q, *k, *dy;        // (T, D) in whole vectors; k is v in the forward
  Real *result, *dk, *dv;  // (T, D); the first is y, then dq
  Index stretch;           // see query_stretch
  Real* dp;                // (stretch, T)

  HeadScratch(Arena& arena, Index T, Index D, Index G)
      : transposed(arena.take<Real>(D * padded<Real>(T * G))),
        q(arena.take<Real>(T * padded<Real>(D * G))),
        k(arena.take<Real>(T * padded<Real>(D * G))),
        dy(arena.take<Real>(T * padded<Real>(D * G))),
        result(arena.take<Real>(T * padded<Real>(D * G))),
        dk(arena.take<Real>(T * padded<Real>(D * G))),
        dv(arena.take<Real>(T * padded<Real>(D * G))),
        stretch(detail::query_stretch<Real>(T, G)),
        dp(arena.take<Real>(stretch * padded<Real>(T * G))) {}
};

namespace detail {

/// The largest of x (count, whole vectors) and `largest`, lane by lane; in four chains, as each maximum waits
/// for the one before it.
template <class Real>
MOTEGPT_INLINE Vector<Real> largest_lanes(Index count, const Real* x, Vector<Real> largest) {
  constexpr int chains = 4;
  Vector<Real> chain[chains] = {largest, largest, largest, largest};
  Index u = 0;
  for (; u + chains * lanes<Real> <= count; u += chains * lanes<Real>) {
    MOTEGPT_UNROLL
    for (int i = 0; i < chains; ++i) chain[i] = maximum(chain[i], load(x + u + i * lanes<Real>));
  }
  for (; u < count; u += lanes<Real>) chain[0] = maximum(chain[0], load(x + u));
  return maximum(maximum(chain[0], chain[1]), maximum(chain[2], chain[3]));
}

/// e = exp(x - max x) over positions 0 … t, for query t; e is 0 beyond, up to number `end`, and replaces x.
/// Returns 1 / Σe. `largest` is that of the first `known` numbers, lane by lane.
template <class Real, int G>
Vector<Real> causal_softmax(Index t, Index end, Real* x, Vector<Real> largest, Index known = 0) {
  const Index count = (t + 1) * G, whole = count / lanes<Real> * lanes<Real>;
  const auto seen = lane_numbers<Real>() < broadcast(Real(count - whole));
  Vector<Real> total = {};
  largest = largest_lanes<Real>(whole - known, x + known, largest);
  if (whole < end) largest = maximum(largest, seen ? load(x + whole) : largest);
  largest = group_maximum<Real, lanes<Real>, G>(largest);
  for (Index u = 0; u < whole; u += lanes<Real>) {
    const Vector<Real> e = exp<Real>(load(x + u) - largest);
    store(x + u, e);
    total += e;
  }
  if (whole < end) {
    const Vector<Real> e = seen ? exp<Real>(load(x + whole) - largest) : Vector<Real>{};
    store(x + whole, e);
    total += e;
  }
  for (Index u = whole + lanes<Real>; u < end; u += lanes<Real>) store(x + u, Vector<Real>{});
  return Real(1) / group_sum<Real, lanes<Real>, G>(total);
}

/// e of R queries from t on and 1 / Σe of each. k: transposed, divided by √D.
///
///   q (R, D) and k (D, end), in rows of wider matrices -> e (R, end), inverse (R)
template <int R, int D, int G, class Real>
[[gnu::noinline]] void attend_short(Index t, Index end, const Real* q, Index q_row, const Real* k, Index row,
                                    Real* e, Vector<Real>* inverse) {
  const Index seen = (t + 1) * G / lanes<Real> * lanes<Real>;  // by all of them
  Vector<Real> largest[R];
  for (int r = 0; r < R; ++r) largest[r] = broadcast(-Real(__builtin_huge_val()));
  multiply_short<R, D, G>(seen, q, q_row, k, row, [&](int r, Index n, Vector<Real> x) {
    store(e + r * row + n, x);
    largest[r] = maximum(largest[r], x);
  });
  multiply_short<R, D, G>(end - seen, q, q_row, k + seen, row,
                          [&](int r, Index n, Vector<Real> x) { store(e + r * row + seen + n, x); });
  for (int r = 0; r < R; ++r) inverse[r] = causal_softmax<Real, G>(t + r, end, e + r * row, largest[r], seen);
}

/// Σ x · y of two rows in whole vectors, of each of G heads.
template <class Real, int G>
MOTEGPT_INLINE Vector<Real> dot(Index width, const Real* x, const Real* y) {
  Vector<Real> products = {};
  for (Index i = 0; i < width; i += lanes<Real>) products += load(x + i) * load(y + i);
  return group_sum<Real, lanes<Real>, G>(products);
}

template <class Real>
MOTEGPT_INLINE void scale_row(Index width, Vector<Real> factor, Real* x) {
  for (Index i = 0; i < width; i += lanes<Real>) store(x + i, load(x + i) * factor);
}

}  // namespace detail

/// Backward of p = softmax(s) for one query, where p = e · inverse and mean = Σ p · dp: ds = p · (dp - mean).
///
///   e, dp (end), e zero at positions after the query's; ds replaces dp
template <class Real>
struct SoftmaxBackward {
  MOTEGPT_INLINE void operator()(Index, Index end, const Real* e, Vector<Real> inverse, Vector<Real> mean,
                                 Real* dp) const {
    mean *= inverse;
    for (Index u = 0; u < end; u += lanes<Real>) store(dp + u, load(e + u) * (load(dp + u) * inverse - mean));
  }
};

namespace detail {

/// The same with dp = dy · vᵀ, which need not be stored, for R queries.
///
///   dy (R, D), v (D, end) and e (R, end), in rows of wider matrices, inverse and mean (R) -> ds (R, end)
template <int R, int D, int G, class Real>
[[gnu::noinline]] void softmax_backward_short(Index end, const Real* dy, Index dy_row, const Real* v,
                                              Index row, const Real* e, const Vector<Real>* inverse,
                                              const Vector<Real>* mean, Real* ds) {
  Vector<Real> factor[R], product[R];
  for (int r = 0; r < R; ++r) {
    factor[r] = inverse[r];
    product[r] = mean[r] * inverse[r];
  }
  multiply_short<R, D, G>(end, dy, dy_row, v, row, [&](int r, Index n, Vector<Real> dp) {
    store(ds + r * row + n, load(e + r * row + n) * (dp * factor[r] - product[r]));
  });
}

}  // namespace detail

/// y = p · v with p = softmax(q · kᵀ / √D), position t attending to 0 … t (Vaswani et al., 2017).
///
/// What is saved is e, and 1 / Σe: y is divided by Σe instead of every p.
///
///   qkv (T, C + 2 kv) -> tape (head_attention_tape), y (T, D)
template <class Real, int G = 1>
void head_attention(const Head<Real>& head, Real* tape, Real* y, const HeadScratch<Real>& scratch) {
  const auto [T, D, k_at, v_at, later, row, y_row, q] = head;
  const Real scale = 1 / square_root_of(Real(D));
  const Index width = padded<Real>(D * G), p_row = padded<Real>(T * G);
  Real* inverses = tape + T * p_row;
  detail::transpose_heads<Real, G>(T, D, q + k_at, row, scratch.transposed, scale);
  detail::gather_heads<Real, G>(T, D, q + v_at, row, scratch.k);
  if (G > 1) detail::gather_heads<Real, G>(T, D, q, row, scratch.q);
  const Real* left = G > 1 ? scratch.q : q;
  const Index left_row = G > 1 ? width : row;
  for (Index t = 0; t < T; t += detail::query_block) {
    const Index M = min(detail::query_block, T - t), end = padded<Real>((t + M) * G);
    Real *e = tape + t * p_row, *sums = scratch.result + t * width;
    Vector<Real> inverse[detail::query_block];
    const bool done = detail::for_short_rows(D, M, [&]<int R, int K>(Index i) {
      detail::attend_short<R, K, G>(t + i, end, left + (t + i) * left_row, left_row, scratch.transposed,
                                    p_row, e + i * p_row, inverse + i);
    });
    if (!done) {
      multiply<Real, G>(M, end, D, rows(left + t * left_row, left_row), row_major(scratch.transposed, p_row),
                        row_major(e, p_row), false);
      for (Index i = 0; i < M; ++i) {
        Real* x = e + i * p_row;
        inverse[i] = detail::causal_softmax<Real, G>(t + i, end, x, broadcast_few<G>(x));
      }
    }
    for (Index i = 0; i < M; ++i) {
      MOTEGPT_UNROLL
      for (int g = 0; g < G; ++g) inverses[(t + i) * G + g] = inverse[i][g];
    }
    multiply<Real, G>(M, width, t + M, rows<Real>(e, p_row), row_major(scratch.k, width),
                      row_major(sums, width), false);
    for (Index i = 0; i < M; ++i) detail::scale_row<Real>(width, inverse[i], sums + i * width);
  }
  detail::scatter_heads<Real, G>(T, D, scratch.result, y, y_row);
}

namespace detail {

/// out[u] = Σ matrix[t, u] · right[t] over the queries t = first … last - 1 that attend to u, added to the sum
/// over earlier queries.
///
///   matrix (last - first, T), lower triangle, right (T, D) -> out (T, D)
template <class Real, int G>
void sum_over_queries(Index first, Index last, const Real* matrix, Index stride, Real* right, Index width,
                      Real* out) {
  for (Index u = 0; u < last; u += query_block) {
    const Index M = min(query_block, last - u), from = max(first, u);
    const Real* column = matrix + (from - first) * stride + u * G;
    multiply<Real, G>(M, width, last - from, Rows<Real>{column, G, stride},
                      row_major(right + from * width, width), row_major(out + u * width, width), u < first);
  }
}

}  // namespace detail

/// Backward of y = p · v, p = softmax(s), s = q · kᵀ / √D: dp = dy · vᵀ, ds by SoftmaxBackward,
/// dq = ds · k / √D, dk = dsᵀ · q / √D, dv = pᵀ · dy.
///
/// Σ p · dp over u is dy · y, because y is Σ p · v.
///
///   tape and y of the forward, dy (T, D) -> dqkv (T, C + 2 kv), only the channels of these heads
template <class Real, int G = 1, class Softmax = SoftmaxBackward<Real>>
void head_attention_backward(const Head<Real>& head, const Real* tape, const Real* y, const Real* dy,
                             Real* dqkv, const HeadScratch<Real>& scratch,
                             const Softmax& softmax_backward = {}) {
  const auto [T, D, k_at, v_at, later, row, y_row, q] = head;
  const Real scale = 1 / square_root_of(Real(D));
  const Index width = padded<Real>(D * G), p_row = padded<Real>(T * G);
  const Real* inverses = tape + T * p_row;
  detail::transpose_heads<Real, G>(T, D, q + v_at, row, scratch.transposed);
  detail::gather_heads<Real, G>(T, D, q, row, scratch.q, scale);
  detail::gather_heads<Real, G>(T, D, q + k_at, row, scratch.k, scale);
  detail::gather_heads<Real, G>(T, D, dy, y_row, scratch.dy);
  detail::gather_heads<Real, G>(T, D, y, y_row, scratch.result);
  for (Index first = 0; first < T; first += scratch.stretch) {
    const Index last = min(first + scratch.stretch, T);
    for (Index t = first; t < last; t += detail::query_block) {
      const Index M = min(detail::query_block, last - t), end = padded<Real>((t + M) * G);
      Real* dp = scratch.dp + (t - first) * p_row;
      const Real* e = tape + t * p_row;
      Real* dy_rows = scratch.dy + t * width;
      Vector<Real> inverse[detail::query_block], mean[detail::query_block];
      for (Index i = 0; i < M; ++i) {
        inverse[i] = broadcast_few<G>(inverses + (t + i) * G);
        mean[i] = detail::dot<Real, G>(width, dy_rows + i * width, scratch.result + (t + i) * width);
      }
      bool done = false;
      if constexpr (__is_same(Softmax, SoftmaxBackward<Real>)) {
        done = detail::for_short_rows(D, M, [&]<int R, int K>(Index i) {
          detail::softmax_backward_short<R, K, G>(end, dy_rows + i * width, width, scratch.transposed, p_row,
                                                  e + i * p_row, inverse + i, mean + i, dp + i * p_row);
        });
      }
      if (!done) {
        multiply<Real, G>(M, end, D, rows(dy_rows, width), row_major(scratch.transposed, p_row),
                          row_major(dp, p_row), false);
        for (Index i = 0; i < M; ++i)
          softmax_backward(t + i, end, e + i * p_row, inverse[i], mean[i], dp + i * p_row);
      }
      for (Index i = 0; i < M; ++i) detail::scale_row<Real>(width, inverse[i], dy_rows + i * width);
      multiply<Real, G>(M, width, t + M, rows<Real>(dp, p_row), row_major(scratch.k, width),
                        row_major(scratch.result + t * width, width), false);
    }
    detail::sum_over_queries<Real, G>(first, last, scratch.dp, p_row, scratch.q, width, scratch.dk);
    detail::sum_over_queries<Real, G>(first, last, tape + first * p_row, p_row, scratch.dy, width,
                                      scratch.dv);
  }
  detail::scatter_heads<Real, G>(T, D, scratch.result, dqkv, row);
  detail::scatter_heads<Real, G>(T, D, scratch.dk, dqkv + k_at, row, later);
  detail::scatter_heads<Real, G>(T, D, scratch.dv, dqkv + v_at, row, later);
}

}  // namespace motegpt::MOTEGPT_LEVEL
