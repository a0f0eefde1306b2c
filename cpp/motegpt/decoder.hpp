// The transformer one position at a time, for many sequences side by side.
//
// A sequence is a column here: every matrix is (channels, sequences), so that a vector holds one channel
// of neighbouring sequences and neither norm, attention nor softmax ever sums across a vector.
#pragma once

#include "activation.hpp"
#include "filters.hpp"
#include "generation.hpp"
#include "parameters.hpp"
#include "product.hpp"
#include "sampler.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Sequences in a bundle at most: as many columns as one tile of a product covers.
template <class Real>
inline constexpr Index widest_bundle = panel_width<Real>;

/// A few sequences at the same position: `width` columns, a whole number of vectors.
template <class Real>
class Bundle {
 public:
  Bundle(const Shape& shape, const Layout<Real>& layout, Index width, Arena& arena)
      : shape_(shape), layout_(layout), width_(width), C_(shape.n_embd) {
    const Index cache = Index(shape.n_layer) * shape.block_size * C_ * width;
    keys_ = arena.take<Real>(cache);
    values_ = arena.take<Real>(cache);
    x_ = arena.take<Real>(C_ * width);
    h_ = arena.take<Real>(C_ * width);
    q_ = arena.take<Real>(C_ * width);
    a_ = arena.take<Real>(C_ * width);
    u_ = arena.take<Real>(shape.n_hidden * width);
    logits_ = arena.take<Real>(shape.vocab_size * width);
    scores_ = arena.take<Real>(shape.block_size * lanes<Real>);
  }

  void reset() { position_ = 0; }
  Index width() const { return width_; }
  /// Rows (width) of a layer's caches that hold something: one for each channel of each position.
  Index cached_rows() const { return position_ * C_; }
  Real* keys(Index layer) { return keys_ + layer * shape_.block_size * C_ * width_; }
  Real* values(Index layer) { return values_ + layer * shape_.block_size * C_ * width_; }
  const Real* logits() const { return logits_; }  // (V, width)

  /// Append a token to each sequence.   w: the canonical flat array; ids (width) -> logits()
  void feed(const Real* w, const int* ids) {
    embed(w, ids);
    if (shape_.embedding_norm) rmsnorm(x_, x_);
    for (int layer = 0; layer < shape_.n_layer; ++layer) feed_layer(w, layer);
    product(w, layout_.head(), 0, shape_.vocab_size, x_, logits_, false);
    ++position_;
  }

 private:
  /// x (C, width) -> x (C, width), as the layers of model.hpp do it for the last position alone.
  void feed_layer(const Real* w, int layer) {
    const Index at = cached_rows() * width_;
    rmsnorm(x_, h_);
    product(w, layout_.attn_qkv(layer), 0, C_, h_, q_, false);
    product(w, layout_.attn_qkv(layer), C_, C_, h_, keys(layer) + at, false);
    product(w, layout_.attn_qkv(layer), 2 * C_, C_, h_, values(layer) + at, false);
    for (int head = 0; head < shape_.n_head; ++head) {
      for (Index s = 0; s < width_; s += lanes<Real>) attend(head, s, keys(layer), values(layer));
    }
    product(w, layout_.attn_wo(layer), 0, C_, a_, x_, true);
    rmsnorm(x_, h_);
    const Index hidden = shape_.n_hidden;
    product(w, layout_.mlp_fc1(layer), 0, hidden, h_, u_, false);
    activate(shape_.activation, hidden * width_, u_, u_);
    product(w, layout_.mlp_fc2(layer), 0, C_, u_, x_, true);
  }

  /// x[c, s] = wte[ids[s], c] + wpe[position, c]
  void embed(const Real* w, const int* ids) {
    const Real* wpe = w + layout_.wpe().flat + position_ * C_;
    for (Index s = 0; s < width_; ++s) {
      const Real* wte = w + layout_.wte().flat + ids[s] * C_;
      for (Index c = 0; c < C_; ++c) x_[c * width_ + s] = wte[c] + wpe[c];
    }
  }

  /// y = W[first … first + count - 1] · x, or y += …   x (in, width) -> y (count, width)
  void product(const Real* w, const Matrix& matrix, Index first, Index count, Real* x, Real* y,
               bool accumulate) {
    multiply(count, width_, matrix.in, rows(w + matrix.flat + first * matrix.in, matrix.in),
             row_major(x, width_), row_major(y, width_), accumulate);
  }

  /// y = x · (mean(x²) + eps)^-½, the mean over channels.   x, y (C, width)
  void rmsnorm(const Real* x, Real* y) const {
    for (Index s = 0; s < width_; s += lanes<Real>) {
      Vector<Real> squares = {};
      for (Index c = 0; c < C_; ++c) squares += load(x + c * width_ + s) * load(x + c * width_ + s);
      const Vector<Real> r = Real(1) / square_root<Real>(squares / Real(C_) + Real(shape_.norm_eps));
      for (Index c = 0; c < C_; ++c) store(y + c * width_ + s, load(x + c * width_ + s) * r);
    }
  }

