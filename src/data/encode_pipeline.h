// Tokenizes documents on all cores: one thread reads, workers encode, and the caller receives the results in
// reading order. Read-ahead is bounded in bytes, so memory does not grow with the corpus.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::data {

struct EncodeDocument {
  int64_t index = 0;   // position in the corpus
  bool encode = true;  // false: the document only keeps its place in the order
  uint64_t text_bytes = 0;
  std::string text;             // freed once it is encoded
  std::vector<int32_t> tokens;  // ends with EOS
};

// Consecutive documents that pass through the pipeline together.
struct EncodeBatch {
  std::vector<EncodeDocument> documents;
  uint64_t text_bytes = 0;
  uint64_t file_bytes_read = 0;  // by the reader, up to the end of this batch
};

class EncodePipeline {
 public:
  // Fills the next batch; returns false at the end. Called only from the reading thread.
  using Source = std::function<bool(EncodeBatch&)>;

  // `tokenizer` must outlive the pipeline. Bounds the text in flight, from reading until next() is called
  // after the call that returned it, to max_bytes (a single larger batch is allowed), plus the batch being
  // read. Throws core::RunError if the system refuses to start that many threads.
  EncodePipeline(const tokenizer::Tokenizer& tokenizer, Source source, int num_threads, uint64_t max_bytes);
  ~EncodePipeline();  // stops the threads

  // Returns the next batch in order, false at the end. Frees the contents of `batch`: pass the previous one.
  // Rethrows an exception of any thread.
  bool next(EncodeBatch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ssgpt::data
