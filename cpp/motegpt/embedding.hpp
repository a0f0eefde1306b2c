// Token and position embedding: x[n] = wte[ids[n]] + wpe[positions[n]], or without wpe wte[ids[n]].
#pragma once

#include "view.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// x[n] = wte[ids[n]] + wpe[positions[n]].
///
///   ids, positions (N), wte (V, C) and wpe (block_size, C), if any, in panels -> x (N, C)
template <class Real>
void embedding(Index N, Index C, const int* ids, const int* positions, Columns<Real> wte, Columns<Real> wpe,
               Real* x) {
  const Index row = padded<Real>(C);
  for (Index c = 0, j = 0; c < row; c += panel_width<Real>, ++j) {
    const Index width = min(row - c, panel_width<Real>);
    for (Index n = 0; n < N; ++n) {
      const Real* token = wte.panel(j) + ids[n] * width;
      Real* sum = x + n * row + c;
      if (wpe.data) {
        const Real* position = wpe.panel(j) + positions[n] * width;
        for (Index i = 0; i < width; i += lanes<Real>) store(sum + i, load(token + i) + load(position + i));
      } else {
        for (Index i = 0; i < width; i += lanes<Real>) store(sum + i, load(token + i));
      }
    }
  }
}

/// Of x[n] = wte[ids[n]] + wpe[positions[n]]: dwte[ids[n]] += dx[n] and, if there is a wpe,
/// dwpe[positions[n]] += dx[n]. A row collects every place that used it.
template <class Real>
void embedding_backward(Index N, Index C, const int* ids, const int* positions, const Real* dx,
                        Columns<Real> dwte, Columns<Real> dwpe) {
  const Index row = padded<Real>(C);
  for (Index c = 0, j = 0; c < row; c += panel_width<Real>, ++j) {
    const Index width = min(row - c, panel_width<Real>);
    for (Index n = 0; n < N; ++n) {
      Real* dtoken = dwte.panel(j) + ids[n] * width;
      Real* dposition = dwpe.data ? dwpe.panel(j) + positions[n] * width : nullptr;
      for (Index i = 0; i < width; i += lanes<Real>) {
        const Vector<Real> d = load(dx + n * row + c + i);
        store(dtoken + i, load(dtoken + i) + d);
        if (dposition) store(dposition + i, load(dposition + i) + d);
      }
    }
  }
}

/// x[:, s] = wte[ids[s]] + wpe[position] for one position of `width` sequences.
///
///   ids (width), wte (V, C) and wpe (block_size, C), or null, row-major -> x (C, width)
template <class Real>
void embedding_step(Index width, Index C, const int* ids, Index position, const Real* wte, const Real* wpe,
                    Real* x) {
  for (Index s = 0; s < width; ++s) {
    for (Index c = 0; c < C; ++c)
      x[c * width + s] = wte[ids[s] * C + c] + (wpe ? wpe[position * C + c] : Real(0));
  }
}

}  // namespace motegpt::MOTEGPT_LEVEL
