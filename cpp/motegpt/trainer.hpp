// The core: training steps, each split among threads.
#pragma once

#include "model.hpp"
#include "ngram_gradient.hpp"
#include "node_clip.hpp"
#include "optimizer.hpp"
#include "workers.hpp"

namespace motegpt::MOTEGPT_LEVEL {

template <class Real>
class Trainer final : public Core<Real> {
 public:
  Trainer(const Shape& shape, const Places& places, Optimizer optimizer, const Execution& execution)
      : shape_(shape),
        optimizer_(optimizer),
        inference_(execution.inference),
        checkpoint_(execution.checkpoint_activations || inference_),
        team_(execution.threads),
        layout_(shape, places),
        w_(*layout_, slot_count()),
        rope_(shape_),
        workers_(shape),
        tables_(shape, places.tables, slot_count()),
        used_(places.contexts) {}

  int slot_count() const override {
    if (inference_) return 0;
    return with_rule<Real>(optimizer_, []<class Rule> { return Rule::slots; });
  }

  int scalar_count() const override {
    return with_rule<Real>(optimizer_,
                           []<class Rule> { return int(sizeof(typename Rule::Scalars) / sizeof(double)); });
  }

  void load(const Real* parameters, const Real* slots) override {
    for (Index i = 0; i < layout_->count(); ++i) {
      const Matrix& matrix = (*layout_)[i];
      if (!inference_ || is_read(i)) to_panels(matrix, parameters + matrix.flat, w_->w + matrix.at);
      for (int s = 0; s < slot_count(); ++s)
        to_panels(matrix, slots + s * shape_.parameters + matrix.flat, w_->slots[s] + matrix.at);
      if (matrix.transposed >= 0)
        to_transposed_panels(matrix, parameters + matrix.flat, w_->transposed + matrix.transposed);
    }
    tables_.load_rows(parameters, slots);
  }

  void store(Real* parameters, Real* slots) const override {
    const int count = slots ? slot_count() : 0;
    for (Index i = 0; i < layout_->count(); ++i) {
      const Matrix& matrix = (*layout_)[i];
      from_panels(matrix, w_->w + matrix.at, parameters + matrix.flat);
      for (int s = 0; s < count; ++s)
        from_panels(matrix, w_->slots[s] + matrix.at, slots + s * shape_.parameters + matrix.flat);
    }
    tables_.store_rows(parameters, slots);
  }

  void train(const Batches& batches, const double* scalars, const Clips& clips, const Dropout& dropout,
             int64_t first, double* losses, const double* table_decay) override {
    const int factors = table_decay ? tables_.add_factors(table_decay, batches.count) : 0;
    run(Task{batches, scalars, clips, dropout, first, losses, table_decay, factors});
  }

  double gradients(const Batches& batches, const Clips& clips, const Dropout& dropout, int64_t step,
                   Real* gradient) override {
    double loss = 0;
    const Task task{batches, nullptr, clips, dropout, step, &loss, nullptr, tables_.factor_count()};
    run(task);
    const Gradients<Real> parts{workers_.gradients(), split_of(batches, 0).active};
    Real* sum = workers_[0].gradient;
    for (Index i = 0; i < layout_->size(); i += lanes<Real>) motegpt::MOTEGPT_LEVEL::store(sum + i, parts(i));
    for (Index i = 0; i < layout_->count(); ++i) {
      from_panels((*layout_)[i], sum + (*layout_)[i].at, gradient + (*layout_)[i].flat);
    }
    tables_.clear(gradient);
    for (int rank = 0; rank < parts.count; ++rank) used_.copy_to(tables_, rank, task.masks(0), gradient);
    return loss;
  }

  void logits(const Batches& batches, Real* out) override {
    forward(batches, [&](const Group<Real>& group) {
      for (Index n = 0; n < group.N; ++n) {
        const Real* row = logits_of(group, n);
        for (Index v = 0; v < shape_.vocab_size; ++v) *out++ = row[v];
      }
    });
  }

  void evaluate(const Batches& batches, double* losses, int64_t* likely) override {
    forward(batches, [&](const Group<Real>& group) {
      for (Index d = 0; d < group.documents; ++d) {
        const Document& one = group.document[d];
        const double* weights = batches.weights_of(one.index);
        losses[one.index] = 0;
        likely[one.index] = 0;
        for (Index t = 0; t < one.length; ++t) {
          if (weights[t] == 0) continue;
          const Index n = one.first + t;
          const TokenLoss found = token_loss(shape_.vocab_size, logits_of(group, n), group.targets[n]);
          losses[one.index] += weights[t] * found.nll;
          likely[one.index] += found.is_likely;
        }
      }
    });
  }

 private:
  static constexpr Real infinity = Real(__builtin_huge_val());

