// Looking into a forward pass over one sequence, and changing it on the way.
#pragma once

#include <cstring>
#include <limits>
#include <vector>

#include "motegpt/decoder.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// What a look changes. Layers, heads and positions count from 0.
struct Mask {
  struct Head {
    int layer, head;
  };
  struct Part {
    int layer, is_mlp;
  };
  struct Cell {
    int layer, head, t, u;
  };
  std::vector<Head> heads;  // whose z is 0
  std::vector<Part> parts;  // which add nothing to the residual stream
  std::vector<Cell> cells;  // of the attention pattern that are 0; the rest of their row stays as it is
};

/// An intermediate of a sequence: (rows, columns), or (heads, rows, columns).
template <class Real>
struct Record {
  const char* name;  // as in docs/notation.md; of a layer without "blocks.{i}."
  int layer;         // -1: none
  int heads;         // 0: none
  int rows, columns;
  std::vector<Real> values;
};

/// What a look found.
template <class Real>
struct Recording {
  std::vector<Record<Real>> records;
  std::vector<Real> lens;    // (L + 1, T, V): norm and head applied to the residual stream before and after layers
  std::vector<Real> logits;  // (T, V)
};

/// The hooks of hooks.hpp for the first of `width` sequences: apply a mask, then record.
template <class Real>
class Recorder {
 public:
  static constexpr bool on = true;

  /// T: positions of the sequence
  Recorder(const Shape& shape, const Mask& mask, Index T, Index width, Recording<Real>& recording)
      : shape_(shape), mask_(mask), T_(T), width_(width), recording_(recording) {}

  /// What follows is of position t.
  void begin(Index t) {
    t_ = t;
    layer_ = -1;
    next_ = 0;
  }

  void enter(Index layer) const { layer_ = int(layer); }

  void note(const char* name, Index n, Real* x) const {
    apply_mask(name, n, x);
    Real* row = &record(name, 0, n).values[size_t(t_ * n)];
    for (Index i = 0; i < n; ++i) row[i] = x[i * width_];
  }

  void scores(Index head, Index t, Index s, const Real* scores) const {
    if (s > 0) return;
    if (head > 0) next_ -= 2;  // all heads share two records
    Real* row = row_of("attn.hook_attn_scores", head, t, -std::numeric_limits<Real>::infinity());
    for (Index u = 0; u <= t; ++u) row[u] = scores[u * lanes<Real>];
  }

  void pattern(Index head, Index t, Index s, Real* e, const Vector<Real>& total) const {
    if (s > 0) return;
    for (const Mask::Cell& cell : mask_.cells) {
      if (cell.layer == layer_ && cell.head == head && cell.t == t) e[cell.u * lanes<Real>] = 0;
    }
    Real* row = row_of("attn.hook_pattern", head, t, 0);
    for (Index u = 0; u <= t; ++u) row[u] = e[u * lanes<Real>] / total[0];
  }

 private:
  void apply_mask(const char* name, Index n, Real* x) const {
    const auto clear = [&](Index first, Index count) {
      for (Index i = first; i < first + count; ++i) x[i * width_] = 0;
    };
    if (!std::strcmp(name, "attn.hook_z")) {
      const Index D = shape_.head_size();
      for (const Mask::Head& one : mask_.heads) {
        if (one.layer == layer_) clear(one.head * D, D);
      }
    }
    for (const Mask::Part& part : mask_.parts) {
      if (part.layer == layer_ && !std::strcmp(name, part.is_mlp ? "hook_mlp_out" : "hook_attn_out"))
        clear(0, n);
    }
  }

  /// Row t of a head of a square of attention, which is zero or -inf where a position is after t.
  Real* row_of(const char* name, Index head, Index t, Real future) const {
    Record<Real>& square = record(name, shape_.n_head, T_);
    Real* row = &square.values[size_t((head * T_ + t) * T_)];
    for (Index u = t + 1; u < T_; ++u) row[u] = future;
    return row;
  }

  /// The next record: every position notes the same ones in the same order.
  Record<Real>& record(const char* name, int heads, Index columns) const {
    auto& records = recording_.records;
    if (next_ == records.size()) {
      const size_t size = size_t(heads ? heads : 1) * size_t(T_ * columns);
      records.push_back({name, layer_, heads, int(T_), int(columns), std::vector<Real>(size)});
    }
    return records[next_++];
  }

  const Shape& shape_;
  const Mask& mask_;
  Index T_, width_, t_ = 0;
  Recording<Real>& recording_;
  mutable int layer_ = -1;
  mutable size_t next_ = 0;
};