  /// a = softmax(q · k / √D) · v of one head, for the sequences from column s on.
  void attend(int head, Index s, const Real* keys, const Real* values) {
    const Index D = shape_.head_size(), at = head * D * width_ + s, step = C_ * width_;
    const Real scale = 1 / square_root_of(Real(D));
    Vector<Real> highest = broadcast(-Real(__builtin_huge_val()));
    for (Index t = 0; t <= position_; ++t) {
      Vector<Real> score = {};
      for (Index d = 0; d < D; ++d)
        score += load(q_ + at + d * width_) * load(keys + t * step + at + d * width_);
      score *= scale;
      highest = maximum(highest, score);
      store(scores_ + t * lanes<Real>, score);
    }
    Vector<Real> total = {};
    for (Index t = 0; t <= position_; ++t) {
      const Vector<Real> e = exp<Real>(load(scores_ + t * lanes<Real>) - highest);
      total += e;
      store(scores_ + t * lanes<Real>, e);
    }
    for (Index d = 0; d < D; ++d) {
      Vector<Real> y = {};
      for (Index t = 0; t <= position_; ++t) {
        y += load(scores_ + t * lanes<Real>) * load(values + t * step + at + d * width_);
      }
      store(a_ + at + d * width_, y / total);
    }
  }

  const Shape& shape_;
  const Layout<Real>& layout_;
  Index width_, C_, position_ = 0;
  Real *keys_, *values_;    // (n_layer, block_size, C, width)
  Real *x_, *h_, *q_, *a_;  // (C, width)
  Real *u_, *logits_;       // (4C, width), (V, width)
  Real* scores_;            // (block_size) vectors
};

/// n sequences in bundles. Keeps a copy of the parameters.
template <class Real>
class BundledDecoder final : public Decoder<Real> {
 public:
  BundledDecoder(const Shape& shape, const Places& places, const Real* parameters, int64_t n)
      : shape_(shape), n_(n), layout_(shape, places) {
    carve(memory_, [this](Arena& arena) { lay_out(arena); });
    for (Index i = 0; i < shape_.parameters; ++i) w_[i] = parameters[i];
  }

  ~BundledDecoder() override {
    for (Index i = 0; i < bundles(); ++i) delete bundle_[i];
    delete[] bundle_;
  }

  void reset() override {
    for (Index i = 0; i < bundles(); ++i) bundle_[i]->reset();
  }

  void reorder(const int32_t* sources) override {
    for (int layer = 0; layer < shape_.n_layer; ++layer) {
      reorder_rows(sources, [layer](Bundle<Real>& bundle) { return bundle.keys(layer); });
      reorder_rows(sources, [layer](Bundle<Real>& bundle) { return bundle.values(layer); });
    }
  }

  void feed(const int32_t* ids, Real* logits) override {
    for (Index i = 0; i < bundles(); ++i) {
      feed_bundle(*bundle_[i], ids + i * widest, size_of(i));
      const Real* columns = bundle_[i]->logits();
      for (Index s = 0; s < size_of(i); ++s) {
        for (Index v = 0; v < shape_.vocab_size; ++v) *logits++ = columns[v * bundle_[i]->width() + s];
      }
    }
  }

  bool generate(const Request& request, int64_t n, uint64_t* states, int32_t* ids,
                int64_t* lengths) override {
    const Index most = size_of(0);
    for (Index first = 0; first < n; first += most) {
      if (!generate_bundle(*bundle_[0], request, min(most, n - first), states + first,
                           ids + first * request.max_new_tokens, lengths + first))
        return false;
    }
    return true;
  }

 private:
  static constexpr Index widest = widest_bundle<Real>;

  Index bundles() const { return (n_ + widest - 1) / widest; }
  Index size_of(Index i) const { return min(widest, n_ - i * widest); }

  /// Carves everything out of the arena; with one that only counts, makes no bundles.
  void lay_out(Arena& arena) {
    w_ = arena.take<Real>(shape_.parameters);
    row_ = arena.take<Real>(bundles() * widest);
    uniforms_ = arena.take<double>(widest);
    e_ = arena.take<double>(Index(shape_.vocab_size) * batch_lanes);
    tokens_ = arena.take<int>(widest);
    latest_ = arena.take<int>(widest);
    weights_ = arena.take<double>(Index(shape_.vocab_size) * batch_lanes);
    heap_ = arena.take<int>(shape_.vocab_size);
    seen_memory_ = arena.take<uint8_t>(Index(shape_.vocab_size) * widest);
    const bool counting = w_ == nullptr;
    if (!counting) bundle_ = new Bundle<Real>*[bundles()];
    for (Index i = 0; i < bundles(); ++i) {
      Bundle<Real> made(shape_, *layout_, padded<Real>(size_of(i)), arena);
      if (!counting) bundle_[i] = new Bundle<Real>(made);
    }
  }