  struct Task {
    const Batches& batches;
    const double* scalars;  // (count, scalar_count), or null: gradients only
    const Clips& clips;
    const Dropout& dropout;
    int64_t first;              // step of the training that is step 0 here
    double* losses;             // (count)
    const double* table_decay;  // (count), or null: 1
    int factors;                // of the tables, before the first step

    DropoutMasks masks(Index step) const { return DropoutMasks(dropout, first + step); }
  };

  static bool every(Index, Index) { return true; }

  const Real* logits_of(const Group<Real>& group, Index n) const {
    return group.logits + n * padded<Real>(shape_.vocab_size);
  }

  /// Calls f(group) after the forward pass of each group of the one step in `batches`.
  template <class F>
  void forward(const Batches& batches, F f) {
    reserve(batches, Textbook<Real>::head_by_head);
    const Model<Real, Textbook<Real>> model(shape_, *layout_, workers_.plan(), rope_, checkpoint_, {});
    Worker<Real>& worker = workers_[0];
    find_rows(batches, 0, {}, WorkSplit(batches, 0, 0, 1), 0, tables_.factor_count());
    for (Index b = 0, before = 0; b < batches.batch_size;) {
      worker.group.clear({});
      b = fill(worker.group, batches, 0, b, before, workers_.group_rows(), every);
      model.forward(*w_, worker.group, worker.scratch, {});
      f(worker.group);
    }
  }

  /// Whether the forward pass reads matrix i itself, not only its transpose: embeddings and vectors.
  bool is_read(Index i) const { return i == 0 || (*layout_)[i].transposed < 0; }

  WorkSplit split_of(const Batches& batches, Index step) const {
    const double work = double(layout_->transposed_size());
    return WorkSplit(batches, step, work, team_.largest());
  }

  /// Sizes the buffers for all steps. Returns the maximal number of threads that a step uses.
  int reserve(const Batches& batches, bool head_by_head) {
    int threads = 1;
    Index rows = 1, positions = 1;
    for (Index step = 0; step < batches.count; ++step) {
      const WorkSplit split = split_of(batches, step);
      threads = max(threads, split.active);
      positions = max(positions, split.tokens);
      const Index most = max(workers_.group_rows(), Index(shape_.block_size));
      rows = max(rows, split.by_rows ? split.tokens : min(split.tokens, most));
    }
    rope_.reserve(min(rows, Index(shape_.block_size)));  // no document is longer than either
    workers_.reserve(shape_, checkpoint_, inference_ ? 0 : layout_->size(), threads, rows,
                     AttentionPlan<Real>(shape_, head_by_head));
    used_.reserve(tables_, positions, threads);
    return threads;
  }

  void run(const Task& task) {
    if (task.clips.node < infinity) {
      run(task, NodeClip<Real>{Real(task.clips.node)});
    } else {
      run(task, Textbook<Real>{});
    }
  }

  template <class Calculus>
  void run(const Task& task, Calculus calculus) {
    const int threads = reserve(task.batches, Calculus::head_by_head);
    const Model<Real, Calculus> model(shape_, *layout_, workers_.plan(), rope_, checkpoint_, calculus);
    auto steps = [&](int rank) { run_steps(task, model, rank); };
    if (threads == 1) return steps(0);
    const auto on_thread = [](void* context, int rank) { (*static_cast<decltype(steps)*>(context))(rank); };
    team_.ensure_threads(threads).run(on_thread, &steps);
  }

  /// The work of one thread.
  void run_steps(const Task& task, const auto& model, int rank) {
    const FlushTiny flush;
    int before = 1, factors = task.factors;
    for (Index step = 0; step < task.batches.count; ++step) {
      const WorkSplit split = split_of(task.batches, step);
      if (rank < split.active) {
        if (split.active > before) barrier(split);  // threads that join wait for the last step to end
        find_rows(task.batches, step, task.masks(step), split, rank, factors);
        run_step(task, model, step, split, rank);
      }
      before = split.active;
      factors += task.table_decay && task.table_decay[step] != 1;
    }
  }

  void run_step(const Task& task, const auto& model, Index step, const WorkSplit& split, int rank) {
    backpropagate(task, step, model, split, rank);
    barrier(split);
    if (rank == 0) task.losses[step] = sum_of(split, [](const Worker<Real>& worker) { return worker.loss; });
    if (!task.scalars) return;
    with_rule<Real>(optimizer_, [&]<class Rule> { update<Rule>(task, step, split, rank); });
    barrier(split);
  }

  /// This thread's part of finding the rows of the tables that a step uses, to which the first `factors`
  /// factors of decay apply.
  void find_rows(const Batches& batches, Index step, const DropoutMasks& masks, const WorkSplit& split,
                 int rank, int factors) {
    if (tables_.rows() == 0) return;
    const FlushTiny as_in_training;
    for (Index b = 0, before = 0; b < batches.batch_size; ++b) {
      const Index length = length_of(batches, step, b), s = step * batches.batch_size + b;
      if (split.thread_of(before, length) == rank)
        used_.look_up(tables_, batches.tokens + batches.offsets[s], length, before, masks, b);
      before += length;
    }
    barrier(split);
    used_.list_used(tables_, split.tokens, {rank, split.active}, factors);
    barrier(split);
  }

