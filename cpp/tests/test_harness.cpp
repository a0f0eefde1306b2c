// The harness itself: every comparison here is wrong, and the build expects this program to fail.
#include "check.hpp"

int main() {
  check::near(1.001, 1, 1, 1e-6, "an error");
  check::near(NAN, 1, 1, 1e-6, "not a number");
  check::near(1, NAN, 1, 1e-6, "not a number expected");
  check::that(false, "a condition");
  const double got[] = {1, 2, 3, 5};
  check::near_rows(got, 2, {1, 2, 3, 4}, 2, 2, 1e-6, "a row");
  return check::failures == 5 ? check::verdict("harness") : 0;
}
