// Turns a text corpus into token shards: `ssgpt prepare`.
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
  double validation_fraction = 0.01;       // share of the documents, in [0, 1)
  uint64_t seed = 1;                       // for the choice of validation documents
  int64_t shard_tokens = 100'000'000;      // at most 2^31 - 1, the largest count in the format
  int num_threads = 0;                     // encoder threads; 0: all cores
  uint64_t max_bytes_ahead = 16ull << 20;  // text held in memory
  bool overwrite = false;
  std::function<bool()> stop_asked;  // called often, so must be cheap; empty: never stop
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
  int64_t encoded_tokens = 0;  // by this call: fewer than all if it continued an interrupted one
  int64_t kept_shards = 0;     // from an interrupted call that this one continued
  double seconds = 0.0;
  bool stopped = false;  // on request, before the end: the other members cover what was done until then
};

// Writes OUTPUT/train_000000.bin ..., validation_000000.bin ... and, with the first finished shard and again
// at the end, prepare.json: settings, inputs, the tokenizer's checksum, counts and the shards with their
// checksums. EOS follows the ids of each document. The shards' bytes depend only on inputs, tokenizer, seed,
// fraction and shard_tokens.
//
// Every file appears complete or not at all. A call with equal settings continues an interrupted one, keeping
// its finished shards. Otherwise a folder with shards is refused, unless `overwrite` is set: then the new
// shards are made in OUTPUT/.replacement, and replace the old ones once all are complete. Until then the old
// ones stay, whatever happens, and both need disk space.
//
// Memory stays below 1 GiB with up to 16 threads, whatever the input, and takes some 20 MiB for each further
// thread: a document is at most 16 MiB, and read-ahead is bounded. A foreign model that only sentencepiece
// can encode (Tokenizer::encodes_in_parts) needs some 300 bytes per byte of a document: with one a document
// is at most 1 MiB.
//
// Throws core::UsageError for options out of range and for a folder that holds other shards, core::InputError
// for bad text and for an input without text, core::RunError if writing fails.
PrepareSummary prepare(const PrepareOptions& options);

// Whether the document with this index, counted over the corpus from 0, is held out: the k-th held-out
// document is the one at (k + u_k) / fraction, with u_k in [0, 1 - fraction) random from (seed, k). So they
// are spread evenly, and of any first n documents n * fraction are held out, to within one.
bool is_validation_document(uint64_t seed, int64_t index, double fraction);

}  // namespace ssgpt::data
