// The layout of the parameters: in the canonical flat array, and in the core's own arrays.
//
// The core keeps every matrix W (out, in) cut into panels, with rows padded to whole vectors; so are
// its gradient and the optimizer's slots. Matrices that enter a product are kept a second time as Wᵀ, which
// the forward pass reads: y = x · Wᵀ runs along rows of Wᵀ, dx = dy · W along rows of W.
#pragma once

#include "core.hpp"
#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

struct Matrix {
  Index out, in;
  Index at;                  // in the arrays of w, dw and the slots
  Index transposed;          // in the array of wᵀ; -1 if there is none
  Index flat;                // in the canonical array
  bool decayed;              // weight decay shrinks it
  const char *owner, *name;  // of a vector, as in Place
  Index bias, bias_flat;     // of a product: of its bias, as `at` and `flat`; -1 if there is none
};

/// Numbers in a matrix in panels, padding included.
template <class Real>
constexpr Index panelled_size(Index rows, Index columns) {
  return rows * padded<Real>(columns);
}

/// All matrices of a model in the order of Places; those of queries, keys and values, which are adjacent, are
/// one matrix (C + 2 kv, C), and so are those of gate and hidden layer, (2 hidden, C). Vectors are matrices of
/// one row, which is adjacent in panels too: padded and aligned. Every layer has the same.
template <class Real>
class Layout {
 public:
  Layout(const Shape& shape, const Places& places, Arena& arena)
      : list_(arena.take<Matrix>(places.count)),
        tables_(places.tables),
        contexts_(places.contexts),
        tied_(shape.tied),
        learned_positions_(shape.position == Position::learned),
        bias_(shape.bias),
        per_layer_((places.count - before_layers() - shape.final_norm * (shape.norm_gain + shape.norm_bias)) /
                   shape.n_layer) {
    for (Index i = 0; i < places.count; ++i) add(places.list[i]);
  }

  Index count() const { return count_; }
  const Matrix& operator[](Index i) const { return list_[i]; }
  Index size() const { return size_; }
  Index transposed_size() const { return transposed_size_; }

  const Matrix& wte() const { return list_[0]; }
  bool has_wpe() const { return learned_positions_; }
  const Matrix& wpe() const { return list_[1]; }  // if it has one
  const Matrix& head() const { return list_[tied_ ? 0 : before_layers() - 1]; }
  const Matrix& attn_qkv(Index layer) const { return product(layer, 0); }
  const Matrix& attn_wo(Index layer) const { return product(layer, 1); }
  /// With a gate, its rows come first.
  const Matrix& mlp_fc1(Index layer) const { return product(layer, 2); }
  const Matrix& mlp_fc2(Index layer) const { return product(layer, 3); }

  /// Those of the n-gram embedding, which are not among the matrices above.
  const Place& tables() const { return tables_; }
  const Contexts& contexts() const { return contexts_; }

  /// In the layer of that number, what is number i of all in the first; outside the layers, layer is 0.
  const Matrix& of_layer(Index layer, Index i) const { return list_[i + per_layer_ * layer]; }

  /// The i of a vector in of_layer; the Specification has checked that there is one.
  Index find(const char* owner, const char* name) const {
    for (Index i = 0; i < count_; ++i) {
      if (!__builtin_strcmp(list_[i].owner, owner) && !__builtin_strcmp(list_[i].name, name)) return i;
    }
    __builtin_trap();
  }

 private:
  Index before_layers() const { return 1 + learned_positions_ + !tied_; }

  /// Matrix i of a layer, each followed by its bias if there are any.
  const Matrix& product(Index layer, Index i) const {
    return of_layer(layer, before_layers() + i * (1 + bias_));
  }

  void add(const Place& place) {
    const Index transposed = place.product ? transposed_size_ : -1;
    if (list_) {
      list_[count_] = {place.out,     place.in,    size_,      transposed, place.flat,
                       place.decayed, place.owner, place.name, -1,         -1};
      if (place.bias) {
        list_[count_ - 1].bias = size_;
        list_[count_ - 1].bias_flat = place.flat;
      }
    }
    ++count_;
    size_ += panelled_size<Real>(place.out, place.in);
    if (place.product) transposed_size_ += panelled_size<Real>(place.in, place.out);
  }

