// Reading the attributes of a Python object, such as a section of the settings. Errors begin with its class.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <string>

namespace motegpt::bindings {

namespace nb = nanobind;

inline std::string class_name(nb::handle object) {
  return nb::cast<std::string>(object.type().attr("__name__"));
}

/// An attribute of a Python object as a T; raises if it has another type.
template <class T>
T attribute(nb::handle object, const char* name) {
  const nb::object found = object.attr(name);  // AttributeError if there is none; try_cast may not throw
  T value;
  if (!nb::try_cast<T>(found, value)) {
    throw nb::type_error((class_name(object) + ": expected another type of " + name + ", got " +
                          nb::cast<std::string>(nb::repr(found)))
                             .c_str());
  }
  return value;
}

/// The choice of an enumeration with this name; raises "what a or b, got name" if there is none.
template <class Choice, size_t n>
Choice choice_of(const std::string& name, const char* const (&names)[n], const std::string& what) {
  std::string all;
  for (size_t i = 0; i < n; ++i) {
    if (name == names[i]) return Choice(i);
    all += (i ? " or " : " ") + std::string(names[i]);
  }
  throw nb::value_error((what + all + ", got " + name).c_str());
}

/// An attribute that names one of the choices of an enumeration; raises if it is none of them.
template <class Choice, size_t n>
Choice choice(nb::handle object, const char* name, const char* const (&names)[n]) {
  return choice_of<Choice>(attribute<std::string>(object, name), names,
                           class_name(object) + ": expected " + name);
}

}  // namespace motegpt::bindings
