// What the core asks of the operating system: memory and threads.
#include <stdlib.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "motegpt/core.hpp"

namespace motegpt {

namespace {

constexpr int64_t cache_line = 64;
constexpr int64_t page = 4096;
constexpr int64_t large_page = int64_t(1) << 21;

/// Tells the processor that this is a loop that waits.
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

Memory::Memory(int64_t bytes) { reserve(bytes); }

Memory::~Memory() { release(); }

void Memory::reserve(int64_t bytes) {
  if (bytes <= bytes_) return;
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

/// Waiting threads look for a while, in which a step's next part has usually begun, and then sleep.
class SpinningTeam final : public Team {
 public:
  explicit SpinningTeam(int size)
      : size_(size),
        looks_(size > int(std::thread::hardware_concurrency()) ? 0 : patience),
        places_(size + 1) {
    for (int rank = 1; rank < size; ++rank) threads_.emplace_back([this, rank] { serve(rank); });
  }

  ~SpinningTeam() override {
    task_ = nullptr;
    meet(size_);
    for (std::thread& thread : threads_) thread.join();
  }

  int size() const override { return size_; }

  void run(void (*task)(void*, int), void* context) override {
    task_ = task;
    context_ = context;
    meet(size_);
    task(context, 0);
    meet(size_);
  }

  void meet(int count) override {
    Place& place = places_[size_t(count)];
    const unsigned round = place.round.load(std::memory_order_relaxed);
    if (place.arrived.fetch_add(1, std::memory_order_acq_rel) == count - 1) {
      place.arrived.store(0, std::memory_order_relaxed);
      place.round.store(round + 1, std::memory_order_release);
      place.round.notify_all();
      return;
    }
    for (int look = 0; look < looks_; ++look) {
      if (place.round.load(std::memory_order_acquire) != round) return;
      relax();
    }
    while (place.round.load(std::memory_order_acquire) == round)
      place.round.wait(round, std::memory_order_acquire);
  }

 private:
  static constexpr int patience = 4000;  // some tens of microseconds; none where threads share a core

  /// Where a number of threads meet; each number has its own, so that nobody is counted at the wrong one.
  struct alignas(cache_line) Place {
    std::atomic<int> arrived = 0;
    alignas(cache_line) std::atomic<unsigned> round = 0;
  };

  void serve(int rank) {
    for (;;) {
      meet(size_);
      if (!task_) return;
      task_(context_, rank);
      meet(size_);
    }
  }

  const int size_, looks_;
  void (*task_)(void*, int) = nullptr;
  void* context_ = nullptr;
  std::vector<Place> places_;
  std::vector<std::thread> threads_;
};

}  // namespace

LazyTeam::LazyTeam(int threads) : size_(threads > 0 ? threads : int(std::thread::hardware_concurrency())) {
  if (size_ < 1) size_ = 1;
}

LazyTeam::~LazyTeam() { delete team_; }

Team& LazyTeam::team() {
  if (!team_) team_ = new SpinningTeam(size_);
  return *team_;
}

}  // namespace motegpt
