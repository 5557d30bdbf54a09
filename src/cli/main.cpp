// The program.

#include "cli/run.h"

#include <cstdlib>

int main(int argc, char** argv) {
  // Everything the command owned is already destroyed. The static destructors of LibTorch and CUDA would only
  // touch another 100 MB, which for a small model is more than training used.
  std::_Exit(ssgpt::cli::run(argc, argv));
}
