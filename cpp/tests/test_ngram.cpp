// The n-gram embedding of one processor level against plain loops.
#include <stdexcept>

#include "buffers.hpp"
#include "motegpt/ngram_gradient.hpp"
#include "specify.hpp"

namespace motegpt::MOTEGPT_LEVEL {
namespace {

constexpr int V = 4;
const std::vector<int> sizes_of_tables{10, 18, 18, 5};
const int orders = int(sizes_of_tables.size());

/// Documents of random tokens, the rows of their contexts, and random tables.
struct Case {
  int C;
  naive::Keys keys = random_contexts(V, sizes_of_tables);
  ContextTrie trie{V, keys};
  std::vector<int> lengths{1, 9, 2, 5, 30}, tokens, rows;  // rows (N, orders)
  int N = 0, all_rows = 0;
  Shape shape{};
  Place place{};
  Array w, slots, dx;

  Case(Random& random, int C_, double p, const DropoutMasks& masks) : C(C_) {
    for (size_t b = 0; b < lengths.size(); ++b) {
      const size_t first = tokens.size();
      for (int t = 0; t < lengths[b]; ++t) tokens.push_back(random.below(V));
      for (int t = 0; t < lengths[b]; ++t) {
        for (int k = 0; k < orders; ++k) {
          const bool kept = p == 0 || naive::dropout_mask(masks.key(2 + k, Index(b)), uint64_t(t), p) > 0;
          rows.push_back(kept ? naive::context_row(keys, &tokens[first], t, k + 2) : -1);
        }
      }
    }
    N = int(tokens.size());
    for (const int size : sizes_of_tables) all_rows += size;
    shape.n_embd = C;
    shape.parameters = 3 + all_rows * C + 5;  // other tensors around the tables
    place = {all_rows, C, 3, false, false};
    w = random.normals(size_t(shape.parameters));
    slots = random.normals(size_t(2 * shape.parameters));
    for (double& value : slots) value = std::fabs(value);
    dx = random.normals(size_t(N * C));
  }

  /// scale · Σ dx over the entries that are a row.
  Array gradient(double scale) const {
    Array g(size_t(all_rows * C));
    for (int n = 0; n < N; ++n) {
      for (int k = 0; k < orders; ++k) {
        const int row = rows[size_t(n * orders + k)];
        for (int c = 0; c < C && row >= 0; ++c) g[size_t(row * C + c)] += scale * dx[size_t(n * C + c)];
      }
    }
    return g;
  }

