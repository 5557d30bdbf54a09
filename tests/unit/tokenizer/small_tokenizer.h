// A tokenizer of few pieces, for tests of what uses one.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <filesystem>
#include <string>

namespace ssgpt::tokenizer::testing {

// Trains a tokenizer of `vocab_size` pieces, some 290, on one sentence, and writes it to `path`.
inline void train_small_tokenizer(const std::filesystem::path& path, int64_t vocab_size) {
  bool is_read = false;
  train(
      [&](std::string& document) {
        if (is_read) return false;
        is_read = true;
        for (int i = 0; i < 40; ++i)
          document += "In the beginning was the word, and the word was with the others.\n";
        return true;
      },
      path, {.vocab_size = vocab_size});
}

}  // namespace ssgpt::tokenizer::testing
