// The n-grams of one processor level, and their average with a model, against maps of whole contexts.
#include <map>

#include "buffers.hpp"
#include "motegpt/kneser_ney.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

using Tokens = std::vector<int>;

/// What follows a context: a share by token, and γ.
struct Followers {
  std::map<int, double> share;
  double backoff;
};

/// The contexts of each level of a random text, the latest token first: then their order is that of the tables.
std::vector<std::map<Tokens, Followers>> random_levels(Random& random, int V, int order) {
  std::vector<std::map<Tokens, Followers>> levels(static_cast<size_t>(order - 1));
  Tokens text;
  for (int i = 0; i < 60; ++i) text.push_back(random.below(V));
  for (size_t n = 0; n < levels.size(); ++n) {
    for (size_t end = 0; end < text.size(); ++end) {
      Tokens context;
      for (size_t i = 0; i <= n; ++i) context.push_back(i < end ? text[end - 1 - i] : V);
      Followers& found = levels[n][context];
      found.share[text[end]] = 0.2 * random.uniform();
      found.backoff = random.uniform();
    }
  }
  return levels;
}

/// The same as the tables of generation.hpp.
struct Tables {
  std::vector<std::vector<int64_t>> children, starts;
  std::vector<std::vector<int32_t>> first, last;
  std::vector<std::vector<double>> share, backoff;

  explicit Tables(const std::vector<std::map<Tokens, Followers>>& levels)
      : children(levels.size()),
        starts(levels.size()),
        first(levels.size()),
        last(levels.size()),
        share(levels.size()),
        backoff(levels.size()) {
    std::map<Tokens, Followers> shorter{{{}, {}}};
    for (size_t n = 0; n < levels.size(); shorter = levels[n++]) {
      starts[n] = {0};
      for (const auto& [context, found] : levels[n]) {
        first[n].push_back(context.back());
        for (const auto& [token, each] : found.share) last[n].push_back(token), share[n].push_back(each);
        starts[n].push_back(int64_t(last[n].size()));
        backoff[n].push_back(found.backoff);
      }
      children[n] = {0};
      for (const auto& [context, unused] : shorter) {
        const auto extends = [&](const auto& one) {
          return Tokens(one.first.begin(), one.first.end() - 1) == context;
        };
        children[n].push_back(children[n].back() +
                              std::count_if(levels[n].begin(), levels[n].end(), extends));
      }
    }
  }

  NGrams view(const std::vector<double>& unigrams, double weight) const {
    NGrams made{int(first.size()) + 1, {}, unigrams.data(), weight};
    for (size_t n = 0; n < first.size(); ++n)
      made.levels[n] = {children[n].data(), first[n].data(), starts[n].data(),
                        last[n].data(),     share[n].data(), backoff[n].data()};
    return made;
  }
};

/// p of every token, from the unigrams up.   history: the latest token first
Array naive_p(const std::vector<std::map<Tokens, Followers>>& levels, Array p, const Tokens& history) {
  for (size_t n = 0; n < levels.size(); ++n) {
    const auto found = levels[n].find(Tokens(history.begin(), history.begin() + int(n) + 1));
    if (found == levels[n].end()) break;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto share = found->second.share.find(int(i));
      p[i] = found->second.backoff * p[i] + (share == found->second.share.end() ? 0 : share->second);
    }
  }
  return p;
}

template <class Real>
void test_average(Random& random, int V, int order) {
  constexpr int L = batch_lanes;
  const Index stride = L + 1;
  const auto levels = random_levels(random, V, order);
  const Tables tables(levels);
  Array unigrams;
  for (int i = 0; i < V; ++i) unigrams.push_back(random.uniform() / V);
  const double weight = random.below(4) ? random.uniform() : random.below(2);
  const NGrams n_grams = tables.view(unigrams, weight);
  Buffer<Real> logits(V * stride);
  Buffer<double> e(V * L), log_p(V * L);
  std::vector<Array> expected;
  int histories[L][largest_order];
  bool runs[L];
  for (int lane = 0; lane < L; ++lane) {
    runs[lane] = random.below(5) > 0;
    for (int i = 0; i < order - 1; ++i) histories[lane][i] = random.below(V + 1);
    expected.push_back(naive_p(levels, unigrams, Tokens(histories[lane], histories[lane] + order - 1)));
    for (int i = 0; i < V; ++i) logits[i * stride + lane] = Real(3 * random.normal());
  }
  average<Real>(n_grams, V, logits, stride, histories, runs, e, log_p);
  for (int lane = 0; lane < L; ++lane) {
    if (!runs[lane]) continue;
    double total = 0;
    for (int i = 0; i < V; ++i) total += std::exp(double(logits[i * stride + lane]));
    for (int i = 0; i < V; ++i) {
      const double gpt = std::exp(double(logits[i * stride + lane])) / total;
      const double mean = (1 - weight) * gpt + weight * expected[size_t(lane)][size_t(i)];
      check::near(log_p[i * L + lane], std::log(mean), 1, 1e-12, "average");
    }
  }
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() {
  return check::run_at_level("kneser_ney", [] {
    motegpt::MOTEGPT_LEVEL::Random random(5);
    for (const int V : {1, 2, 3, 27, 65}) {
      for (int order = 2; order <= motegpt::largest_order; ++order) {
        motegpt::MOTEGPT_LEVEL::test_average<float>(random, V, order);
        motegpt::MOTEGPT_LEVEL::test_average<double>(random, V, order);
      }
    }
  });
}