  void barrier(const WorkSplit& split) {
    if (split.active > 1) team_.team().barrier(split.active);
  }

  template <class F>
  double sum_of(const WorkSplit& split, F f) const {
    double total = 0;
    for (int rank = 0; rank < split.active; ++rank) total += f(workers_[rank]);
    return total;
  }

  /// Adds to an empty group the sequences of a step from b on for which takes(before, length) holds, as many as
  /// fit into `rows` but at least one. Returns the first sequence of the next group.
  template <class F>
  Index fill(Group<Real>& group, const Batches& batches, Index step, Index b, Index& before, Index rows,
             F takes) const {
    for (; b < batches.batch_size; ++b) {
      const Index length = length_of(batches, step, b);
      if (takes(before, length)) {
        if (group.N > 0 && group.N + length > rows) break;
        if (group.N == 0) attach(group, before);
        const Index s = step * batches.batch_size + b;
        group.add(b, batches.tokens + batches.offsets[s], batches.weights_of(s), length);
      }
      before += length;
    }
    return b;
  }

  /// A group whose first row is number `first` of the step reads rows of the tables, and leaves dx for them.
  void attach(Group<Real>& group, Index first) const {
    if (tables_.rows() == 0) return;
    group.ngrams = used_.rows_from(first, tables_, group.masks);
    group.dx = used_.dx_from(first);
  }

  /// This thread's part of loss and gradient of a step: group after group.
  void backpropagate(const Task& task, Index step, const auto& model, const WorkSplit& split, int rank) {
    if (split.by_rows) return backpropagate_rows(task, step, model, split, rank);
    Worker<Real>& worker = workers_[rank];
    const auto mine = [&](Index before, Index length) { return split.thread_of(before, length) == rank; };
    Index b = 0, before = 0;
    worker.loss = 0;
    do {
      const BackwardPass<Real> pass{*w_, worker.gradient, b > 0};
      worker.group.clear(task.masks(step));
      b = fill(worker.group, task.batches, step, b, before, workers_.group_rows(), mine);
      model.forward(*w_, worker.group, worker.scratch, {});
      worker.loss += model.backward(worker.group, worker.scratch, {}, pass);
    } while (b < task.batches.batch_size);
  }

  /// The same where all threads work on one group, that of the first of them.
  void backpropagate_rows(const Task& task, Index step, const auto& model, const WorkSplit& split, int rank) {
    Worker<Real>& worker = workers_[rank];
    Group<Real>& group = workers_[0].group;
    const Share share{rank, split.active, &team_.team()};
    if (rank == 0) {
      Index before = 0;
      group.clear(task.masks(step));
      fill(group, task.batches, step, 0, before, split.tokens, every);
    }
    share.barrier();
    model.forward(*w_, group, worker.scratch, share);
    worker.loss = model.backward(group, worker.scratch, share, {*w_, worker.gradient, false});
  }

  /// This thread's strips of the parameters.
  template <class Rule>
  void update(const Task& task, Index step, const WorkSplit& split, int rank) {
    const Clips& clips = task.clips;
    typename Rule::Scalars scalars;
    __builtin_memcpy(&scalars, task.scalars + step * Index(sizeof scalars / sizeof(double)), sizeof scalars);
    const Share share{rank, split.active, nullptr};
    const Index all = strips(*layout_), first = share.begin(all), last = share.end(all);
    const Gradients<Real> gradients{workers_.gradients(), split.active};
    GradientClip<Real> clip{Real(clips.value), 1};
    if (clips.norm < infinity) {
      workers_[rank].squared_norm = squared_norm(*layout_, first, last, gradients, clip) +
                                    used_.squared_norm(rank, task.masks(step), clip);
      barrier(split);
      const double norm =
          __builtin_sqrt(sum_of(split, [](const Worker<Real>& worker) { return worker.squared_norm; }));
      if (norm > clips.norm) clip.factor = Real(clips.norm / norm);
    }
    Update<Real, Rule>(*w_, gradients, clip, scalars)(*layout_, first, last);
    used_.template update<Rule>(tables_, rank, task.masks(step), clip, scalars);
  }

  Shape shape_;
  Optimizer optimizer_;
  bool inference_, checkpoint_;
  LazyTeam team_;
  Placed<Layout<Real>> layout_;
  Placed<Parameters<Real>> w_;
  Rope<Real> rope_;
  Workers<Real> workers_;
  NGramTables<Real> tables_;
  NGramGradient<Real> used_;
};

}  // namespace motegpt::MOTEGPT_LEVEL
