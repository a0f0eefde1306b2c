// Sequences at the same position, in bundles of columns; those that are still of use can move together.
#pragma once

#include "tape.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Sequences in a bundle at most: as many columns as one tile of a product covers.
template <class Real>
inline constexpr Index max_bundle_width = panel_width<Real>;

/// Columns that are added to a bundle, and removed from it, together.
inline constexpr Index column_unit = lanes<float>;

/// n sequences in bundles, which are stepped one after the other and share their scratch. At first all are in
/// use; bundles but the last are of full width.
template <class Real>
struct Sequences {
  Index n, bundles;
  Real* row;  // (n) in whole bundles: one row of a cache
  int* ids;   // (n) in whole bundles
  Bundle<Real>* bundle;

  Sequences(const Shape& shape, int orders_, Index n_, Arena& arena)
      : n(n_),
        bundles((n + widest - 1) / widest),
        row(arena.take<Real>(bundles * widest)),
        ids(arena.take<int>(bundles * widest)),
        bundle(arena.take<Bundle<Real>>(bundles)),
        n_layer(shape.n_layer),
        orders(orders_),
        cache_rows(AttentionCache<Real>::rows(shape)) {
    Bundle<Real> first(arena, shape, orders, width_of(min(n, widest)));
    for (Index i = 0; i < bundles; ++i) {
      const Bundle<Real> made = i == 0 ? first : Bundle<Real>(arena, shape, orders, width_of(size_of(i)), first);
      if (bundle) bundle[i] = made;
    }
  }

  /// Columns of bundle i, of use or not.
  Index size_of(Index i) const { return min(widest, n - i * widest); }

  /// Use the first `count` columns, at position 0.
  void restart(Index count) {
    bundles = (count + widest - 1) / widest;
    for (Index i = 0; i < bundles; ++i) {
      bundle[i].position = 0;
      set_width(bundle[i], width_of(min(widest, count - i * widest)));
    }
  }

  /// Columns in use, and those that only fill up the last bundle.
  Index columns() const { return (bundles - 1) * widest + bundle[bundles - 1].width; }

  /// Give the sequence in column `from` to column `to`.
  void move(Index from, Index to) {
    Bundle<Real>&source = bundle[from / widest], &target = bundle[to / widest];
    for (int layer = 0; layer < n_layer; ++layer) {
      move_column(source.position * cache_rows, source.caches[layer].kv + from % widest, source.width,
                  target.caches[layer].kv + to % widest, target.width);
    }
    move_column(orders, source.ngrams.tokens + from % widest, source.width,
                target.ngrams.tokens + to % widest, target.width);
  }

  /// Use only the first `count` columns from now on.
  void shrink(Index count) {
    bundles = (count + widest - 1) / widest;
    Bundle<Real>& last = bundle[bundles - 1];
    const StepWidth width = width_of(count - (bundles - 1) * widest);
    if (width.columns == last.width.columns) return;
    for (int layer = 0; layer < n_layer; ++layer)
      narrow_rows(last.position * cache_rows, last.caches[layer].kv, last.width, width);
    narrow_rows(orders, last.ngrams.tokens, last.width, width);
    set_width(last, width);
  }

  /// What all sequences begin with: keys, values and tokens of one column.
  struct Beginning {
    Index position;
    Real* kv;     // (n_layer, position, rows of the cache)
    int* tokens;  // (orders)

    static Beginning take(Arena& arena, const Shape& shape, int orders) {
      const Index rows = shape.block_size * AttentionCache<Real>::rows(shape);
      return {0, arena.take<Real>(shape.n_layer * rows), arena.take<int>(orders)};
    }
  };

  /// Column 0.
  void save(Beginning& beginning) const {
    const Bundle<Real>& first = bundle[0];
    beginning.position = first.position;
    const Index rows = first.position * cache_rows;
    for (int layer = 0; layer < n_layer; ++layer)
      move_column(rows, first.caches[layer].kv, first.width, beginning.kv + layer * rows, 1);
    move_column(orders, first.ngrams.tokens, first.width, beginning.tokens, 1);
  }

  /// Let all columns begin so.
  void begin_with(const Beginning& beginning) {
    const Index rows = beginning.position * cache_rows;
    for (Index i = 0; i < bundles; ++i) {
      bundle[i].position = beginning.position;
      for (int layer = 0; layer < n_layer; ++layer)
        fill_columns(rows, beginning.kv + layer * rows, bundle[i].width, bundle[i].caches[layer].kv);
      fill_columns(orders, beginning.tokens, bundle[i].width, bundle[i].ngrams.tokens);
    }
  }

 private:
  static constexpr Index widest = max_bundle_width<Real>;

  /// A single sequence is a vector wide, and the first of its columns is of use.
  static StepWidth width_of(Index count) {
    if (count == 1) return {padded<Real>(1), true};
    return min(widest, (count + column_unit - 1) / column_unit * column_unit);
  }

  static void set_width(Bundle<Real>& bundle, StepWidth width) {
    width.team = bundle.width.team;
    bundle.width = width;
  }

  /// Column by column of rows of `stride` numbers.
  template <class Number>
  static void move_column(Index rows, const Number* from, Index stride, Number* to, Index to_stride) {
    for (Index i = 0; i < rows; ++i) to[i * to_stride] = from[i * stride];
  }

  /// x (rows, before) -> the first `after` numbers of each row, (rows, after), in place
  template <class Number>
  static void narrow_rows(Index rows, Number* x, Index before, Index after) {
    for (Index i = 1; i < rows; ++i) {
      for (Index s = 0; s < after; ++s) x[i * after + s] = x[i * before + s];
    }
  }

  /// from (rows) -> to (rows, width), each number repeated
  template <class Number>
  static void fill_columns(Index rows, const Number* from, Index width, Number* to) {
    for (Index i = 0; i < rows; ++i) {
      for (Index s = 0; s < width; ++s) to[i * width + s] = from[i];
    }
  }

  Index n_layer, orders, cache_rows;
};

}  // namespace motegpt::MOTEGPT_LEVEL
