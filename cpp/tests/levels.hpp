// The levels at which a test of the whole core runs.
#pragma once

#include <string>
#include <vector>

#include "motegpt/core.hpp"

namespace motegpt {

constexpr int skipped = 77;  // exit code where the processor lacks a level

/// The level named on the command line, or all; those that cannot run here are left out.
inline std::vector<Level> chosen_levels(int argc, char** argv) {
  Level levels[4];
  const int count = usable_levels(levels);
  std::vector<Level> chosen;
  for (int i = 0; i < count; ++i) {
    if (argc < 2 || std::string(argv[1]) == levels[i].name) chosen.push_back(levels[i]);
  }
  return chosen;
}

}  // namespace motegpt
