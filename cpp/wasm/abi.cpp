// A model in WebAssembly: what JavaScript calls to train it, look into it and generate with it. No
// mathematics here. src/motegpt/page/js/core-model.js checks the arrays.
#include <memory>
#include <string>
#include <vector>

#include "export.hpp"
#include "look.hpp"
#include "motegpt/specification.hpp"
#include "motegpt/trainer.hpp"
#include "names.hpp"

namespace motegpt {
namespace {

using namespace MOTEGPT_LEVEL;

/// The settings and tensors of a model that is to be made.
struct Description {
  Shape shape{};
  std::vector<Tensor> tensors;
  std::vector<std::vector<int64_t>> contexts;
};

/// The n-grams of one length, as NGramLevel refers to them.
struct OwnedLevel {
  std::vector<int64_t> children, starts;
  std::vector<int32_t> first, last;
  std::vector<double> share, backoff;
};

/// Kneser-Ney n-grams to average with.
struct OwnedNGrams {
  std::vector<OwnedLevel> levels;
  std::vector<double> unigrams;

  NGrams view(double weight) const {
    NGrams view{int(levels.size()) + 1, {}, unigrams.data(), weight};
    for (size_t i = 0; i < levels.size(); ++i) {
      const OwnedLevel& level = levels[i];
      view.levels[i] = {level.children.data(), level.first.data(), level.starts.data(),
                        level.last.data(),     level.share.data(), level.backoff.data()};
    }
    return view;
  }
};

template <class T>
std::vector<int64_t> widened(const T* numbers, int count) {
  return std::vector<int64_t>(numbers, numbers + count);
}

/// Sequences side by side, of either precision.
class AnyDecoder {
 public:
  virtual ~AnyDecoder() = default;
  virtual void reset() = 0;
  virtual void reorder(const int32_t* sources) = 0;
  virtual void feed(const int32_t* ids, void* logits) = 0;
  virtual bool generate(const Request& request, int n, uint64_t* states, int32_t* ids, int64_t* lengths) = 0;
};

template <class Real>
class DecoderOf final : public AnyDecoder {
 public:
  DecoderOf(const Specification& specification, std::vector<Real> w, int n)
      : w_(std::move(w)), decoder_(specification.shape(), specification.places(), w_.data(), n, 1) {}
  void reset() override { decoder_.reset(); }
  void reorder(const int32_t* sources) override { decoder_.reorder(sources); }
  void feed(const int32_t* ids, void* logits) override { decoder_.feed(ids, static_cast<Real*>(logits)); }
  bool generate(const Request& request, int n, uint64_t* states, int32_t* ids, int64_t* lengths) override {
    return decoder_.generate(request, n, states, ids, lengths);
  }

 private:
  std::vector<Real> w_;  // (P), read by decoder_
  BundledDecoder<Real> decoder_;
};

/// A model of either precision.
class AnyModel {
 public:
  Mask mask;          // of the next look
  OwnedNGrams grams;  // to average with in generation

  virtual ~AnyModel() = default;
  virtual int slot_count() const = 0;
  virtual int scalar_count() const = 0;
  virtual double parameter_count() const = 0;
  virtual void load(const void* parameters, const void* slots) = 0;
  virtual void store(void* parameters, void* slots) const = 0;
  virtual void train(const Batches& batches, const double* scalars, const Clips& clips,
                     const Dropout& dropout, int64_t first, double* losses, const double* table_decay) = 0;
  virtual double gradients(const Batches& batches, const Clips& clips, const Dropout& dropout, int64_t step,
                           void* gradient) = 0;
  virtual void logits(const Batches& batches, void* out) = 0;
  virtual AnyDecoder* decoder(int n) const = 0;
  /// Parameters of the next look, the model's own at first.   -> (P)
  virtual void* parameters_of_look() = 0;
  virtual void look(const int32_t* ids, int T) = 0;
  virtual const void* lens() const = 0;
  virtual const void* logits_of_look() const = 0;
  virtual int record_count() const = 0;
  /// Layer, heads, rows and columns of a record.   -> sizes (4)
  virtual const char* record(int i, int32_t* sizes, const void** values) const = 0;
};

template <class Real>
class ModelOf final : public AnyModel {
 public:
  ModelOf(const Description& given, Optimizer optimizer)
      : specification_(given.shape, given.tensors, given.contexts),
        core_(specification_.shape(), specification_.places(), optimizer, {1, false}) {}

