// The interface of the core, in types that are the same for every processor level.
//
// The kernels are compiled once per level; this header is all that the rest of the program sees of them. It
// has declarations and plain structures only, so that no code is generated from it once per level.
#pragma once

#include <stdint.h>

#include "contexts.hpp"

namespace motegpt {

/// The non-linearity of the MLP.
enum class Activation { relu, squared_relu, gelu, gelu_tanh, swiglu };

/// What Python calls them, in order.
inline constexpr const char* activation_names[] = {"relu", "squared_relu", "gelu", "gelu_tanh", "swiglu"};

/// The norm before attention and MLP, and before the head with a final norm.
enum class NormKind { rms, layer, none };

/// What Python calls them, in order.
inline constexpr const char* norm_names[] = {"rms", "layer", "none"};

/// How the model knows positions: embeddings, a tensor wpe, rotated queries and keys (rope.hpp), or not at all.
enum class Position { learned, rope, none };

/// What Python calls them, in order.
inline constexpr const char* position_names[] = {"learned", "rope", "none"};

/// The model: C = n_embd channels, H = n_head heads, V = vocab_size tokens.
struct Shape {
  int vocab_size;
  int block_size;
  int n_layer;
  int n_embd;
  int n_head;
  int n_kv_head;        // heads of keys and values, each for n_head / n_kv_head queries
  int n_hidden;         // channels of the MLP's hidden layer
  bool bias;            // of every matrix of a layer
  bool embedding_norm;  // RMSNorm right after the embedding
  Activation activation;
  NormKind norm;
  bool norm_gain, norm_bias;  // its tensors (C,)
  bool final_norm;            // before the head
  double norm_eps;
  Position position;
  double rope_base;    // of RoPE's frequencies
  bool qk_norm;        // RMSNorm of each head's queries and keys (qk_norm.hpp)
  bool tied;           // logits from the token embedding instead of a matrix of their own
  int64_t parameters;  // numbers in the canonical flat array

  int head_size() const;
  int kv_size() const;     // channels of all keys, and of all values
  bool gated() const;      // whether a gate multiplies the hidden layer
  int mlp_inputs() const;  // channels of the activation's input: those of a gate come first
};

/// The offset of a matrix (out, in) in the canonical flat array, and its uses. A vector (n,), which is no
/// factor of a product, is a matrix (1, n).
struct Place {
  int64_t out, in, flat;
  bool product;            // a factor of matrix products
  bool decayed;            // weight decay applies to it
  const char* owner = "";  // of a vector that is no bias of a matrix: "ln1" of layer0.ln1_gain
  const char* name = "";   // and "gain"
  bool bias = false;       // the bias of the matrix before it
};

/// The matrices of a model in the order of Layout's accessors (parameters.hpp), those of a layer before its
/// other vectors, those of the final norm last; specification.hpp finds them.
struct Places {
  const Place* list;
  int64_t count;
  Place tables;       // of the n-gram embedding, one after the other; no rows where there are none
  Contexts contexts;  // of their rows; valid as long as the specification
};

/// The ragged token sequences of some steps, concatenated, and the weight of each -log p in the loss of its
/// step. Sequence s is tokens[offsets[s] … offsets[s + 1]): all but its last token are inputs, all but its
/// first are targets. Step i trains on sequences i · batch_size … (i + 1) · batch_size - 1. There is one
/// weight per target, sequence by sequence.
struct Batches {
  const int32_t* tokens;
  const int64_t* offsets;  // (count · batch_size + 1)
  int64_t count;           // steps
  int64_t batch_size;      // sequences per step
  const double* weights;   // (targets of all sequences)

  /// The weights of sequence s; each sequence before it has one token more than it has targets.
  const double* weights_of(int64_t s) const { return weights + (offsets[s] - offsets[0] - s); }
};

/// The update rule of the parameters; a core has the slots of one of these.
enum class Optimizer { adam, sgd };

/// What Python calls them, in order.
inline constexpr const char* optimizer_names[] = {"adam", "sgd"};

/// The scalars of one step of Adam; adam.hpp has the equations. names: what Python calls them, in order.
struct AdamScalars {
  double beta1, one_minus_beta1, beta2, one_minus_beta2, decay, step_size, v_scale, eps;

  static constexpr const char* names[] = {"beta1", "one_minus_beta1", "beta2",   "one_minus_beta2",
                                          "decay", "step_size",       "v_scale", "eps"};
};

/// The scalars of one step of SGD; sgd.hpp has the equations.
struct SGDScalars {
  double momentum, decay, lr;

