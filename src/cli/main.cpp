// The program.

#include "cli/run.h"

#include <cstdlib>

int main(int argc, char** argv) {
  // What the command owned is gone. The destructors of LibTorch's and CUDA's statics would only touch another
  // 100 MB, which for a small model is more than training took.
  std::_Exit(ssgpt::cli::run(argc, argv));
}