  int slot_count() const override { return core_.slot_count(); }
  int scalar_count() const override { return core_.scalar_count(); }
  double parameter_count() const override { return double(specification_.shape().parameters); }

  void load(const void* parameters, const void* slots) override {
    core_.load(static_cast<const Real*>(parameters), static_cast<const Real*>(slots));
  }
  void store(void* parameters, void* slots) const override {
    core_.store(static_cast<Real*>(parameters), static_cast<Real*>(slots));
  }

  void train(const Batches& batches, const double* scalars, const Clips& clips, const Dropout& dropout,
             int64_t first, double* losses, const double* table_decay) override {
    core_.train(batches, scalars, clips, dropout, first, losses, table_decay);
  }
  double gradients(const Batches& batches, const Clips& clips, const Dropout& dropout, int64_t step,
                   void* gradient) override {
    return core_.gradients(batches, clips, dropout, step, static_cast<Real*>(gradient));
  }
  void logits(const Batches& batches, void* out) override { core_.logits(batches, static_cast<Real*>(out)); }

  AnyDecoder* decoder(int n) const override {
    std::vector<Real> w(size_t(specification_.shape().parameters));
    core_.store(w.data(), nullptr);
    return new DecoderOf<Real>(specification_, std::move(w), n);
  }

  void* parameters_of_look() override {
    if (!looker_) looker_ = std::make_unique<Looker<Real>>(specification_.shape(), specification_.places());
    core_.store(looker_->parameters(), nullptr);
    return looker_->parameters();
  }
  void look(const int32_t* ids, int T) override { found_ = &(*looker_)(ids, T, mask); }
  const void* lens() const override { return found_->lens.data(); }
  const void* logits_of_look() const override { return found_->logits.data(); }
  int record_count() const override { return int(found_->records.size()); }
  const char* record(int i, int32_t* sizes, const void** values) const override {
    const auto& [name, layer, heads, rows, columns, numbers] = found_->records[size_t(i)];
    const int32_t all[] = {layer, heads, rows, columns};
    std::copy(all, all + 4, sizes);
    *values = numbers.data();
    return name;
  }

 private:
  Specification specification_;
  Trainer<Real> core_;
  std::unique_ptr<Looker<Real>> looker_;
  const Recording<Real>* found_ = nullptr;
};

/// The sequences of some steps; offsets (count · batch_size + 1) are widened.
class Steps {
 public:
  Steps(const int32_t* tokens, const int32_t* offsets, const double* weights, int count, int batch_size)
      : offsets_(widened(offsets, count * batch_size + 1)),
        batches{tokens, offsets_.data(), count, batch_size, weights} {}

 private:
  std::vector<int64_t> offsets_;

