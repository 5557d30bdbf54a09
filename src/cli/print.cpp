#include "cli/print.h"

#include "core/text.h"

#include <cstdio>

namespace ssgpt::cli {

void print_text(std::string_view text) {
  print_raw(core::printable(text));
}

void print_raw(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace ssgpt::cli
