#include "evaluation/rising.h"

#include "core/error.h"

#include <cstddef>

namespace ssgpt::evaluation {

void check_rising(std::string_view option, const std::vector<int64_t>& values, int64_t least, int64_t most) {
  if (values.empty()) throw core::UsageError("{}: none is given.", option);
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] < least || values[i] > most)
      throw core::UsageError("{}: {} is not from {} to {}.", option, values[i], least, most);
    if (i > 0 && values[i] <= values[i - 1]) {
      throw core::UsageError("{}: {} comes after {}; name each once, in ascending order.", option, values[i],
                             values[i - 1]);
    }
  }
}

}  // namespace ssgpt::evaluation