/// Runs the forward pass of generation with a Recorder, on parameters of its own.
template <class Real>
class Looker {
 public:
  Looker(const Shape& shape, const Places& places)
      : shape_(shape),
        layout_(shape_, places),
        plan_(shape_, false),
        rope_(shape_),
        model_(shape_, *layout_, plan_, rope_, false, {}),
        sequences_(shape_, places.contexts.orders, Index(1)) {}

  /// (P) canonical, for the caller to fill.
  Real* parameters() { return sequences_->w; }

  /// ids (T)
  const Recording<Real>& operator()(const int32_t* ids, Index T, const Mask& mask) {
    Bundle<Real>& bundle = sequences_->bundle[0];
    const Index V = shape_.vocab_size;
    recording_ = {};
    recording_.logits.resize(size_t(T * V));
    recording_.lens.resize(size_t((shape_.n_layer + 1) * T * V));
    Recorder<Real> recorder(shape_, mask, T, bundle.width, recording_);
    Embeddings embeddings(*this, bundle.width);
    bundle.position = 0;
    for (Index t = 0; t < T; ++t) {
      for (Index s = 0; s < bundle.width; ++s) sequences_->ids[s] = s ? 0 : ids[t];
      recorder.begin(t);
      embeddings.note(recorder, t);
      model_.step(sequences_->w, sequences_->ids, bundle, recorder);
      for (Index v = 0; v < V; ++v) recording_.logits[size_t(t * V + v)] = bundle.logits[v * bundle.width];
    }
    apply_head(bundle, T);
    return recording_;
  }

 private:
  /// The parts whose sum is the embedding, which the model does not keep apart.
  class Embeddings {
   public:
    Embeddings(const Looker& looker, Index width)
        : looker_(looker),
          width_(width),
          orders_(looker.layout_->contexts().orders),
          x_(size_t(looker.shape_.n_embd * width)),
          sum_(size_t(looker.shape_.n_embd)),
          tokens_(size_t(orders_ * width)),
          rows_(size_t(orders_ * width)) {}

    void note(const Recorder<Real>& recorder, Index t) {
      const Layout<Real>& layout = *looker_.layout_;
      const Real* w = looker_.sequences_->w;
      const int* ids = looker_.sequences_->ids;
      const Index C = looker_.shape_.n_embd;
      note_row(recorder, "hook_embed", w + layout.wte().flat + ids[0] * C);
      if (layout.has_wpe()) note_row(recorder, "hook_pos_embed", w + layout.wpe().flat + t * C);
      if (orders_ == 0) return;
      x_.assign(x_.size(), Real(0));
      const NGramStep<Real> step{tokens_.data(), rows_.data(), sum_.data()};
      ngram_step(layout.contexts(), width_, C, ids, t, w + layout.tables().flat, step, x_.data());
      recorder.note("hook_ngram_embed", C, x_.data());
    }

   private:
    void note_row(const Recorder<Real>& recorder, const char* name, const Real* row) {
      for (Index c = 0; c < looker_.shape_.n_embd; ++c) x_[size_t(c * width_)] = row[c];
      recorder.note(name, looker_.shape_.n_embd, x_.data());
    }

    const Looker& looker_;
    Index width_;
    int orders_;
    std::vector<Real> x_, sum_;  // (C, width), (C)
    std::vector<int> tokens_, rows_;
  };

  /// The lens, from the recorded residual stream; the bundle serves as scratch.
  void apply_head(Bundle<Real>& bundle, Index T) {
    const Index V = shape_.vocab_size, C = shape_.n_embd;
    Real* out = recording_.lens.data();
    for (int stage = 0; stage <= shape_.n_layer; ++stage) {
      const std::vector<Real>& x = stage ? found("hook_resid_post", stage - 1) : found("hook_resid_pre", 0);
      for (Index t = 0; t < T; ++t, out += V) {
        for (Index c = 0; c < C; ++c) bundle.x[c * bundle.width] = x[size_t(t * C + c)];
        model_.step_head(sequences_->w, bundle);
        for (Index v = 0; v < V; ++v) out[v] = bundle.logits[v * bundle.width];
      }
    }
  }

  const std::vector<Real>& found(const char* name, int layer) const {
    for (const Record<Real>& record : recording_.records) {
      if (record.layer == layer && !std::strcmp(record.name, name)) return record.values;
    }
    __builtin_trap();
  }

  Shape shape_;
  Placed<Layout<Real>> layout_;
  AttentionPlan<Real> plan_;
  Rope<Real> rope_;
  StepModel<Real> model_;
  Placed<Sequences<Real>> sequences_;
  Recording<Real> recording_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
