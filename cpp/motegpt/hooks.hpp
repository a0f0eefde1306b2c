// What may look into one position of generation, and change it, while it is computed.
#pragma once

#include "simd.hpp"

namespace motegpt::MOTEGPT_LEVEL {

/// Hooks that do nothing, and cost nothing: what generation is compiled with. cpp/wasm/look.hpp has others.
///
/// Values are those of `width` sequences side by side; the names are those of docs/notation.md.
struct NoHooks {
  static constexpr bool on = false;

  /// The calls that follow are of this layer, or of none if it is -1.
  void enter(Index /*layer*/) const {}
  /// x (n, width) is the value of that name.
  void note(const char* /*name*/, Index /*n*/, const auto* /*x*/) const {}
  /// scores (t + 1, lanes): q · k / √D of a head at position t, for the sequences from s on.
  void scores(Index /*head*/, Index /*t*/, Index /*s*/, const auto* /*scores*/) const {}
  /// The same of e (t + 1, lanes), where e / total is softmax of the scores.
  void pattern(Index /*head*/, Index /*t*/, Index /*s*/, const auto* /*e*/, const auto& /*total*/) const {}
};

}  // namespace motegpt::MOTEGPT_LEVEL