  /// Number i of every cached row <- number sources[i].   cache_of: a bundle -> its rows (cached_rows, width)
  template <class CacheOf>
  void reorder_rows(const int32_t* sources, CacheOf cache_of) {
    for (Index row = 0; row < bundle_[0]->cached_rows(); ++row) {
      for (Index i = 0; i < bundles(); ++i) {
        const Real* from = cache_of(*bundle_[i]) + row * bundle_[i]->width();
        for (Index s = 0; s < bundle_[i]->width(); ++s) row_[i * widest + s] = from[s];
      }
      for (Index i = 0; i < bundles(); ++i) {
        Real* to = cache_of(*bundle_[i]) + row * bundle_[i]->width();
        for (Index s = 0; s < size_of(i); ++s) to[s] = row_[sources[i * widest + s]];
      }
    }
  }

  /// ids (count), fewer than the bundle is wide; what fills it up is a token like any other.
  void feed_bundle(Bundle<Real>& bundle, const int32_t* ids, Index count) {
    for (Index s = 0; s < bundle.width(); ++s) latest_[s] = s < count ? ids[s] : 0;
    bundle.feed(w_, latest_);
  }

  /// As generate, for the `count` sequences of a bundle.
  bool generate_bundle(Bundle<Real>& bundle, const Request& request, Index count, uint64_t* states,
                       int32_t* ids, int64_t* lengths) {
    begin(bundle, request, count, lengths);
    Index start = window_start(request.prompt_length);
    feed_window(bundle, request, start, request.prompt_length, count, ids);
    for (Index at = 0;; ++at) {
      if (!is_finite(bundle, count)) return false;
      choose(bundle, request, count, states, at, ids, lengths);
      bool running = take(request.end, request.max_new_tokens, count, at, ids, lengths);
      if (request.stop_length > 0) running = cut_stops(request, count, at + 1, ids, lengths);
      if (!running || at + 1 == request.max_new_tokens) return true;
      for (Index s = 0; seen_ && s < count; ++s) seen_[latest_[s] * bundle.width() + s] = 1;
      const Index length = request.prompt_length + at + 1, moved = window_start(length);
      if (moved == start) {
        bundle.feed(w_, latest_);
      } else {
        feed_window(bundle, request, start = moved, length, count, ids);
      }
    }
  }

  /// Nothing drawn yet: all sequences run, and have seen the text of the prompt.
  void begin(const Bundle<Real>& bundle, const Request& request, Index count, int64_t* lengths) {
    for (Index s = 0; s < count; ++s) {
      lengths[s] = 0;
      running_[s] = true;
    }
    const Index width = bundle.width();
    seen_ = request.filters.repetition_penalty == 1 ? nullptr : seen_memory_;
    if (!seen_) return;
    for (Index i = 0; i < shape_.vocab_size * width; ++i) seen_[i] = 0;
    for (Index i = request.prompt_length - request.n_prefix_tokens; i < request.prompt_length; ++i) {
      for (Index s = 0; s < width; ++s) seen_[request.prompt[i] * width + s] = 1;
    }
  }

  /// Append tokens_ to every sequence that has not come to its end. Returns whether any has not.
  bool take(int end, Index most, Index count, Index at, int32_t* ids, int64_t* lengths) {
    bool any = false;
    for (Index s = 0; s < count; ++s) {
      if (!running_[s]) continue;
      latest_[s] = tokens_[s];
      running_[s] = tokens_[s] != end;
      if (!running_[s]) continue;
      ids[s * most + at] = tokens_[s];
      lengths[s] = at + 1;
      any = true;
    }
    return any;
  }

  /// End the sequences that end with request.stop, and take it off. Returns whether any goes on.
  bool cut_stops(const Request& request, Index count, Index length, const int32_t* ids, int64_t* lengths) {
    bool any = false;
    for (Index s = 0; s < count; ++s) {
      if (!running_[s]) continue;
      running_[s] = !ends_with(ids + s * request.max_new_tokens, length, request.stop, request.stop_length);
      if (!running_[s]) lengths[s] = length - request.stop_length;
      any |= running_[s];
    }
    return any;
  }

  static bool ends_with(const int32_t* ids, Index length, const int32_t* end, Index count) {
    if (length < count) return false;
    for (Index i = 0; i < count; ++i) {
      if (ids[length - count + i] != end[i]) return false;
    }
    return true;
  }

