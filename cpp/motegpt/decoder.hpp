// Many sequences side by side, a token at a time, with the keys and values of the tokens before.
#pragma once

#include "generator.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// The decoder of generation.hpp. Reads the caller's parameters, which must outlive it.
template <class Real>
class BundledDecoder final : public Decoder<Real> {
 public:
  /// threads: at most, for a single sequence of a large model; more sequences have one
  BundledDecoder(const Shape& shape, const Places& places, const Real* parameters, int64_t n, int threads)
      : shape_(shape),
        layout_(shape_, places),
        plan_(shape_, false),
        rope_(shape_),
        model_(shape_, *layout_, plan_, rope_, false, {}),
        w_(parameters),
        sequences_(shape_, places.contexts.orders, Index(n)),
        generator_(shape_, places.contexts.orders, Index(n)),
        team_(threads) {
    for (Index i = 0; i < sequences_->bundles; ++i) sequences_->bundle[i].width.team = &team_;
  }

  void reset() override { sequences_->restart(sequences_->n); }

  void reorder(const int32_t* sources) override {
    Sequences<Real>& all = *sequences_;
    const Index rows = all.bundle[0].position * AttentionCache<Real>::rows(shape_);
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      for (Index row = 0; row < rows; ++row)
        reorder_row(sources, row, all.row, [&](Bundle<Real>& bundle) { return bundle.caches[layer].kv; });
    }
    for (int row = 0; row < layout_->contexts().orders; ++row)
      reorder_row(sources, row, all.ids, [](Bundle<Real>& bundle) { return bundle.ngrams.tokens; });
  }

  void feed(const int32_t* ids, Real* logits) override {
    for (Index i = 0; i < sequences_->bundles; ++i) {
      Bundle<Real>& bundle = sequences_->bundle[i];
      const Index count = sequences_->size_of(i);
      for (Index s = 0; s < bundle.width; ++s)  // any token may fill up the bundle
        sequences_->ids[s] = s < count ? ids[i * max_bundle_width<Real> + s] : 0;
      model_.step(w_, sequences_->ids, bundle);
      for (Index s = 0; s < count; ++s) {
        for (Index v = 0; v < shape_.vocab_size; ++v) *logits++ = bundle.logits[v * bundle.width + s];
      }
    }
  }

  bool generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                int64_t* lengths) override {
    return (*generator_)(model_, w_, *sequences_, Index(n), {request, states, ids, lengths});
  }

 private:
  /// Number s of a row of numbers_of(bundle) (…, width) <- number sources[s].   room (n)
  template <class Number, class F>
  void reorder_row(const int32_t* sources, Index row, Number* room, F numbers_of) {
    const Sequences<Real>& all = *sequences_;
    constexpr Index widest = max_bundle_width<Real>;
    const auto row_of = [&](Index i) { return numbers_of(all.bundle[i]) + row * all.bundle[i].width; };
    for (Index i = 0; i < all.bundles; ++i) {
      for (Index s = 0; s < all.size_of(i); ++s) room[i * widest + s] = row_of(i)[s];
    }
    for (Index i = 0; i < all.bundles; ++i) {
      for (Index s = 0; s < all.size_of(i); ++s) row_of(i)[s] = room[sources[i * widest + s]];
    }
  }

  Shape shape_;
  Placed<Layout<Real>> layout_;
  AttentionPlan<Real> plan_;
  Rope<Real> rope_;
  StepModel<Real> model_;
  const Real* w_;  // (P) canonical
  Placed<Sequences<Real>> sequences_;
  Placed<Generator<Real>> generator_;
  LazyTeam team_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
