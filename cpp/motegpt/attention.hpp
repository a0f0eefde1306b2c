// Causal attention of all heads (Vaswani et al., 2017): y = p · v with p = softmax(q · kᵀ / √D), position t
// attending to positions 0 … t of its document.
//
// In training the work on a document is done head by head (head_attention.hpp) or, where heads are narrow, by
// vectors that hold several heads (narrow_attention.hpp).
#pragma once

#include "head_attention.hpp"
#include "heads.hpp"
#include "hooks.hpp"
#include "narrow_attention.hpp"
#include "work_split.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The choice between the two, and the sizes that follow from it.
template <class Real>
struct AttentionPlan {
  /// Up to this block_size · D, computing exp once per channel is cheaper than moving numbers between lanes.
  static constexpr Index max_narrow_work = 128;

  bool narrow;
  int heads;       // that a product takes side by side
  Index units;     // pieces of work in a document: heads of keys, or vectors of channels
  Index shared;    // heads of queries in a unit
  Index tape_row;  // numbers of AttentionTape::p for each position of a document
  Index C, kv, D, block_size;

  /// head_by_head: never by vectors.
  AttentionPlan(const Shape& shape, bool head_by_head)
      : narrow(!head_by_head && has_narrow_heads<Real>(shape) && shape.n_kv_head == shape.n_head &&
               Index(shape.block_size) * shape.head_size() <= max_narrow_work),
        heads(head_by_head ? 1 : heads_side_by_side<Real>(shape, most_heads(shape))),
        units(narrow ? shape.n_embd / lanes<Real> : shape.n_kv_head / heads),
        shared(shape.n_head / shape.n_kv_head),
        tape_row(narrow
                     ? units * narrow_attention_tape<Real>(shape.block_size) / shape.block_size + lanes<Real>
                     : units * shared * (padded<Real>(shape.block_size * heads) + 2 * lanes<Real>)),
        C(shape.n_embd),
        kv(shape.kv_size()),
        D(shape.head_size()),
        block_size(shape.block_size) {}

  Index row() const { return padded<Real>(C); }
  Index qkv_row() const { return padded<Real>(C + 2 * kv); }
  Index channels_per_unit() const { return narrow ? lanes<Real> : heads * D; }

  HeadScratch<Real> take_scratch(Arena& arena) const {
    return {arena, narrow ? 0 : block_size, narrow ? 0 : D, heads};
  }

 private:
  /// Threads that share one document need two units at least.
  static int most_heads(const Shape& shape) {
    const double work = 12.0 * shape.n_layer * shape.n_embd * shape.n_embd * shape.block_size;
    return work > WorkSplit::min_work_per_thread ? max(shape.n_head / 2, 1) : shape.n_head;
  }
};

/// What the backward needs, and the output.
template <class Real>
struct AttentionTape {
  Real* qkv;  // (N, C + 2 kv)
  Real* p;    // (N, tape_row) e and 1 / Σe of softmax, unit by unit for each document
  Real* y;    // (N, C)

  static AttentionTape take(Arena& arena, const AttentionPlan<Real>& plan, Index N) {
    return {arena.take<Real>(N * plan.qkv_row()), arena.take<Real>(N * plan.tape_row),
            arena.take<Real>(N * plan.row())};
  }
  /// p is not offset: it is laid out by document, not by row.
  AttentionTape from(Index row, const AttentionPlan<Real>& plan) const {
    return {qkv + row * plan.qkv_row(), p, y + row * plan.row()};
  }
};

namespace detail {

/// A head of queries or a vector of narrow heads of a document: its first number in rows of C and of C + 2 kv,
/// and its part of the tape.
template <class Real>
struct AttentionUnit {
  Index at, qkv_at;
  NarrowHeads<Real> narrow;
  Head<Real> head;
  Real* p;