 public:
  const Batches batches;
};

}  // namespace

MOTEGPT_EXPORT(describe) Description* describe() { return new Description; }

MOTEGPT_EXPORT(describe_number) void describe_number(Description* made, const char* name, double value) {
  const std::string_view setting = name;
  Shape& shape = made->shape;
#define MOTEGPT_NUMBER(field) \
  if (setting == #field) return void(shape.field = decltype(shape.field)(value));
  MOTEGPT_NUMBER(vocab_size)
  MOTEGPT_NUMBER(block_size)
  MOTEGPT_NUMBER(n_layer)
  MOTEGPT_NUMBER(n_embd)
  MOTEGPT_NUMBER(n_head)
  MOTEGPT_NUMBER(n_kv_head)
  MOTEGPT_NUMBER(n_hidden)
  MOTEGPT_NUMBER(bias)
  MOTEGPT_NUMBER(embedding_norm)
  MOTEGPT_NUMBER(norm_gain)
  MOTEGPT_NUMBER(norm_bias)
  MOTEGPT_NUMBER(final_norm)
  MOTEGPT_NUMBER(norm_eps)
  MOTEGPT_NUMBER(rope_base)
  MOTEGPT_NUMBER(qk_norm)
#undef MOTEGPT_NUMBER
  fail_unknown(setting);
}

MOTEGPT_EXPORT(describe_choice)
void describe_choice(Description* made, const char* name, const char* value) {
  const std::string_view setting = name;
  if (setting == "activation") return choose(made->shape.activation, name, value, activation_names);
  if (setting == "norm") return choose(made->shape.norm, name, value, norm_names);
  if (setting == "position") return choose(made->shape.position, name, value, position_names);
  fail_unknown(setting);
}

/// shape (rank)
MOTEGPT_EXPORT(describe_tensor)
void describe_tensor(Description* made, const char* name, const int32_t* shape, int rank, int product,
                     int decayed) {
  made->tensors.push_back({name, widened(shape, rank), product != 0, decayed != 0});
}

/// The keys of the next order's contexts: keys (count), whole numbers.
MOTEGPT_EXPORT(describe_contexts)
void describe_contexts(Description* made, const double* keys, int count) {
  made->contexts.push_back(widened(keys, count));
}

/// Deletes the description.
MOTEGPT_EXPORT(make_model) AnyModel* make_model(Description* given, int single, const char* optimizer) {
  const std::unique_ptr<Description> description(given);
  Optimizer rule{};
  choose(rule, "optimizer", optimizer, optimizer_names);
  if (single) return new ModelOf<float>(*description, rule);
  return new ModelOf<double>(*description, rule);
}

MOTEGPT_EXPORT(slot_count) int slot_count(const AnyModel* model) { return model->slot_count(); }

MOTEGPT_EXPORT(scalars_per_step) int scalars_per_step(const AnyModel* model) { return model->scalar_count(); }

MOTEGPT_EXPORT(parameter_count) double parameter_count(const AnyModel* model) {
  return model->parameter_count();
}

MOTEGPT_EXPORT(load) void load_model(AnyModel* model, const void* parameters, const void* slots) {
  model->load(parameters, slots);
}

/// slots: null if they are not asked for
MOTEGPT_EXPORT(store) void store_model(const AnyModel* model, void* parameters, void* slots) {
  model->store(parameters, slots);
}

MOTEGPT_EXPORT(train)
void train(AnyModel* model, const int32_t* tokens, const int32_t* offsets, const double* weights, int count,
           int batch_size, const double* scalars, double clip_node, double clip_value, double clip_norm,
           uint64_t seed, double dropout, double ngram_dropout, double first, const double* table_decay,
           double* losses) {
  const Steps steps(tokens, offsets, weights, count, batch_size);
  model->train(steps.batches, scalars, {clip_node, clip_value, clip_norm}, {seed, dropout, ngram_dropout},
               int64_t(first), losses, table_decay);
}

MOTEGPT_EXPORT(gradients)
double gradients(AnyModel* model, const int32_t* tokens, const int32_t* offsets, const double* weights,
                 int batch_size, double clip_node, uint64_t seed, double dropout, double ngram_dropout,
                 double step, void* gradient) {
  const Steps steps(tokens, offsets, weights, 1, batch_size);
  constexpr double none = __builtin_huge_val();
  return model->gradients(steps.batches, {clip_node, none, none}, {seed, dropout, ngram_dropout},
                          int64_t(step), gradient);
}

MOTEGPT_EXPORT(logits)
void logits(AnyModel* model, const int32_t* tokens, const int32_t* offsets, const double* weights,
            int batch_size, void* out) {
  const Steps steps(tokens, offsets, weights, 1, batch_size);
  model->logits(steps.batches, out);
}

MOTEGPT_EXPORT(make_decoder) AnyDecoder* make_decoder(const AnyModel* model, int n) {
  return model->decoder(n);
}

MOTEGPT_EXPORT(delete_decoder) void delete_decoder(AnyDecoder* decoder) { delete decoder; }

MOTEGPT_EXPORT(reset) void reset(AnyDecoder* decoder) { decoder->reset(); }

MOTEGPT_EXPORT(reorder) void reorder(AnyDecoder* decoder, const int32_t* sources) {
  decoder->reorder(sources);
}

MOTEGPT_EXPORT(feed) void feed(AnyDecoder* decoder, const int32_t* ids, void* logits) {
  decoder->feed(ids, logits);
}

MOTEGPT_EXPORT(clear_n_grams) void clear_n_grams(AnyModel* model) { model->grams = {}; }

MOTEGPT_EXPORT(set_unigrams) void set_unigrams(AnyModel* model, const double* unigrams, int count) {
  model->grams.unigrams.assign(unigrams, unigrams + count);
}

/// The level after the last one; arrays as in NGramLevel, the first two of whole numbers.
MOTEGPT_EXPORT(add_n_gram_level)
void add_n_gram_level(AnyModel* model, const double* children, const int32_t* first, const double* starts,
                      const int32_t* last, const double* share, const double* backoff, int shorter,
                      int contexts, int n_grams) {
  model->grams.levels.push_back(
      {widened(children, shorter + 1), widened(starts, contexts + 1),
       std::vector<int32_t>(first, first + contexts), std::vector<int32_t>(last, last + n_grams),
       std::vector<double>(share, share + n_grams), std::vector<double>(backoff, backoff + contexts)});
}

/// n texts, of which at most `side` are generated side by side.   -> ids (n, max_new_tokens), lengths (n);
/// returns whether all logits are finite
MOTEGPT_EXPORT(generate)
int generate(AnyModel* model, const int32_t* prompt, int prompt_length, int n_prefix_tokens,
             int min_new_tokens, int max_new_tokens, int end, const int32_t* stop, int stop_length,
             const uint8_t* masked, double temperature, double repetition_penalty, int top_k, double top_p,
             double min_p, double n_gram_weight, int n, int side, uint64_t* states, int32_t* ids,
             int32_t* lengths) {
  const std::unique_ptr<AnyDecoder> decoder(model->decoder(std::min(n, side)));
  const NGrams n_grams = model->grams.view(n_gram_weight);
  const Request request{prompt,
                        prompt_length,
                        n_prefix_tokens,
                        min_new_tokens,
                        max_new_tokens,
                        end,
                        stop,
                        stop_length,
                        masked,
                        {temperature, repetition_penalty, top_k, top_p, min_p},
                        model->grams.levels.empty() ? nullptr : &n_grams};
  std::vector<int64_t> found(static_cast<size_t>(n));
  const bool finite = decoder->generate(request, n, states, ids, found.data());
  std::copy(found.begin(), found.end(), lengths);
  return finite;
}

/// Parameters of the next look, which may be changed.   -> (P)
MOTEGPT_EXPORT(begin_look) void* begin_look(AnyModel* model) {
  model->mask = {};
  return model->parameters_of_look();
}

MOTEGPT_EXPORT(mask_head) void mask_head(AnyModel* model, int layer, int head) {
  model->mask.heads.push_back({layer, head});
}

MOTEGPT_EXPORT(mask_part) void mask_part(AnyModel* model, int layer, int is_mlp) {
  model->mask.parts.push_back({layer, is_mlp});
}

MOTEGPT_EXPORT(mask_cell) void mask_cell(AnyModel* model, int layer, int head, int t, int u) {
  model->mask.cells.push_back({layer, head, t, u});
}

/// ids (T); what it finds is there until the next look
MOTEGPT_EXPORT(look) void look(AnyModel* model, const int32_t* ids, int T) { model->look(ids, T); }

MOTEGPT_EXPORT(look_logits) const void* look_logits(const AnyModel* model) { return model->logits_of_look(); }

MOTEGPT_EXPORT(look_lens) const void* look_lens(const AnyModel* model) { return model->lens(); }

MOTEGPT_EXPORT(look_records) int look_records(const AnyModel* model) { return model->record_count(); }

/// The name of record i; layer, heads, rows, columns and the address of the values -> sizes (5)
MOTEGPT_EXPORT(look_record) const char* look_record(const AnyModel* model, int i, int32_t* sizes) {
  const void* values = nullptr;
  const char* name = model->record(i, sizes, &values);
  sizes[4] = int32_t(reinterpret_cast<uintptr_t>(values));
  return name;
}

}  // namespace motegpt
