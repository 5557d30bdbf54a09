#include "train/windows.h"

namespace ssgpt::train {

const TensorBatch& WindowReader::read(std::span<const int64_t> first_tokens) {
  const auto columns = static_cast<size_t>(length_ + 1);
  tokens_.resize(first_tokens.size() * columns);
  for (size_t row = 0; row < first_tokens.size(); ++row) {
    source_.read(first_tokens[row], std::span(tokens_).subspan(row * columns, columns), vocab_size_);
  }
  fill_batch(tokens_, static_cast<int64_t>(first_tokens.size()), length_ + 1, batch_);
  return batch_;
}

const TensorBatch& ExampleWindows::read(std::span<const int64_t> windows) {
  data::read_windows(examples_, windows, rows_);
  fill_batch(rows_, batch_);
  return batch_;
}

}  // namespace ssgpt::train