  AttentionUnit(const AttentionPlan<Real>& plan, const AttentionTape<Real>& tape, Document document, Index i)
      : at(document.first * plan.row() + i * plan.channels_per_unit()),
        qkv_at(document.first * plan.qkv_row() + i * plan.channels_per_unit()),
        narrow{document.length, plan.C, plan.qkv_row(), plan.row(), tape.qkv + qkv_at},
        head{document.length,
             plan.D,
             plan.C + (i / plan.shared - i) * plan.D,
             plan.C + (i / plan.shared - i) * plan.D + plan.kv,
             i % plan.shared > 0,
             plan.qkv_row(),
             plan.row(),
             tape.qkv + qkv_at},
        p(tape.p + document.first * plan.tape_row +
          i * (plan.narrow ? narrow_attention_tape<Real>(document.length)
                           : head_attention_tape<Real>(document.length, plan.heads))) {}
};

/// Calls narrow<D>(unit) or head(unit), whichever the plan has chosen, for this thread's units of a group.
///
/// Rows of a document may belong to several threads, hence the barriers.
template <class Real, class NarrowUnit, class HeadUnit>
void for_units(const AttentionPlan<Real>& plan, const Part& part, const AttentionTape<Real>& tape,
               const NarrowUnit& narrow, const HeadUnit& head) {
  using Unit = AttentionUnit<Real>;
  part.share.barrier();
  if (plan.narrow) {
    with_lanes<Real>(plan.D, [&]<int D>() {
      part.for_units(plan.units, [&](Document document, Index i) {
        narrow.template operator()<D>(Unit(plan, tape, document, i));
      });
    });
  } else {
    part.for_units(plan.units, [&](Document document, Index unit) {
      for (Index i = unit * plan.shared; i < (unit + 1) * plan.shared; ++i)
        head(Unit(plan, tape, document, i));
    });
  }
  part.share.barrier();
}

}  // namespace detail

/// y = p · v with p = softmax(q · kᵀ / √D), for all documents of a group.   tape.qkv -> tape.p, tape.y
template <class Real>
void attention(const AttentionPlan<Real>& plan, const Part& part, const AttentionTape<Real>& tape,
               const HeadScratch<Real>& scratch) {
  using Unit = detail::AttentionUnit<Real>;
  detail::for_units(
      plan, part, tape,
      [&]<int D>(const Unit& unit) { narrow_attention<Real, D>(unit.narrow, unit.p, tape.y + unit.at); },
      [&](const Unit& unit) {
        with_heads<Real>(plan.heads, [&]<int G>() {
          head_attention<Real, G>(unit.head, unit.p, tape.y + unit.at, scratch);
        });
      });
}

/// dqkv of y = p · v, for all documents of a group.   dy (N, C) -> dqkv (N, C + 2 kv)
///
/// head_backward: takes the place of head_attention_backward (node_clip.hpp).
template <class Real, class HeadBackward>
void attention_backward(const AttentionPlan<Real>& plan, const Part& part, const AttentionTape<Real>& tape,
                        Real* dy, Real* dqkv, const HeadScratch<Real>& scratch,
                        const HeadBackward& head_backward) {
  using Unit = detail::AttentionUnit<Real>;
  detail::for_units(
      plan, part, tape,
      [&]<int D>(const Unit& unit) {
        narrow_attention_backward<Real, D>(unit.narrow, unit.p, tape.y + unit.at, dy + unit.at,
                                           dqkv + unit.qkv_at);
      },
      [&](const Unit& unit) {
        head_backward(unit.head, unit.p, tape.y + unit.at, dy + unit.at, dqkv + unit.qkv_at, scratch);
      });
}

/// The same with head_attention_backward.
template <class Real>
void attention_backward(const AttentionPlan<Real>& plan, const Part& part, const AttentionTape<Real>& tape,
                        Real* dy, Real* dqkv, const HeadScratch<Real>& scratch) {
  attention_backward(plan, part, tape, dy, dqkv, scratch, [&](const Head<Real>& head, const auto&... given) {
    with_heads<Real>(plan.heads, [&]<int G>() { head_attention_backward<Real, G>(head, given...); });
  });
}

