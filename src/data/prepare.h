// A text corpus to token shards: `ssgpt prepare`.
#pragma once

#include "data/text_reader.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace ssgpt::data {

struct PrepareOptions {
  std::vector<std::filesystem::path> inputs;
  std::filesystem::path tokenizer;
  std::filesystem::path output;  // a folder
  TextOptions text;
  double validation_fraction = 0.01;       // of the documents, in [0, 1)
  uint64_t seed = 1;                       // of the choice of validation documents
  int64_t shard_tokens = 100'000'000;      // at most 2^31 - 1, which the format can count
  int num_threads = 0;                     // that encode; 0: all cores
  uint64_t max_bytes_ahead = 16ull << 20;  // of text in memory
  bool overwrite = false;
  std::function<bool()> stop_asked;  // called often, cheap; none: never
};

struct SplitCount {
  int64_t documents = 0;
  int64_t tokens = 0;  // EOS included
  int64_t shards = 0;
};

struct PrepareSummary {
  SplitCount train;
  SplitCount validation;
  LeftOut left_out;
  uint64_t text_bytes = 0;     // of all documents, as UTF-8
  int64_t encoded_tokens = 0;  // by this call: fewer than all where an interrupted one was continued
  int64_t kept_shards = 0;     // of an interrupted call that this one continued
  double seconds = 0.0;
  bool stopped = false;  // as asked, before the end: the other members hold what was done up to then
};

// Writes OUTPUT/train_000000.bin ..., validation_000000.bin ... and, with the first finished shard and again
// at the end, prepare.json: settings, inputs, the tokenizer's checksum, counts and the shards with their
// checksums. Each document's ids are followed by EOS. The shards' bytes are a function of inputs, tokenizer,
// seed, fraction and shard_tokens alone.
//
// Every file appears complete or not at all. A call with equal settings continues where an interrupted one
// stopped: it keeps the finished shards. A folder with shards is refused otherwise, unless `overwrite`: then
// the new shards are made in OUTPUT/.replacement, and take the place of the old ones once all are complete.
// Until then the old ones stay, whatever happens, and both need room on the disk.
//
// Memory stays below 1 GiB with up to 16 threads, whatever the input holds, and takes some 20 MiB more for
// each further one: a document is at most 16 MiB, and what is read ahead is bounded. A foreign model that
// only sentencepiece can encode (Tokenizer::encodes_in_parts) takes some 300 bytes for each of a document:
// with one a document is at most 1 MiB.
//
// Throws core::UsageError for options out of range and for a folder that holds other shards, core::InputError
// for bad text and where there is none, core::RunError where writing fails.
PrepareSummary prepare(const PrepareOptions& options);

// Whether the document with this index, counted over the corpus from 0, is held out: the k-th such document
// is the one at (k + u_k) / fraction, with u_k in [0, 1 - fraction) random from (seed, k). So they are spread
// evenly, and of any first n documents n * fraction are held out, to within one.
bool is_validation_document(uint64_t seed, int64_t index, double fraction);

}  // namespace ssgpt::data
