// Random heads of attention, side by side as in a row of the model, and the expected results.
#pragma once

#include "buffers.hpp"
#include "motegpt/head_attention.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

/// q, k, v and dy of H heads of D channels, side by side as in a row of the model.
template <class Real>
struct AttentionCase {
  int T, D, H;
  std::vector<Array> q, k, v, dy;  // per head (T, D)

  static AttentionCase make(Random& random, int T, int D, int H) {
    AttentionCase made{T, D, H, {}, {}, {}, {}};
    for (std::vector<Array>* part : {&made.q, &made.k, &made.v, &made.dy}) {
      for (int h = 0; h < H; ++h) part->push_back(rounded<Real>(random.normals(size_t(T * D))));
    }
    return made;
  }

  /// Puts head h of x at channel `at` of rows of `row` numbers.
  void place(const std::vector<Array>& x, Index at, Index row, Real* out) const {
    for (int h = 0; h < int(x.size()); ++h) {
      for (int t = 0; t < T; ++t) {
        for (int d = 0; d < D; ++d) out[t * row + at + h * D + d] = Real(x[size_t(h)][size_t(t * D + d)]);
      }
    }
  }

  void check_results(const Real* y, const Real* dqkv, Index row, Index y_row, const std::string& name) const {
    const double allowed = 4 * tolerance<Real>;  // exp and a quotient are between the two sums
    for (int h = 0; h < H; ++h) {
      const size_t i = size_t(h);
      const Array weights = naive::attention_weights(T, D, q[i], k[i]);
      check::near_rows(y + h * D, y_row, naive::multiply(T, D, T, weights, v[i]), T, D, allowed, name);
      const naive::AttentionGradients expected = naive::attention_backward(T, D, q[i], k[i], v[i], dy[i]);
      const int C = H * D;
      check::near_rows(dqkv + h * D, row, expected.dq, T, D, allowed, name + " dq");
      check::near_rows(dqkv + C + h * D, row, expected.dk, T, D, allowed, name + " dk");
      check::near_rows(dqkv + 2 * C + h * D, row, expected.dv, T, D, allowed, name + " dv");
    }
  }
};

/// The same heads where the core keeps them, with room for results.
template <class Real>
struct PlacedAttention {
  AttentionCase<Real> given;
  int G;  // heads side by side
  Index row, y_row;
  Buffer<Real> qkv, dqkv, y, dy, tape;
  Memory memory;
  HeadScratch<Real> scratch;

  PlacedAttention(Random& random, int T, int D, int H, int G_ = 1)
      : given(AttentionCase<Real>::make(random, T, D, H)),
        G(G_),
        row(padded<Real>(3 * H * D)),
        y_row(padded<Real>(H * D)),
        qkv(T * row),
        dqkv(T * row),
        y(T * y_row),
        dy(T * y_row),
        tape(head_attention_tape<Real>(T, G)),
        memory(scratch_bytes(T, D, G)),
        scratch(make_scratch(memory, T, D, G)) {
    given.place(given.q, 0, row, qkv);
    given.place(given.k, H * D, row, qkv);
    given.place(given.v, 2 * H * D, row, qkv);
    given.place(given.dy, 0, y_row, dy);
    std::fill_n(y.get(), T * y_row, Real(0));
  }

  Head<Real> head(int h) {
    const int C = given.H * given.D;
    return {given.T, given.D, C, 2 * C, false, row, y_row, qkv + h * given.D};
  }

  void check_results(const std::string& name) {
    given.check_results(y.get(), dqkv.get(), row, y_row, name);
    check::zero_beyond(y.get(), y_row, given.T, given.H * given.D, name);
  }

 private:
  static Index scratch_bytes(Index T, Index D, Index G) {
    Arena counting;
    HeadScratch<Real>(counting, T, D, G);
    return counting.used();
  }

  static HeadScratch<Real> make_scratch(const Memory& memory, Index T, Index D, Index G) {
    Arena arena(memory.data());
    return HeadScratch<Real>(arena, T, D, G);
  }
};

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL
