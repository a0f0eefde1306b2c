// Memory and threads from the operating system.
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "motegpt/core.hpp"
#include "motegpt/fail.hpp"

namespace motegpt {

namespace {

constexpr int64_t cache_line = 64;
constexpr int64_t page = 4096;
constexpr int64_t large_page = int64_t(1) << 21;

/// Hints to the processor that this is a spin loop.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void fail(const std::string& reason) { throw std::invalid_argument(reason); }

Memory::Memory(int64_t bytes) { reserve(bytes); }

Memory::~Memory() { release(); }

void Memory::reserve(int64_t bytes) {
  if (bytes <= bytes_) {
    std::fill_n(data_, bytes, char(0));
    return;
  }
  release();
  const int64_t alignment = bytes >= 4 * large_page ? large_page : page;
  block_ =
      calloc(size_t(bytes + alignment), 1);  // large blocks come as pages that are zero without being touched
  if (!block_) throw std::bad_alloc();
  const auto address = reinterpret_cast<uintptr_t>(block_);
  data_ = static_cast<char*>(block_) + (alignment - address % alignment) % alignment;
  bytes_ = bytes;
#if defined(__linux__)
  if (alignment == large_page) madvise(data_, size_t(bytes), MADV_HUGEPAGE);
#endif
}

void Memory::release() {
  free(block_);
  block_ = nullptr;
  data_ = nullptr;
  bytes_ = 0;
}

Team::~Team() = default;

namespace {

/// Waiting threads spin for about as long as a part of a step takes, and then sleep.
class SpinningTeam final : public Team {
 public:
  explicit SpinningTeam(int size)
      : size_(size),
        spins_(size > int(std::thread::hardware_concurrency()) ? 0 : max_spins),
        barriers_(size_t(size) + 1) {
    try {
      for (int rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
    } catch (...) {
      open_gate(closing);
      join();
      throw;
    }
    open_gate(open);
  }

  ~SpinningTeam() override {
    task_ = nullptr;
    barrier(size_);
    join();
  }

  int size() const override { return size_; }

  void run(void (*task)(void*, int), void* context) override {
    task_ = task;
    context_ = context;
    barrier(size_);
    task(context, 0);
    barrier(size_);
  }

  void barrier(int count) override {
    Barrier& at = barriers_[size_t(count)];
    const unsigned round = at.round.load(std::memory_order_relaxed);
    if (at.arrived.fetch_add(1, std::memory_order_acq_rel) == count - 1) {
      at.arrived.store(0, std::memory_order_relaxed);
      at.round.store(round + 1, std::memory_order_release);
      at.round.notify_all();
      return;
    }
    for (int spin = 0; spin < spins_; ++spin) {
      if (at.round.load(std::memory_order_acquire) != round) return;
      relax();
    }
    while (at.round.load(std::memory_order_acquire) == round) at.round.wait(round, std::memory_order_acquire);
  }

 private:
  static constexpr int max_spins = 1500;  // about 60 µs; no spinning where threads share a core

  /// One barrier per number of threads, so that no thread is counted at the wrong one.
  struct alignas(cache_line) Barrier {
    std::atomic<int> arrived = 0;
    alignas(cache_line) std::atomic<unsigned> round = 0;
  };

  /// Threads wait here until all have been created, or creating one failed.
  enum Gate { shut, open, closing };

  void open_gate(Gate state) {
    gate_.store(state);
    gate_.notify_all();
  }

  void serve(int rank) {
    gate_.wait(shut);
    if (gate_.load() == closing) return;
    for (;;) {
      barrier(size_);
      if (!task_) return;
      task_(context_, rank);
      barrier(size_);
    }
  }

  void join() {
    for (std::thread& thread : threads_) thread.join();
  }

  const int size_, spins_;
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
  std::atomic<Gate> gate_ = shut;
  std::vector<Barrier> barriers_;
  std::vector<std::thread> threads_;
};

/// The id of this process: threads do not survive a fork into another one.
long this_process() {
#if defined(__unix__) || defined(__APPLE__)
  return long(getpid());
#else
  return 0;
#endif
}

}  // namespace

LazyTeam::LazyTeam(int threads)
    : largest_(threads > 0 ? threads : std::max(1, int(std::thread::hardware_concurrency()))) {}

LazyTeam::~LazyTeam() {
  if (process_ == this_process()) delete team_;
}

Team& LazyTeam::ensure_threads(int count) {
  const bool left_behind = process_ != this_process();
  if (team_ && !left_behind && team_->size() >= count) return *team_;
  if (!left_behind) delete team_;
  team_ = nullptr;
  team_ = new SpinningTeam(count);
  process_ = this_process();
  return *team_;
}

}  // namespace motegpt