  static constexpr const char* names[] = {"momentum", "decay", "lr"};
};

/// Bounds of the three clips; infinite where there is none.
struct Clips {
  double node, value, norm;
};

/// Dropout in training (Srivastava et al., 2014): the seed of the masks, and the probabilities with which a
/// number of the residual stream and the vector of an n-gram are dropped; 0 where there is none.
struct Dropout {
  uint64_t seed;
  double ordinary;
  double ngram;
};

/// How the work is executed. Results do not depend on it, except that the number of threads changes the order
/// of sums.
struct Execution {
  int threads;                  // at most; 0: as many as the processor has cores
  bool checkpoint_activations;  // keep only the inputs of the layers and recompute the rest
  bool inference = false;       // for logits alone: no slots, no gradients
};

/// A model in training, or for its logits alone (Execution::inference). One thread at a time may use it. All flat arrays are canonical: the tensors of the
/// specification (src/motegpt/model/spec.py), one after the other, in row-major order.
template <class Real>
class Core {
 public:
  virtual ~Core();

  /// Slots of the optimizer, and scalars that it takes per step.
  virtual int slot_count() const = 0;
  virtual int scalar_count() const = 0;

  /// Load parameters (P) and slots (slot_count, P); store them, without slots if null.
  virtual void load(const Real* parameters, const Real* slots) = 0;
  virtual void store(Real* parameters, Real* slots) const = 0;

  /// Train for batches.count steps, the first of which is step `first` of the training.
  ///
  ///   scalars (count, scalar_count), table_decay (count): factors of the tables after each step; null: 1
  ///   -> losses (count), each in nats and before its update
  virtual void train(const Batches& batches, const double* scalars, const Clips& clips,
                     const Dropout& dropout, int64_t first, double* losses,
                     const double* table_decay = nullptr) = 0;

  /// Loss of the one step in `batches`, and its gradient (P), clipped by node only; dropout as in step `step`.
  virtual double gradients(const Batches& batches, const Clips& clips, const Dropout& dropout, int64_t step,
                           Real* gradient) = 0;

  /// Logits after each input of the one step in `batches`, its sequences one after the other: (Σ n, V).
  virtual void logits(const Batches& batches, Real* out) = 0;

  /// Of each of the B sequences of the one step in `batches`, in double precision: losses (B), the sum of its
  /// weighted -log p in nats, and likely (B), the number of its targets with a weight other than 0 that are the
  /// most likely token. As for logits, without dropout.
  virtual void evaluate(const Batches& batches, double* losses, int64_t* likely) = 0;
};

/// Threads that run one task together. The calling thread is one of them.
class Team {
 public:
  virtual ~Team();
  virtual int size() const = 0;
  /// Call task(context, rank) on every thread, rank 0 … size - 1; returns when all have.
  virtual void run(void (*task)(void* context, int rank), void* context) = 0;
  /// Within a task, called by the ranks below `count`: each waits until all of them have called.
  virtual void barrier(int count) = 0;
};

/// Zeroed memory, aligned to a page; large blocks use large pages where available.
class Memory {
 public:
  Memory() = default;
  explicit Memory(int64_t bytes);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  /// Allocate at least this many bytes, all zero; old contents are lost. A block that is large enough is
  /// reused.
  void reserve(int64_t bytes);
  char* data() const { return data_; }

 private:
  void release();
  void* block_ = nullptr;
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

/// Creates threads when first needed, and again in the child of a fork. `threads` as in Execution.
class LazyTeam {
 public:
  explicit LazyTeam(int threads);
  ~LazyTeam();
  LazyTeam(const LazyTeam&) = delete;
  LazyTeam& operator=(const LazyTeam&) = delete;

  /// The maximal number of threads.
  int largest() const { return largest_; }
  /// A team of at least `count`.
  Team& ensure_threads(int count);
  /// The team of the last call.
  Team& team() const { return *team_; }

 private:
  int largest_;
  Team* team_ = nullptr;
  long process_ = 0;
};

template <class Real>
class Decoder;  // generation.hpp

/// A processor level that this build contains and this processor can run.
struct Level {
  const char* name;
  Core<float>* (*make_float)(const Shape&, const Places&, Optimizer, const Execution&);
  Core<double>* (*make_double)(const Shape&, const Places&, Optimizer, const Execution&);
  /// parameters (P) must outlive the decoder, and not change; n sequences; threads as in
  /// Execution, for a single sequence of a large model
  Decoder<float>* (*make_float_decoder)(const Shape&, const Places&, const float* parameters, int64_t n,
                                        int threads);
  Decoder<double>* (*make_double_decoder)(const Shape&, const Places&, const double* parameters, int64_t n,
                                          int threads);
};

/// The levels that can run here, the fastest first.   Returns how many; levels (at most 4)
int usable_levels(Level* levels);

}  // namespace motegpt
