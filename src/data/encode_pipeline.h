// Documents to token ids on all cores: one thread reads, workers encode, the caller takes the results in the
// order of reading. What is read ahead is bounded by bytes, so memory does not grow with the corpus.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ssgpt::data {

struct EncodeDocument {
  int64_t index = 0;   // counted over the corpus
  bool encode = true;  // false: only the order of the documents matters
  uint64_t text_bytes = 0;
  std::string text;             // freed once it is encoded
  std::vector<int32_t> tokens;  // with EOS at the end
};

// Consecutive documents that go through the pipeline together.
struct EncodeBatch {
  std::vector<EncodeDocument> documents;
  uint64_t text_bytes = 0;
  uint64_t file_bytes_read = 0;  // by the reader, up to the end of this batch
};

class EncodePipeline {
 public:
  // Fills the next batch; false at the end. Called from the reading thread alone.
  using Source = std::function<bool(EncodeBatch&)>;

  // `tokenizer` must outlive the pipeline. At most max_bytes of text are between reading and the next() that
  // follows the one which hands them out, unless one batch alone is larger; one more batch is being read.
  // Throws core::RunError where the system refuses to start that many threads.
  EncodePipeline(const tokenizer::Tokenizer& tokenizer, Source source, int num_threads, uint64_t max_bytes);
  ~EncodePipeline();  // stops the threads

  // The next batch in order, false at the end. Frees what `batch` holds: pass the one before. Rethrows what a
  // thread met.
  bool next(EncodeBatch& batch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace ssgpt::data
