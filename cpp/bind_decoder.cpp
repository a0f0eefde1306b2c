// The Python class Decoder: sequences that grow token by token, or whole texts in one call.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <mutex>
#include <variant>

#include "checks.hpp"
#include "motegpt/generation.hpp"
#include "n_grams.hpp"

namespace motegpt::bindings {

using namespace nb::literals;

namespace {

class PythonDecoder {
 public:
  PythonDecoder(const Specification& specification, const AnyArray& parameters, int64_t n,
                const std::string& dtype, std::optional<std::string> level, int threads)
      : shape_(specification.shape()), contexts_(specification.contexts()), parameters_(parameters), n_(n) {
    if (n < 1)
      throw nb::value_error(("Decoder: expected at least 1 sequence, got " + std::to_string(n)).c_str());
    if (threads < 0)
      throw nb::value_error(("Decoder: expected at least 0 threads, got " + std::to_string(threads)).c_str());
    const Level chosen = find_level(level);
    const std::vector<int64_t> size{shape_.parameters};
    const Places places = specification.places();
    if (dtype == "float32") {
      const float* w = checked<float>(parameters, "Decoder: parameters", size);
      decoder_ = made(chosen.make_float_decoder(shape_, places, w, n, threads));
    } else if (dtype == "float64") {
      const double* w = checked<double>(parameters, "Decoder: parameters", size);
      decoder_ = made(chosen.make_double_decoder(shape_, places, w, n, threads));
    } else {
      throw nb::value_error(("Decoder: expected dtype float32 or float64, got " + dtype).c_str());
    }
  }

  void reset() {
    with_decoder("reset", [](auto& decoder) { decoder.reset(); });
    fed_ = 0;
  }

  void reorder(const AnyArray& sources) {
    const auto order = copied<int32_t>(sources, "reorder: sources", {n_});
    for (const int32_t source : order) {
      if (source < 0 || source >= n_) {
        throw nb::value_error(("reorder: expected sources of 0 … n - 1 = " + std::to_string(n_ - 1) +
                               ", got " + std::to_string(source))
                                  .c_str());
      }
    }
    with_decoder("reorder", [&](auto& decoder) {
      nb::gil_scoped_release unlocked;
      decoder.reorder(order.data());
    });
  }

  nb::object feed(const AnyArray& ids) {
    const auto tokens = copied<int32_t>(ids, "feed: ids", {n_});
    check_tokens(tokens, "feed");
    if (fed_ >= shape_.block_size) {
      throw nb::value_error(
          ("decoder: expected at most block_size = " + std::to_string(shape_.block_size) + " tokens")
              .c_str());
    }
    nb::object result;
    with_decoder("feed", [&]<class Real>(Decoder<Real>& decoder) {
      std::vector<Real> logits(size_t(n_) * size_t(shape_.vocab_size));
      {
        nb::gil_scoped_release unlocked;
        decoder.feed(tokens.data(), logits.data());
      }
      result = to_numpy(std::move(logits), {size_t(n_), size_t(shape_.vocab_size)});
    });
    ++fed_;
    return result;
  }

  nb::tuple generate(const AnyArray& prompt, int end, double temperature, const AnyArray& states,
                     int64_t max_new_tokens, int64_t min_new_tokens, int64_t n_prefix_tokens,
                     const std::optional<AnyArray>& stop, const std::optional<AnyArray>& masked,
                     double repetition_penalty, int64_t top_k, double top_p, double min_p,
                     const KneserNeyTables* n_grams, double n_gram_weight) {
    const auto begin = copied<int32_t>(prompt, "generate: prompt", {-1});
    const auto stop_ids = stop ? copied<int32_t>(*stop, "generate: stop", {-1}) : std::vector<int32_t>();
    const auto never =
        masked ? copied<uint8_t>(*masked, "generate: masked", {shape_.vocab_size}) : std::vector<uint8_t>();
    check_tokens(begin, "generate");
    check_tokens(stop_ids, "generate");
    check(!begin.empty(), "a prompt of at least 1 token");
    check(end >= -1 && end < shape_.vocab_size, "an end in -1 … vocab_size - 1");
    check(max_new_tokens >= 1 && min_new_tokens >= 0 && min_new_tokens <= max_new_tokens,
          "min_new_tokens in 0 … max_new_tokens, and max_new_tokens of at least 1");
    check(n_prefix_tokens >= 0 && n_prefix_tokens <= int64_t(begin.size()),
          "n_prefix_tokens of 0 … the length of the prompt");
    check(temperature >= 0 && std::isfinite(temperature), "a finite temperature of at least 0");
    check(repetition_penalty > 0 && std::isfinite(repetition_penalty), "a finite repetition_penalty above 0");
    check(top_k >= 0 && top_p > 0 && min_p >= 0 && min_p <= 1,
          "top_k of at least 0, top_p above 0, min_p of 0 … 1");
    check(n_gram_weight >= 0 && n_gram_weight <= 1, "an n_gram_weight of 0 … 1");
    check(!n_grams || n_grams->vocab_size() == shape_.vocab_size, "n-grams of the same vocab_size");
    const NGrams averaged = n_grams ? n_grams->view(n_gram_weight) : NGrams{};
    auto generators = copied<uint64_t>(states, "generate: states", {-1});
    const size_t n = generators.size();
    check(n == 0 || max_new_tokens <= largest_result / int64_t(n),
          "fewer sequences or a smaller max_new_tokens");
    std::vector<int32_t> ids(n * size_t(max_new_tokens));
    std::vector<int64_t> lengths(n);
    bool finite = false;
    with_decoder("generate", [&](auto& decoder) {
      nb::gil_scoped_release unlocked;
      const Request request{begin.data(),
                            int64_t(begin.size()),
                            n_prefix_tokens,
                            min_new_tokens,
                            max_new_tokens,
                            end,
                            stop_ids.data(),
                            int64_t(stop_ids.size()),
                            masked ? never.data() : nullptr,
                            {temperature, repetition_penalty, top_k, top_p, min_p},
                            n_grams ? &averaged : nullptr};
      finite = decoder.generate(request, int64_t(n), generators.data(), ids.data(), lengths.data());
    });
    fed_ = shape_.block_size;  // reset before feeding again
    if (!finite) {
      PyErr_SetString(PyExc_FloatingPointError, "generate: expected finite logits");
      throw nb::python_error();
    }
    return nb::make_tuple(to_numpy(std::move(ids), {n, size_t(max_new_tokens)}),
                          to_numpy(std::move(lengths), {n}), to_numpy(std::move(generators), {n}));
  }

