// The layout of matrices in memory, and allocation.
#pragma once

#include "core.hpp"
#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Vectors in a panel, the widest stretch of columns that one tile of a product covers: its
/// accumulators and a row of the panel have to fit the registers.
inline constexpr int panel_vectors = vector_registers == 32 ? 4 : 2;

template <class Real>
inline constexpr Index panel_width = panel_vectors * lanes<Real>;

/// The left side of a product: x(m, k) = data[m · row + k · step], where row or step is 1.
template <class Real>
struct Rows {
  const Real* data;
  Index row;
  Index step;
};

/// The right side of a product, or its result: rows of columns, plain or cut into panels.
///
/// Row-major:  (k, n) at data[k · row + n].
/// In panels:  columns [j · width, (j + 1) · width) form a row-major matrix of that width at
///             data + j · step, so that a product reads memory in one direction. The last panel is as
///             narrow as its columns.
template <class Real>
struct Columns {
  Real* data;
  Index row;   // stride of rows; 0 in panels, where it is the width of the panel
  Index step;  // from panel to panel

  Real* panel(Index j) const { return data + j * step; }
  Index row_of(Index width) const { return row ? row : width; }
};

/// data (M, …) row-major.
template <class Real>
Rows<Real> rows(const Real* data, Index stride) {
  return {data, stride, 1};
}

/// The transpose of data (…, M) row-major.
template <class Real>
Rows<Real> transposed(const Real* data, Index stride) {
  return {data, 1, stride};
}

template <class Real>
Columns<Real> row_major(Real* data, Index stride) {
  return {data, stride, panel_width<Real>};
}

/// data (K, …) cut into panels.
template <class Real>
Columns<Real> in_panels(Real* data, Index k) {
  return {data, 0, k * panel_width<Real>};
}

template <class T>
constexpr T min(T a, T b) {
  return a < b ? a : b;
}

template <class T>
constexpr T max(T a, T b) {
  return a > b ? a : b;
}

/// Allocates aligned arrays from one block of memory; without a block it only counts the bytes needed.
class Arena {
 public:
  explicit Arena(char* block = nullptr) : block_(block) {}

  template <class T>
  T* take(Index count) {
    T* taken = block_ ? reinterpret_cast<T*>(block_ + used_) : nullptr;
    used_ += (count * Index(sizeof(T)) + alignment - 1) / alignment * alignment;
    return taken;
  }

  /// The same at one of `stagger` offsets within a page.
  ///
  /// Against 4K aliasing: a load waits for an earlier store at the same offset in another page. Arrays that
  /// are read and written side by side therefore start at different offsets.
  template <class T>
  T* take_staggered(Index place, Index count) {
    const Index wanted = place * (page / stagger / alignment * alignment);
    used_ += (wanted - used_ % page + page) % page;
    return take<T>(count);
  }

  Index used() const { return used_; }

  static constexpr Index alignment = 64, page = 4096, stagger = 3;

 private:
  char* block_;
  Index used_ = 0;
};

/// Calls f(arena) twice: with an arena that only counts, then with one over `memory`, which is large enough
/// by then. Returns the result of the second call.
template <class F>
auto carve(Memory& memory, F f) {
  Arena counting;
  f(counting);
  memory.reserve(counting.used());
  Arena arena(memory.data());
  return f(arena);
}

/// An object whose arrays are in one block of memory.
template <class T>
class Placed {
 public:
  template <class... Arguments>
  explicit Placed(const Arguments&... arguments)
      : object_(carve(memory_, [&](Arena& arena) { return T(arguments..., arena); })) {}
  T* operator->() { return &object_; }
  T& operator*() { return object_; }
  const T* operator->() const { return &object_; }
  const T& operator*() const { return object_; }

 private:
  Memory memory_;
  T object_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
