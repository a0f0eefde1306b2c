// How the core refuses what it cannot compute.
#pragma once

#include <string>

namespace motegpt {

/// Throws std::invalid_argument (system.cpp); in WebAssembly it stops the call instead (wasm/system.cpp).
[[noreturn]] void fail(const std::string& reason);

}  // namespace motegpt