 private:
  static constexpr int64_t largest_result = int64_t(1) << 40;  // ids

  static void check(bool holds, const char* expected) {
    if (!holds) throw nb::value_error((std::string("generate: expected ") + expected).c_str());
  }

  template <class Real>
  static std::unique_ptr<Decoder<Real>> made(Decoder<Real>* decoder) {
    return std::unique_ptr<Decoder<Real>>(decoder);
  }

  void check_tokens(const std::vector<int32_t>& tokens, const char* operation) const {
    for (const int32_t token : tokens) {
      if (token < 0 || token >= shape_.vocab_size) {
        throw nb::value_error((std::string(operation) + ": expected token ids in 0 … vocab_size - 1 = " +
                               std::to_string(shape_.vocab_size - 1) + ", got " + std::to_string(token))
                                  .c_str());
      }
    }
  }

  /// Call f with the decoder, unless another thread is in it.
  template <class F>
  void with_decoder(const char* operation, F f) {
    const std::unique_lock<std::mutex> alone(in_use_, std::try_to_lock);
    if (!alone)
      throw std::runtime_error(std::string(operation) + ": this decoder is in use by another thread");
    std::visit([&](auto& decoder) { f(*decoder); }, decoder_);
  }

  Shape shape_;
  std::shared_ptr<const ContextTrie> contexts_;  // read by decoder_, as are the
  AnyArray parameters_;
  int64_t n_, fed_ = 0;
  std::variant<std::unique_ptr<Decoder<float>>, std::unique_ptr<Decoder<double>>> decoder_;
  std::mutex in_use_;
};

}  // namespace

void bind_decoder(nb::module_& module) {
  nb::class_<PythonDecoder>(module, "Decoder", "Keys and values of n sequences that advance together. It reads the parameters where they are; they "
                             "must not change.")
      .def(nb::init<const Specification&, const AnyArray&, int64_t, const std::string&,
                    std::optional<std::string>, int>(),
           "specification"_a, "parameters"_a.noconvert(), "n"_a, nb::kw_only(), "dtype"_a,
           "level"_a = nb::none(), "threads"_a = 1)
      .def("reset", &PythonDecoder::reset, "Forget everything that was fed.")
      .def("reorder", &PythonDecoder::reorder, "sources"_a.noconvert(),
           "Let sequence i go on from what sequence sources[i] was fed: sources (n).")
      .def("feed", &PythonDecoder::feed, "ids"_a.noconvert(),
           "Append a token to each sequence: ids (n) -> logits (n, V).")
      .def("generate", &PythonDecoder::generate, "prompt"_a.noconvert(), "end"_a, "temperature"_a,
           "states"_a.noconvert(), nb::kw_only(), "max_new_tokens"_a, "min_new_tokens"_a = 0,
           "n_prefix_tokens"_a = 0, "stop"_a.noconvert() = nb::none(), "masked"_a.noconvert() = nb::none(),
           "repetition_penalty"_a = 1.0, "top_k"_a = 0, "top_p"_a = 1.0, "min_p"_a = 0.0,
           "n_grams"_a = nb::none(), "n_gram_weight"_a = 0.0,
           "Whole texts, one for each generator state: ids (n, max_new_tokens), their lengths (n), the "
           "states after (n). FloatingPointError where logits are not finite.");
}

}  // namespace motegpt::bindings
