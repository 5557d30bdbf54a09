// Text to token ids and back. The only folder that includes sentencepiece.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

struct BytePairs;

// A sentencepiece model. For one that train() wrote, decode(encode(x)) == x for every valid UTF-8 x.
// Thread-safe.
class Tokenizer {
 public:
  // Of a model's file, far beyond any: vocabularies have hundreds of thousands of pieces.
  static constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

  // Throws core::InputError where the file is missing or not a sentencepiece model.
  explicit Tokenizer(const std::filesystem::path& model);
  // Of what stands in such a file, which messages call `name`. Throws likewise.
  Tokenizer(std::string_view serialized, std::string name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  int64_t vocab_size() const;
  int32_t eos_id()
      const;  // ends each document in token shards; throws core::InputError where the model has none
  int32_t bos_id() const;  // -1 where the model has none
  // Padding is by the model's piece for it, else by BOS, which neither texts nor token shards have, so that a
  // program that leaves out padding leaves out nothing else; else by EOS.
  struct SpecialIds {
    std::optional<int32_t> bos;
    std::optional<int32_t> eos;
    std::optional<int32_t> padding;
  };
  SpecialIds special_ids() const;
  std::string piece(int32_t id) const;

  // Ids of `text`, with no BOS or EOS added: sentencepiece's own, with two exceptions. A model of byte pairs
  // is given in parts what is longer than 64 KiB: a word with the blanks before it, and a run of line breaks.
  // In one that keeps all of a
  // text, as ours do, U+2581, which sentencepiece takes for a blank, is given by its bytes. Throws
  // core::InputError where `text` is not valid UTF-8.
  std::vector<int32_t> encode(std::string_view text) const;
  // Whether encode() takes texts in parts, with little memory beside the ids. Otherwise sentencepiece takes
  // each as a whole, with some 300 bytes of memory for each byte.
  bool encodes_in_parts() const;
  // Text of `ids`, always valid UTF-8: a byte piece that is part of no character becomes U+FFFD. BOS and EOS
  // decode to nothing. Throws core::InputError for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

  // By what other programs can give the ids of encode(). Throws core::InputError, which says why, where that
  // is no byte-pair merging alone.
  BytePairs byte_pairs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TrainOptions {
  int64_t vocab_size = 4096;
  // Of memory for the text that training looks at, with 80 bytes a line beside it; larger inputs are sampled
  // evenly.
  uint64_t max_bytes = 256ull << 20;
  uint64_t seed = 1;  // of the sample
};

// Hands out the next document, false at the end.
using DocumentSource = std::function<bool(std::string&)>;

// Trains BPE with byte fallback, split digits, identity normalisation, no dummy prefix and all blanks kept,
// and writes the model to `output` atomically, making its folder where it is missing. Ids 0, 1, 2 are <unk>,
// <s> (BOS), </s> (EOS), as Llama has them; "\n", "\n\n" and "\t" are pieces of their own. The file is a
// function of the documents and the options alone, and holds exactly vocab_size pieces.
// Throws core::InputError where the text is too small for vocab_size, naming the largest possible,
// core::UsageError for a vocab_size that cannot hold the bytes, and core::RunError where `output` cannot be
// written.
void train(const DocumentSource& documents, const std::filesystem::path& output, const TrainOptions& options);

}  // namespace ssgpt::tokenizer
