// Settings by name, as JavaScript has them.
#pragma once

#include <string>
#include <string_view>

#include "motegpt/fail.hpp"

namespace motegpt {

/// The setting `choice` becomes the one that is called `value`; names are those of the choices in order.
template <class Choice, size_t n>
void choose(Choice& choice, const char* setting, std::string_view value, const char* const (&names)[n]) {
  std::string all;
  for (size_t i = 0; i < n; ++i) {
    if (value == names[i]) {
      choice = Choice(i);
      return;
    }
    all += (i ? " or " : "") + std::string(names[i]);
  }
  fail("`" + std::string(setting) + "`: expected " + all + ", got " + std::string(value));
}

[[noreturn]] inline void fail_unknown(std::string_view setting) {
  fail("`" + std::string(setting) + "`: expected the name of a setting");
}

}  // namespace motegpt
