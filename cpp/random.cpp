// Compiled with -ffp-contract=off: every operation rounds once, as in Python.
#include "motegpt/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>

namespace motegpt {
namespace {

using std::numbers::pi;

/// x rounded to single precision.
double single(double x) { return double(float(x)); }

/// √(-2 ln u1) and cos(2π u2), whose product is normal (Box and Muller, 1958), in single precision.
struct BoxMuller {
  double radius, cosine;
  BoxMuller(double u1, double u2)
      : radius(single(std::sqrt(single(-2.0 * single(std::log(u1)))))),
        cosine(single(std::cos(single(single(2.0 * pi) * u2)))) {}
};

/// Whether there are n words of at most `largest`.
bool are_words(const RngState& state, size_t n, uint64_t largest) {
  return state.words.size() == n && std::all_of(state.words.begin(), state.words.end(),
                                                [largest](uint64_t word) { return word <= largest; });
}

/// Sums of the first 1, 2, … n weights.
std::vector<double> accumulated(const double* weights, int64_t n) {
  std::vector<double> sums(weights, weights + n);
  for (size_t i = 1; i < sums.size(); ++i) sums[i] += sums[i - 1];
  return sums;
}

/// The first index whose edge is above the threshold; the last if none is.
int64_t index_above(const std::vector<double>& edges, double threshold) {
  return std::upper_bound(edges.begin(), edges.end() - 1, threshold) - edges.begin();
}

/// Python's random.Random: MT19937 (Matsumoto and Nishimura, 1998) with its gauss, shuffle and choices.
class PythonRandom final : public RunRng {
 public:
  /// Seeds with the 32-bit words of the seed, the reference's init_by_array.
  explicit PythonRandom(uint64_t seed) {
    const uint32_t key[] = {uint32_t(seed), uint32_t(seed >> 32)};
    const uint32_t length = key[1] ? 2 : 1;
    seed_with(19650218);
    uint32_t i = 1, j = 0;
    const auto advance = [&] {
      if (++i == size) {
        words_[0] = words_[size - 1];
        i = 1;
      }
    };
    for (uint32_t k = 0; k < size; ++k, j = (j + 1) % length, advance())
      words_[i] = (words_[i] ^ (folded(i) * 1664525)) + key[j] + j;
    for (uint32_t k = 0; k < size - 1; ++k, advance()) words_[i] = (words_[i] ^ (folded(i) * 1566083941)) - i;
    words_[0] = 0x80000000;
  }

  double uniform() override {
    const uint32_t a = word() >> 5, b = word() >> 6;
    return (a * 67108864.0 + b) * (1.0 / 9007199254740992.0);
  }

  double gauss(double mean, double std) override {
    double z;
    if (gauss_next_) {
      z = *gauss_next_;
      gauss_next_.reset();
    } else {
      const double angle = uniform() * (2.0 * pi);
      const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
      z = std::cos(angle) * radius;
      gauss_next_ = std::sin(angle) * radius;
    }
    return mean + z * std;
  }

  int64_t categorical(const double* weights, int64_t n) override {
    const std::vector<double> edges = accumulated(weights, n);
    return index_above(edges, uniform() * (edges.back() + 0.0));
  }

  RngState state() const override {
    RngState state{{words_, words_ + size}, gauss_next_};
    state.words.push_back(place_);
    return state;
  }

  bool restore(const RngState& state) override {
    if (!are_words(state, size + 1, UINT32_MAX) || state.words[size] > size) return false;
    for (uint32_t i = 0; i < size; ++i) words_[i] = uint32_t(state.words[i]);
    place_ = uint32_t(state.words[size]);
    gauss_next_ = state.gauss_next;
    return true;
  }

 protected:
  /// Takes as many bits as n has until the number is below n.
  uint64_t below(uint64_t n) override {
    const int bits = std::bit_width(n);
    uint64_t number = n;
    while (number >= n) number = random_bits(bits);
    return number;
  }

 private:
  static constexpr uint32_t size = 624, middle = 397;

  void seed_with(uint32_t seed) {
    words_[0] = seed;
    for (uint32_t i = 1; i < size; ++i) words_[i] = 1812433253 * (words_[i - 1] ^ (words_[i - 1] >> 30)) + i;
  }

  uint32_t folded(uint32_t i) const { return words_[i - 1] ^ (words_[i - 1] >> 30); }

  /// The next 32 bits.
  uint32_t word() {
    if (place_ >= size) twist();
    uint32_t y = words_[place_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680;
    y ^= (y << 15) & 0xEFC60000;
    return y ^ (y >> 18);
  }

  /// The next 624 words.
  void twist() {
    for (uint32_t i = 0; i < size; ++i) {
      const uint32_t y = (words_[i] & 0x80000000) | (words_[(i + 1) % size] & 0x7FFFFFFF);
      words_[i] = words_[(i + middle) % size] ^ (y >> 1) ^ (y & 1 ? 0x9908B0DF : 0);
    }
    place_ = 0;
  }

  /// 1 … 64 random bits, the low word first.
  uint64_t random_bits(int bits) {
    if (bits <= 32) return word() >> (32 - bits);
    const uint64_t low = word();
    return low | uint64_t(word() >> (64 - bits)) << 32;
  }

  uint32_t words_[size], place_ = size;
  std::optional<double> gauss_next_;
};

/// The generator of Oxidized-GPT: the recurrence of lcg_step, with the seed as initial state.
class Lcg final : public RunRng {
 public:
  explicit Lcg(uint64_t seed) : number_(seed) {}