  Matrix* list_;
  Place tables_;
  Contexts contexts_;
  bool tied_, learned_positions_, bias_;
  Index per_layer_;
  Index count_ = 0, size_ = 0, transposed_size_ = 0;
};

/// Call f(panelled position, column position, width) for each panel of a row of `columns` numbers.
template <class Real, class F>
MOTEGPT_INLINE void for_panels(Index rows, Index columns, F f) {
  for (Index c = 0; c < columns; c += panel_width<Real>) {
    f(c * rows, c, min(padded<Real>(columns) - c, panel_width<Real>));
  }
}

/// Canonical (out, in) -> panels, padding included.
template <class Real>
void to_panels(const Matrix& matrix, const Real* flat, Real* out) {
  for_panels<Real>(matrix.out, matrix.in, [&](Index at, Index c, Index width) {
    for (Index o = 0; o < matrix.out; ++o) {
      for (Index i = c; i < c + width; ++i)
        out[at + o * width + i - c] = i < matrix.in ? flat[o * matrix.in + i] : 0;
    }
  });
}

/// Panels -> canonical (out, in).
template <class Real>
void from_panels(const Matrix& matrix, const Real* panels, Real* flat) {
  for_panels<Real>(matrix.out, matrix.in, [&](Index at, Index c, Index width) {
    for (Index o = 0; o < matrix.out; ++o) {
      for (Index i = c; i < min(matrix.in, c + width); ++i)
        flat[o * matrix.in + i] = panels[at + o * width + i - c];
    }
  });
}

/// Canonical (out, in) -> the transpose (in, out) in panels, padding included.
template <class Real>
void to_transposed_panels(const Matrix& matrix, const Real* flat, Real* out) {
  for_panels<Real>(matrix.in, matrix.out, [&](Index at, Index c, Index width) {
    for (Index i = 0; i < matrix.in; ++i) {
      for (Index o = c; o < c + width; ++o)
        out[at + i * width + o - c] = o < matrix.out ? flat[o * matrix.in + i] : 0;
    }
  });
}

/// The maximal number of slots of an optimizer.
inline constexpr int max_slots = 2;

/// The parameters, and the slots of their optimizer.
template <class Real>
struct Parameters {
  Real* w;                 // (layout.size())
  Real* slots[max_slots];  // (layout.size()) each; null where the optimizer has fewer
  Real* transposed;        // (layout.transposed_size())

  Parameters(const Layout<Real>& layout, int slot_count, Arena& arena)
      : w(arena.take_staggered<Real>(0, layout.size())), slots{} {
    for (int s = 0; s < slot_count; ++s) slots[s] = arena.take_staggered<Real>(s + 1, layout.size());
    transposed = arena.take<Real>(layout.transposed_size());
  }

  /// W (out, in), as the right side of a product over its rows.
  Columns<Real> matrix(const Matrix& of) const { return in_panels(w + of.at, of.out); }
  /// Wᵀ (in, out)
  Columns<Real> transposed_matrix(const Matrix& of) const {
    return in_panels(transposed + of.transposed, of.in);
  }
};

/// Where a backward pass reads the parameters and leaves their gradients.
template <class Real>
struct BackwardPass {
  const Parameters<Real>& w;
  Real* dw;         // (layout.size())
  bool accumulate;  // add to dw instead of overwriting it

  Columns<Real> gradient(const Matrix& of) const { return in_panels(dw + of.at, of.out); }

  /// Set the gradient of a matrix to zero.
  void clear(const Matrix& of) const {
    for (Index i = 0; i < panelled_size<Real>(of.out, of.in); i += lanes<Real>)
      store(dw + of.at + i, Vector<Real>{});
  }
};

}  // namespace motegpt::MOTEGPT_LEVEL
