// Memory, threads and failures in WebAssembly, where there is one thread and nothing to catch an exception.
//
// A failure writes its reason and traps. The objects of the calls that it interrupts are never destroyed, so
// the caller (src/motegpt/page/js/core-memory.js) gives up the whole instance.
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <new>

#include "export.hpp"
#include "motegpt/core.hpp"
#include "motegpt/fail.hpp"

namespace motegpt {
namespace {

char reason[512];  // of the failure; ends with a zero

[[noreturn]] void stop(const char* text, size_t length) {
  std::copy_n(text, std::min(length, sizeof reason - 1), reason);
  __builtin_trap();
}

constexpr char out_of_memory[] = "out of memory; try a smaller model or batch";

/// At least one byte, all of them zero.
void* allocated(size_t bytes) {
  void* block = calloc(std::max(bytes, size_t(1)), 1);
  if (!block) stop(out_of_memory, sizeof out_of_memory - 1);
  return block;
}

}  // namespace

void fail(const std::string& text) { stop(text.data(), text.size()); }

Memory::Memory(int64_t bytes) { reserve(bytes); }

Memory::~Memory() { release(); }

void Memory::reserve(int64_t bytes) {
  constexpr int64_t alignment = 64, largest = int64_t(1) << 31;
  if (bytes <= bytes_) {
    std::fill_n(data_, bytes, char(0));
    return;
  }
  release();
  if (bytes > largest) stop(out_of_memory, sizeof out_of_memory - 1);
  block_ = allocated(size_t(bytes + alignment));
  data_ = static_cast<char*>(block_) + (alignment - reinterpret_cast<uintptr_t>(block_) % alignment);
  bytes_ = bytes;
}

void Memory::release() {
  free(block_);
  block_ = nullptr;
  data_ = nullptr;
  bytes_ = 0;
}

Team::~Team() = default;

LazyTeam::LazyTeam(int) : largest_(1) {}

LazyTeam::~LazyTeam() = default;

Team& LazyTeam::ensure_threads(int) { stop("expected one thread", 19); }

/// Why a call trapped; empty where it was not a failure.
MOTEGPT_EXPORT(reason) const char* reason_of_failure() { return reason; }

MOTEGPT_EXPORT(allocate) void* allocate(size_t bytes) { return allocated(bytes); }

MOTEGPT_EXPORT(release) void release(void* block) { free(block); }

}  // namespace motegpt

// What the library calls when it stops. Its own versions print why, with twenty kilobytes of code.
void* operator new(size_t bytes) { return motegpt::allocated(bytes); }
void operator delete(void* block) noexcept { free(block); }
void operator delete(void* block, size_t) noexcept { free(block); }
void std::__libcpp_verbose_abort(const char* format, ...) noexcept { motegpt::stop(format, strlen(format)); }
extern "C" void __cxa_pure_virtual() { __builtin_trap(); }
extern "C" void __cxa_deleted_virtual() { __builtin_trap(); }