  double uniform() override { return single(double(word() >> 32)) * 0x1p-32; }

  double gauss(double mean, double std) override {
    const double u1 = std::max(uniform(), 0x1p-32), u2 = uniform();
    const BoxMuller pair(u1, u2);
    return single(mean + single(single(pair.radius * pair.cosine) * single(std)));
  }

  int64_t categorical(const double* weights, int64_t n) override {
    const std::vector<double> edges = accumulated(weights, n);
    return index_above(edges, uniform() * edges.back());
  }

  RngState state() const override { return {{number_}, {}}; }

  bool restore(const RngState& state) override {
    if (!are_words(state, 1, UINT64_MAX) || state.gauss_next) return false;
    number_ = state.words[0];
    return true;
  }

 protected:
  uint64_t below(uint64_t n) override { return word() % n; }

 private:
  /// The next 64 bits.
  uint64_t word() { return number_ = lcg_step(number_); }

  uint64_t number_;
};

/// xoshiro128+ (Blackman and Vigna, 2018), seeded and rounded as in zeroclawgpt.
class Xoshiro128Plus final : public RunRng {
 public:
  explicit Xoshiro128Plus(uint64_t seed) {
    const auto low = uint32_t(seed), high = uint32_t(seed >> 32);
    const uint32_t words[] = {low ^ 0xDEADBEEF, high ^ 0xCAFEBABE, low + 1, high + 1};
    std::copy(words, words + 4, s_);
  }

  double uniform() override { return word() * 0x1p-32; }

  double gauss(double mean, double std) override {
    const double u1 = single(single(single(word()) + 1.0) * 0x1p-32);
    const double u2 = single(single(word()) * 0x1p-32);
    const BoxMuller pair(u1, u2);
    return single(mean + single(single(single(std) * pair.radius) * pair.cosine));
  }

  /// Subtracts weights until the remainder is not positive.
  int64_t categorical(const double* weights, int64_t n) override {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) total = single(total + single(weights[i]));
    double remainder = single(single(single(word()) * 0x1p-32) * total);
    for (int64_t i = 0; i < n; ++i) {
      remainder = single(remainder - single(weights[i]));
      if (remainder <= 0) return i;
    }
    return n - 1;
  }

  RngState state() const override { return {{s_, s_ + 4}, {}}; }

  bool restore(const RngState& state) override {
    const bool is_zero = std::all_of(state.words.begin(), state.words.end(), [](uint64_t s) { return !s; });
    if (!are_words(state, 4, UINT32_MAX) || is_zero || state.gauss_next) return false;
    for (size_t i = 0; i < 4; ++i) s_[i] = uint32_t(state.words[i]);
    return true;
  }

 protected:
  uint64_t below(uint64_t n) override { return uint64_t(uniform() * double(n)); }

 private:
  /// The next 32 bits.
  uint32_t word() {
    const uint32_t result = s_[0] + s_[3], t = s_[1] << 9;
    s_[2] ^= s_[0];
    s_[3] ^= s_[1];
    s_[1] ^= s_[2];
    s_[0] ^= s_[3];
    s_[2] ^= t;
    s_[3] = std::rotl(s_[3], 11);
    return result;
  }

  uint32_t s_[4];
};

}  // namespace

RunRng::~RunRng() = default;

void RunRng::fill_gauss(double mean, double std, int64_t n, double* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = gauss(mean, std);
}

void RunRng::shuffle(int64_t n, uint32_t* items) {
  for (int64_t i = n - 1; i > 0; --i) std::swap(items[i], items[below(uint64_t(i) + 1)]);
}

std::unique_ptr<RunRng> make_rng(Generator generator, uint64_t seed) {
  switch (generator) {
    case Generator::python: return std::make_unique<PythonRandom>(seed);
    case Generator::lcg: return std::make_unique<Lcg>(seed);
    case Generator::xoshiro128plus: return std::make_unique<Xoshiro128Plus>(seed);
  }
  __builtin_unreachable();
}

void epoch_orders(uint64_t seed, uint64_t first, int64_t count, int64_t n, int64_t* orders) {
  if (n < 1) return;
  const uint64_t low = (uint64_t(1) << std::bit_width(uint64_t(n - 1))) - 1;
  std::vector<uint64_t> keys(static_cast<size_t>(n));
  for (int64_t epoch = 0; epoch < count; ++epoch) {
    const uint64_t key = splitmix64(seed, first + uint64_t(epoch));
    for (uint64_t i = 0; i < keys.size(); ++i) keys[i] = (splitmix64(key, i) & ~low) | i;
    std::sort(keys.begin(), keys.end());
    for (const uint64_t one : keys) *orders++ = int64_t(one & low);
  }
}

}  // namespace motegpt
