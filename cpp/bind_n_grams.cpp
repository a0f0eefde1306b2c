// The Python class NGrams.
#include "n_grams.hpp"

#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cmath>

namespace motegpt::bindings {

using namespace nb::literals;

namespace {

void check(bool holds, const char* expected) {
  if (!holds) throw nb::value_error((std::string("NGrams: expected ") + expected).c_str());
}

/// Whether starts are those of consecutive ranges of `count` things.
bool are_starts(const std::vector<int64_t>& starts, size_t count) {
  return starts.front() == 0 && starts.back() == int64_t(count) &&
         std::is_sorted(starts.begin(), starts.end());
}

bool are_probabilities(const std::vector<double>& numbers) {
  return std::all_of(numbers.begin(), numbers.end(), [](double p) { return p >= 0 && p <= 1; });
}

}  // namespace

KneserNeyTables::KneserNeyTables(const std::vector<Arrays>& levels, const AnyArray& unigrams)
    : unigrams_(copied<double>(unigrams, "NGrams: unigrams", {-1})) {
  check(levels.size() >= 1 && levels.size() < size_t(largest_order), "n-grams of 2 … 8 tokens");
  check(!unigrams_.empty() && are_probabilities(unigrams_), "probabilities");
  int64_t shorter = 1;  // the empty context
  for (const Arrays& arrays : levels) {
    levels_.push_back(checked_level(arrays, shorter));
    shorter = int64_t(levels_.back().first.size());
  }
}

KneserNeyTables::Level KneserNeyTables::checked_level(const Arrays& arrays, int64_t shorter) const {
  const auto& [children, first, starts, last, share, backoff] = arrays;
  Level level;
  level.children = copied<int64_t>(children, "NGrams: children", {shorter + 1});
  level.first = copied<int32_t>(first, "NGrams: first", {-1});
  const auto contexts = int64_t(level.first.size());
  level.starts = copied<int64_t>(starts, "NGrams: starts", {contexts + 1});
  level.last = copied<int32_t>(last, "NGrams: last", {-1});
  level.share = copied<double>(share, "NGrams: share", {int64_t(level.last.size())});
  level.backoff = copied<double>(backoff, "NGrams: backoff", {contexts});
  check(are_starts(level.children, level.first.size()), "children in order");
  check(are_starts(level.starts, level.last.size()), "starts in order");
  const auto is_id = [this](int32_t token) { return token >= 0 && token < vocab_size(); };
  check(std::all_of(level.last.begin(), level.last.end(), is_id), "token ids in 0 … V - 1");
  check(are_probabilities(level.share) && are_probabilities(level.backoff), "probabilities");
  return level;
}

NGrams KneserNeyTables::view(double weight) const {
  NGrams view{int(levels_.size()) + 1, {}, unigrams_.data(), weight};
  for (size_t i = 0; i < levels_.size(); ++i) {
    const Level& level = levels_[i];
    view.levels[i] = {level.children.data(), level.first.data(), level.starts.data(),
                      level.last.data(),     level.share.data(), level.backoff.data()};
  }
  return view;
}

void bind_n_grams(nb::module_& module) {
  nb::class_<KneserNeyTables>(module, "NGrams",
                              "Tables of Kneser-Ney n-grams; see cpp/motegpt/generation.hpp.")
      .def(nb::init<const std::vector<KneserNeyTables::Arrays>&, const AnyArray&>(), "levels"_a,
           "unigrams"_a.noconvert());
}

}  // namespace motegpt::bindings
