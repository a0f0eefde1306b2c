// The decoder at every level that can run here: reordered sequences, and logits that are not finite.
#include <cmath>
#include <cstring>
#include <memory>

#include "check.hpp"
#include "levels.hpp"
#include "motegpt/generation.hpp"
#include "motegpt/streams.hpp"
#include "specify.hpp"

namespace motegpt {
namespace {

template <class Real>
std::unique_ptr<Decoder<Real>> make(const Level& level, const Specification& model,
                                    const std::vector<Real>& w, int64_t n) {
  Decoder<Real>* made;
  if constexpr (sizeof(Real) == 4) {
    made = level.make_float_decoder(model.shape(), model.places(), w.data(), n, 2);
  } else {
    made = level.make_double_decoder(model.shape(), model.places(), w.data(), n, 2);
  }
  return std::unique_ptr<Decoder<Real>>(made);
}

/// A decoder of n sequences, and the tokens fed to it: (n) per step.
template <class Real>
struct Fed {
  std::unique_ptr<Decoder<Real>> decoder;
  std::vector<std::vector<int32_t>> steps;
  std::vector<Real> logits;  // (n, V)

  void feed(const std::vector<int32_t>& ids) {
    steps.push_back(ids);
    decoder->feed(ids.data(), logits.data());
  }
};

/// After a reorder the logits are bit by bit those of a decoder that was fed the reordered histories.
template <class Real>
void test_reorder(const Level& level, const Specification& model, int n) {
  const Shape& shape = model.shape();
  const std::vector<Real> w = random_parameters<Real>(shape, 0.3);
  const size_t size = size_t(n) * size_t(shape.vocab_size);
  Fed<Real> one{make(level, model, w, n), {}, std::vector<Real>(size)};
  check::Random random{uint64_t(n)};
  const auto below = [&](int bound) {
    std::vector<int32_t> numbers(static_cast<size_t>(n));
    for (int32_t& number : numbers) number = random.below(bound);
    return numbers;
  };
  for (int at = 0; at < shape.block_size; ++at) {
    const std::vector<int32_t> sources = below(n);
    one.decoder->reorder(sources.data());
    for (auto& step : one.steps) {
      const auto before = step;
      for (size_t i = 0; i < step.size(); ++i) step[i] = before[size_t(sources[i])];
    }
    one.feed(below(shape.vocab_size));
    Fed<Real> anew{make(level, model, w, n), {}, std::vector<Real>(size)};
    for (const auto& step : one.steps) anew.feed(step);
    check::that(std::memcmp(one.logits.data(), anew.logits.data(), size * sizeof(Real)) == 0,
                std::string(level.name) + ": reordered is fed anew");
  }
}

/// A broken embedding matters to the sequences that are fed it, not to the columns beside them, which are fed
/// token 0 when the window has moved.
template <class Real>
void test_not_finite(const Level& level, const Specification& model) {
  const Shape& shape = model.shape();
  std::vector<Real> w = random_parameters<Real>(shape, 0.3);
  w[0] = Real(NAN);  // of token 0, which is never drawn
  std::vector<uint8_t> masked(size_t(shape.vocab_size), 0);
  masked[0] = 1;
  const int most = shape.block_size + 2;
  std::vector<int32_t> ids(static_cast<size_t>(most));
  auto decoder = make(level, model, w, 1);
  for (const double temperature : {0.0, 1.0}) {
    for (const int32_t prompt : {0, 1}) {
      const Filters filters{temperature, 1, 0, 1, 0};
      const Request request{&prompt, 1, 0, 0, most, -1, nullptr, 0, masked.data(), filters};
      uint64_t state = 1;
      int64_t length;
      const bool finite = decoder->generate(request, 1, &state, ids.data(), &length);
      check::that(finite == (prompt == 1 && !shape.tied), std::string(level.name) + ": finite logits");
    }
  }
}

/// The texts of a request: ids, lengths and states of the generators.
struct Generated {
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths;
  std::vector<uint64_t> states;

  template <class Real>
  Generated(Decoder<Real>& decoder, const Request& request, int64_t count)
      : ids(size_t(count * request.max_new_tokens)), lengths(static_cast<size_t>(count)) {
    for (int64_t i = 0; i < count; ++i) states.push_back(splitmix64(3, uint64_t(i)));
    check::that(decoder.generate(request, count, states.data(), ids.data(), lengths.data()), "finite");
  }
  bool operator==(const Generated&) const = default;
};

/// Texts are bit by bit those of one sequence after the other, whatever ends and moves beside them; and ids are
/// followed by no_token.
template <class Real>
void test_side_by_side(const Level& level, const Specification& model) {
  const Shape& shape = model.shape();
  const std::vector<Real> w = random_parameters<Real>(shape, 0.3);
  const std::vector<int32_t> prompt{0, 1, 2}, stop{1, 3};
  std::vector<uint8_t> masked(size_t(shape.vocab_size), 0);
  masked[2] = 1;
  for (const int block : {shape.block_size, 2 * shape.block_size + 3}) {
    const Filters plain{1.1, 1, 0, 1, 0}, filtered{0.8, 1.5, 5, 0.9, 0.01}, greedy{0, 1.2, 0, 1, 0};
    const Request requests[] = {
        {prompt.data(), 1, 0, 0, block, 3, nullptr, 0, nullptr, plain},
        {prompt.data(), 3, 2, 2, block, 0, stop.data(), 2, masked.data(), filtered},
        {prompt.data(), 2, 1, 0, block, 0, nullptr, 0, nullptr, greedy},
    };
    for (const Request& request : requests) {
      const Generated expected(*make(level, model, w, 1), request, 80);
      for (const int n : {2, 37, 80}) {
        const auto decoder = make(level, model, w, n);
        for (const std::string times : {"once", "again"})
          check::that(Generated(*decoder, request, 80) == expected,
                      level.name + (": " + std::to_string(n) + " side by side, " + times));
      }
      for (size_t i = 0; i < expected.lengths.size(); ++i) {
        for (int at = 0; at < block; ++at) {
          const bool is_token = expected.ids[i * size_t(block) + size_t(at)] != no_token;
          check::that(is_token == (at < expected.lengths[i]), "no_token after a text");
        }
      }
    }
  }
}

template <class Real>
void test_level(const Level& level) {
  std::vector<Specification> models = {
      // vocabulary, block, layers, channels, heads, tied, embedding norm, activation
      specify(27, 16, 1, 16, 4, false, true, Activation::relu),
      specify(11, 5, 3, 6, 2, true, false, Activation::squared_relu),
      specify(4, 9, 1, 6, 2, false, true, Activation::relu, {8, 15, 15}),
      specify(11, 6, 2, 12, 2, false, true, Activation::relu, {}, Position::rope, true),
  };
  for (const Specification& one : architectures()) models.push_back(one);
  for (const Specification& model : models) {
    for (const int n : {1, 2, 15, 16, 17, 65, 130}) test_reorder<Real>(level, model, n);
    test_not_finite<Real>(level, model);
    test_side_by_side<Real>(level, model);
  }
}

}  // namespace
}  // namespace motegpt

int main(int argc, char** argv) {
  const std::vector<motegpt::Level> levels = motegpt::chosen_levels(argc, argv);
  if (levels.empty()) return motegpt::skipped;
  for (const motegpt::Level& level : levels) {
    motegpt::test_level<float>(level);
    motegpt::test_level<double>(level);
  }
  return check::verdict("decoder");
}
