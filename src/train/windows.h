// Windows of consecutive tokens, or of packed examples, as batches for the model. The caller chooses the
// windows.
#pragma once

#include "data/loader.h"
#include "data/packed_examples.h"
#include "data/token_source.h"
#include "train/batch.h"

#include <cstdint>
#include <span>
#include <vector>

namespace ssgpt::train {

class WindowReader {
 public:
  // For windows that predict `length` tokens (length + 1 tokens in all) with ids below vocab_size. The source
  // must outlive the reader.
  WindowReader(const data::TokenSource& source, int64_t length, int64_t vocab_size)
      : source_(source), length_(length), vocab_size_(vocab_size) {}

  // The windows that begin at these tokens, one per row: inputs and targets (first_tokens.size(), length).
  // Overwritten by the next call. Throws core::InputError for a token id outside the vocabulary.
  const TensorBatch& read(std::span<const int64_t> first_tokens);

 private:
  const data::TokenSource& source_;
  const int64_t length_;
  const int64_t vocab_size_;
  std::vector<int32_t> tokens_;
  TensorBatch batch_;
};

class ExampleWindows {
 public:
  // The examples must outlive this.
  explicit ExampleWindows(const data::PackedExamples& examples) : examples_(examples) {}

  // The given windows, one per row. Overwritten by the next call.
  const TensorBatch& read(std::span<const int64_t> windows);

 private:
  const data::PackedExamples& examples_;
  data::MicroBatch rows_;
  TensorBatch batch_;
};

}  // namespace ssgpt::train