  /// The first token that the model sees of so many: the twin of sampling/context.py.
  Index window_start(Index length) const {
    const Index block = shape_.block_size, stride = block - max(Index(1), block / 2) + 1;
    return length <= block ? 0 : (length - block + stride - 1) / stride * stride;
  }

  /// Show the model tokens start … length - 1 of every sequence that runs, prompt included.
  void feed_window(Bundle<Real>& bundle, const Request& request, Index start, Index length, Index count,
                   const int32_t* ids) {
    bundle.reset();
    for (Index i = start; i < length; ++i) {
      const Index drawn = i - request.prompt_length;
      for (Index s = 0; s < bundle.width(); ++s) {
        const bool is_text = s < count && running_[s];
        latest_[s] = drawn < 0 ? request.prompt[i] : is_text ? ids[s * request.max_new_tokens + drawn] : 0;
      }
      bundle.feed(w_, latest_);
    }
  }

  /// Whether the logits of every sequence that runs are finite; those of other columns do not matter.
  bool is_finite(const Bundle<Real>& bundle, Index count) const {
    const Index V = shape_.vocab_size, width = bundle.width();
    if (all_finite(V * width, bundle.logits())) return true;
    for (Index s = 0; s < count; ++s) {
      if (running_[s] && !column_is_finite(V, bundle.logits() + s, width)) return false;
    }
    return true;
  }

  /// tokens_ (width) from the bundle's logits; a uniform number per sequence that still runs.
  void choose(const Bundle<Real>& bundle, const Request& request, Index count, uint64_t* states, Index at,
              const int32_t* ids, const int64_t* lengths) {
    const Index V = shape_.vocab_size, width = bundle.width();
    const double temperature = request.filters.temperature;
    if (is_random(temperature)) {
      for (Index s = 0; s < width; ++s) uniforms_[s] = s < count && running_[s] ? next_uniform(states[s]) : 0;
    }
    if (is_filtered(request)) {
      choose_filtered(bundle, request, count, at, ids, lengths);
    } else if (is_random(temperature)) {
      for (Index s = 0; s < count; s += batch_lanes)
        draw(V, bundle.logits() + s, width, temperature, uniforms_ + s, e_, tokens_ + s);
    } else {
      for (Index s = 0; s < count; ++s) tokens_[s] = argmax(V, bundle.logits() + s, width);
    }
  }

  static bool is_filtered(const Request& request) {
    const Filters& filters = request.filters;
    return request.masked || request.min_new_tokens > 0 || filters.repetition_penalty != 1 ||
           filters.top_k > 0 || filters.top_p < 1 || filters.min_p > 0;
  }

  void choose_filtered(const Bundle<Real>& bundle, const Request& request, Index count, Index at,
                       const int32_t* ids, const int64_t* lengths) {
    const FilterScratch scratch{e_, weights_, heap_};
    for (Index s = 0; s < count; s += batch_lanes) {
      int per_sequence_mask[batch_lanes][2];
      for (Index lane = 0; lane < batch_lanes; ++lane) {
        const bool runs = s + lane < count && running_[s + lane];
        per_sequence_mask[lane][0] = at < request.min_new_tokens ? request.end : -1;
        per_sequence_mask[lane][1] =
            runs ? masked_stop(request, ids + (s + lane) * request.max_new_tokens, lengths[s + lane]) : -1;
      }
      const Masks masks{request.masked, seen_ ? seen_ + s : nullptr, per_sequence_mask};
      draw_filtered(shape_.vocab_size, bundle.logits() + s, bundle.width(), request.filters, masks,
                    uniforms_ + s, scratch, tokens_ + s);
    }
  }

  /// The last token of request.stop where it would end a sequence that is too short; -1 elsewhere.
  static int masked_stop(const Request& request, const int32_t* ids, Index length) {
    const Index missing = request.stop_length - 1;
    if (missing < 0 || length - missing >= request.min_new_tokens) return -1;
    return ends_with(ids, length, request.stop, missing) ? request.stop[missing] : -1;
  }

  Shape shape_;
  Index n_;
  Placed<Layout<Real>> layout_;
  Memory memory_;
  Real *w_ = nullptr, *row_ = nullptr;  // row_: a row of all bundles
  double *uniforms_ = nullptr, *e_ = nullptr, *weights_ = nullptr;
  int *tokens_ = nullptr, *latest_ = nullptr, *heap_ = nullptr;
  uint8_t *seen_memory_ = nullptr, *seen_ = nullptr;  // (V, width); null where nobody asks
  bool running_[widest_bundle<Real>];
  Bundle<Real>** bundle_ = nullptr;
};

}  // namespace motegpt::MOTEGPT_LEVEL