  bool uses(int row) const { return std::find(rows.begin(), rows.end(), row) != rows.end(); }
};

template <class Real>
std::vector<Real> as(const Array& x) {
  return {x.begin(), x.end()};
}

/// Some steps with weight decay after the even ones, and the same with plain loops.
template <class Real>
void test_steps(Random& random, int C, double p, int threads) {
  const Case first_case(random, C, 0, {});
  Array w = first_case.w, slots = first_case.slots;
  NGramTables<Real> tables(first_case.shape, first_case.place, Adam<Real>::slots);
  NGramGradient<Real> used(first_case.trie.view());
  const AdamScalars scalars{0.9, 0.1, 0.99, 0.01, 0.5, 0.02, 1.5, 0.01};  // decay is not for tables
  const double factors[] = {0.9, 1, 0.8, 1, 0.7};
  tables.load_rows(as<Real>(w).data(), as<Real>(slots).data());
  tables.add_factors(factors, 5);
  for (int step = 0; step < 5; ++step) {
    const DropoutMasks masks(Dropout{1, 0, p}, step);
    const Case one(random, C, p, masks);
    used.reserve(tables, one.N, threads);
    const int P = int(one.shape.parameters), applied = (step + 1) / 2;
    Array expected_x(size_t(one.N * C));
    for (int n = 0, first = 0, b = 0; n < one.N; n += one.lengths[size_t(b)], first = n, ++b)
      used.look_up(tables, &one.tokens[size_t(first)], one.lengths[size_t(b)], first, masks, b);
    for (int rank = 0; rank < threads; ++rank) used.list_used(tables, one.N, {rank, threads}, applied);

    // x += scale · Σ_k table[row]
    const double scale = 1 / (1 - p);
    for (int n = 0; n < one.N; ++n) {
      for (int k = 0; k < orders; ++k) {
        const int row = one.rows[size_t(n * orders + k)];
        for (int c = 0; c < C && row >= 0; ++c)
          expected_x[size_t(n * C + c)] += scale * w[size_t(3 + row * C + c)];
      }
    }
    Rowwise<Real> x(Array(size_t(one.N * C)), one.N, C);
    ngram_embedding<Real>(one.N, C, used.rows_from(0, tables, masks), x);
    check_padded<Real>(x, expected_x, one.N, C, tolerance<Real>, "ngram_embedding");

    // dtable[r] = scale · Σ dx, its norm, and the step of Adam on the rows that are used
    const Array g = one.gradient(scale);
    spread(one.dx, one.N, C, used.dx_from(0));
    std::vector<Real> flat(size_t(P), Real(0));
    double squares = 0, expected_squares = 0;
    const GradientClip<Real> clip{Real(0.75), Real(0.5)};
    for (int rank = 0; rank < threads; ++rank) {
      used.copy_to(tables, rank, masks, flat.data());
      squares += used.squared_norm(tables, rank, masks, {clip.bound, 1});
      used.template update<Adam<Real>>(tables, 0, rank, masks, clip, scalars);
    }
    check::near_rows(flat.data() + 3, C, g, one.all_rows, C, tolerance<Real>, "gradient of the tables");
    for (int row = 0; row < one.all_rows; ++row) {
      for (int c = 0; c < C; ++c) {
        const double clipped = std::fmax(-0.75, std::fmin(0.75, g[size_t(row * C + c)]));
        expected_squares += clipped * clipped;
        if (!one.uses(row)) continue;
        const size_t i = size_t(3 + row * C + c);
        double slot[2] = {slots[i], slots[size_t(P) + i]};
        AdamScalars plain = scalars;
        plain.decay = 1;
        w[i] = naive::step(w[i], clipped * 0.5, slot, plain);
        slots[i] = slot[0];
        slots[size_t(P) + i] = slot[1];
      }
    }
    check::near(squares, expected_squares, expected_squares, tolerance<Real>, "squared norm");
    for (int i = 0; i < one.all_rows * C; ++i) w[size_t(3 + i)] *= factors[step];
  }
  std::vector<Real> got = as<Real>(w), got_slots = as<Real>(slots);
  std::fill(got.begin(), got.end(), Real(7));
  tables.store_rows(got.data(), got_slots.data());
  check::that(got[2] == 7 && got.back() == 7, "other tensors are left alone");
  const int numbers = tables.rows() * C;
  check::near_rows(got.data() + 3, numbers, {w.begin() + 3, w.begin() + 3 + numbers}, 1, numbers,
                   10 * tolerance<Real>, "tables after some steps");
  check::near_rows(got_slots.data(), int(slots.size()), slots, 1, int(slots.size()), 10 * tolerance<Real>,
                   "slots");
}

/// A row that is used after every factor has the same bits as one that catches up at the end, or between.
template <class Real>
void test_decay_is_exact() {
  const int C = 5;
  Shape shape{};
  shape.n_embd = C;
  shape.parameters = 3 * C;
  NGramTables<Real> tables(shape, {3, C, 0, false, false}, 1);
  Random random(2);
  Array w = rounded<Real>(random.normals(size_t(C)));
  std::vector<Real> all, slots(3 * C), got(3 * C);
  for (int row = 0; row < 3; ++row) all.insert(all.end(), w.begin(), w.end());
  tables.load_rows(all.data(), slots.data());
  for (int i = 0; i < 10000; ++i) {  // more than are remembered
    const double factor = 1 - 0.002 * random.uniform();
    tables.add_factors(&factor, 1);
    tables.decay(0, tables.factor_count());
    if (i % 100 == 7) tables.decay(1, tables.factor_count());
  }
  tables.store_rows(got.data(), slots.data());
  for (int i = 0; i < C; ++i) {
    check::that(got[size_t(i)] == got[size_t(C + i)] && got[size_t(i)] == got[size_t(2 * C + i)],
                "decay is exact");
    check::that(std::fabs(got[size_t(i)]) < std::fabs(all[size_t(i)]) / 1000, "rows decay");
  }
}

/// Contexts at one position after the other, for several sequences; a new text begins at position 0.
template <class Real>
void test_step(Random& random, int C, int width) {
  const Case one(random, C, 0, {});
  const std::vector<Real> table = as<Real>(one.w);
  Memory memory(1 << 16);
  Arena arena(memory.data());
  const auto step = NGramStep<Real>::take(arena, orders, C, width);
  for (int text = 0; text < 3; ++text) {
    std::vector<std::vector<int>> fed(static_cast<size_t>(width));
    for (int t = 0; t < 9; ++t) {
      std::vector<int> ids;
      for (auto& tokens : fed) {
        ids.push_back(random.below(V));
        tokens.push_back(ids.back());
      }
      std::vector<Real> x(size_t(C * width), Real(0));
      ngram_step<Real>(one.trie.view(), width, C, ids.data(), t, table.data(), step, x.data());
      Array expected(size_t(C * width));
      for (int s = 0; s < width; ++s) {
        for (int k = 2; k < orders + 2; ++k) {
          const int row = naive::context_row(one.keys, fed[size_t(s)].data(), t, k);
          for (int c = 0; c < C && row >= 0; ++c)
            expected[size_t(c * width + s)] += double(table[size_t(row * C + c)]);
        }
      }
      check::near_rows(x.data(), width, expected, C, width, tolerance<Real>, "ngram_step");
    }
  }
}

/// Large tables: every context is found, and no other.
void test_lookup(Random& random) {
  const int vocabulary = 5000;
  const naive::Keys keys = random_contexts(vocabulary, {40000, 30000});
  const ContextTrie trie(vocabulary, keys);
  int child = vocabulary, missing = 0;
  int64_t first = 0;
  for (const auto& order : keys) {
    const int first_child = child;
    for (const int64_t key : order)
      check::that(child_of(trie.view(), int(first + (key >> 20)), int(key & 0xFFFFF)) == child++, "child_of");
    first = first_child;
  }
  for (int i = 0; i < 10000; ++i) {
    const int node = random.below(child), token = random.below(vocabulary);
    const size_t table = node < vocabulary ? 0 : 1;
    const int64_t key = int64_t(node - (table ? vocabulary : 0)) << 20 | token;
    const bool last = node >= vocabulary + int(keys[0].size());
    if (!last && std::binary_search(keys[table].begin(), keys[table].end(), key)) continue;
    ++missing;
    check::that(child_of(trie.view(), node, token) == -1, "no child");
  }
  check::that(missing > 9000, "most pairs are no context");
}

/// Keys that are not those of contexts are refused.
void test_bad_keys() {
  const naive::Keys bad[] = {{{3 << 20 | 5}}, {{5 << 20 | 3}}, {{2 << 20, 1 << 20}},
                             {{1, 1}},        {{-1}},          {{1, 2}, {2 << 20}}};
  for (const naive::Keys& keys : bad) {
    bool refused = false;
    try {
      ContextTrie(5, keys);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    check::that(refused, "bad keys are refused");
  }
}

void test_all() {
  Random random(1);
  test_lookup(random);
  test_bad_keys();
  test_decay_is_exact<float>();
  test_decay_is_exact<double>();
  for (const int C : sizes) {
    for (const int width : {1, 3}) {
      test_step<float>(random, C, width);
      test_step<double>(random, C, width);
    }
    for (const double p : {0.0, 0.5}) {
      for (const int threads : {1, 3}) {
        test_steps<float>(random, C, p, threads);
        test_steps<double>(random, C, p, threads);
      }
    }
  }
}

}  // namespace
}  // namespace motegpt::MOTEGPT_LEVEL

int main() { return check::run_at_level("ngram", motegpt::MOTEGPT_LEVEL::test_all); }