/// The KV cache of `width` sequences in one layer.
template <class Real>
struct AttentionCache {
  Real* kv;  // (block_size, 2 kv, width): k, then v of a position

  /// Rows (width) of a position.
  static Index rows(const Shape& shape) { return 2 * Index(shape.kv_size()); }

  static AttentionCache take(Arena& arena, const Shape& shape, Index width) {
    return {arena.take<Real>(shape.block_size * rows(shape) * width)};
  }
  /// Where k and v of position t go.   (2 kv, width)
  Real* at(Index t, const Shape& shape, Index width) const { return kv + t * rows(shape) * width; }
};

namespace detail {

/// Σ q[d] · k[d] of one vector of sequences: whole groups of G channels, the last of which may be smaller.
template <class Real>
MOTEGPT_INLINE Vector<Real> dot_step(Index D, Index width, const Real* q, const Real* k) {
  Vector<Real> sum = {};
  Index d = 0;
  for (; d + 4 <= D; d += 4) {
    MOTEGPT_UNROLL
    for (int i = 0; i < 4; ++i) sum += load(q + (d + i) * width) * load(k + (d + i) * width);
  }
  for (; d < D; ++d) sum += load(q + d * width) * load(k + d * width);
  return sum;
}

/// y[d] = Σ p[u] · v[u][d] / total of G channels of one vector of sequences.   p (t + 1, lanes)
template <class Real, int G>
MOTEGPT_INLINE void mix_step(Index t, Index width, Index step, const Real* p, const Real* v, Vector<Real> total,
                             Real* y) {
  Vector<Real> sums[G] = {};
  for (Index u = 0; u <= t; ++u, v += step) {
    const Vector<Real> weight = load(p + u * lanes<Real>);
    MOTEGPT_UNROLL
    for (int i = 0; i < G; ++i) sums[i] += weight * load(v + i * width);
  }
  MOTEGPT_UNROLL
  for (int i = 0; i < G; ++i) store(y + i * width, sums[i] / total);
}

}  // namespace detail

/// y = p · v with p = softmax(q · kᵀ / √D) at position t of `width` sequences, whose k and v are cached
/// already.
///
///   q (C, width) -> y (C, width); scores (block_size, lanes) is scratch
template <class Real, class Hooks = NoHooks>
void attention_step(Index width, const Shape& shape, Index t, const Real* q,
                    const AttentionCache<Real>& cache, Real* y, Real* scores, const Hooks& hooks = {}) {
  const Index D = shape.head_size(), shared = shape.n_head / shape.n_kv_head, v_at = shape.kv_size() * width,
              step = 2 * v_at;
  const Real scale = 1 / square_root_of(Real(D));
  for (Index head = 0; head < shape.n_head; ++head) {
    const Index kv_head = head / shared;
    for (Index s = 0; s < width; s += lanes<Real>) {
      const Index at = head * D * width + s;
      const Real *k = cache.kv + kv_head * D * width + s, *v = k + v_at;
      Vector<Real> highest = broadcast(-Real(__builtin_huge_val()));
      for (Index u = 0; u <= t; ++u) {
        const Vector<Real> score = detail::dot_step(D, width, q + at, k + u * step) * scale;
        highest = maximum(highest, score);
        store(scores + u * lanes<Real>, score);
      }
      hooks.scores(head, t, s, scores);
      Vector<Real> total = {};
      for (Index u = 0; u <= t; ++u) {
        const Vector<Real> e = exp<Real>(load(scores + u * lanes<Real>) - highest);
        total += e;
        store(scores + u * lanes<Real>, e);
      }
      hooks.pattern(head, t, s, scores, total);
      Index d = 0;
      for (; d + 4 <= D; d += 4)
        detail::mix_step<Real, 4>(t, width, step, scores, v + d * width, total, y + at + d * width);
      for (; d < D; ++d)
        detail::mix_step<Real, 1>(t, width, step, scores, v + d * width, total, y + at + d * width);
    }
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
