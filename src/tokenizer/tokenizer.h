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
  // Upper limit for a model's file, well above any real one: vocabularies have hundreds of thousands of
  // pieces.
  static constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;

  // Throws core::InputError if the file is missing or not a sentencepiece model.
  explicit Tokenizer(const std::filesystem::path& model);
  // Reads the contents of such a file, which error messages call `name`. Throws in the same cases.
  Tokenizer(std::string_view serialized, std::string name);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  int64_t vocab_size() const;
  // The token that ends each document in token shards. Throws core::InputError if the model has none.
  int32_t eos_id() const;
  int32_t bos_id() const;  // -1 if the model has none
  // The padding token is the model's own if it has one; otherwise BOS, which occurs in neither texts nor
  // token shards, so that a program that removes padding removes nothing else; otherwise EOS.
  struct SpecialIds {
    std::optional<int32_t> bos;
    std::optional<int32_t> eos;
    std::optional<int32_t> padding;
  };
  SpecialIds special_ids() const;
  std::string piece(int32_t id) const;

  // Ids of `text`, without BOS and EOS. They are sentencepiece's, with two exceptions. A byte-pair model
  // encodes in parts what is longer than 64 KiB: a word with the spaces before it, or a run of line breaks.
  // And a model that preserves its input completely, as ours do, encodes U+2581, which sentencepiece treats
  // as a space, by its bytes. Throws core::InputError if `text` is not valid UTF-8.
  std::vector<int32_t> encode(std::string_view text) const;
  // Whether encode() processes a text in parts and needs little memory besides the ids. Otherwise
  // sentencepiece processes it as a whole and needs about 300 bytes of memory per byte.
  bool encodes_in_parts() const;
  // Text of `ids`, which is always valid UTF-8: a byte piece that belongs to no character becomes U+FFFD. BOS
  // and EOS decode to nothing. Throws core::InputError for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids) const;

  // The pieces and merges with which other programs can reproduce the ids of encode(). Throws
  // core::InputError with the reason if encode() does more than merge byte pairs.
  BytePairs byte_pairs() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct TrainOptions {
  int64_t vocab_size = 4096;
  // Memory for the training text, including 80 bytes per line; larger inputs are sampled evenly.
  uint64_t max_bytes = 256ull << 20;
  uint64_t seed = 1;  // seed of the sample
};

// Provides the next document; returns false after the last one.
using DocumentSource = std::function<bool(std::string&)>;

// Trains BPE with byte fallback, split digits, identity normalization, no dummy prefix and all spaces kept,
// and writes the model to `output` atomically, creating its folder if necessary. Ids 0, 1 and 2 are <unk>,
// <s> (BOS) and </s> (EOS), as in Llama; "\n", "\n\n" and "\t" are separate pieces. The file is a function of
// the documents and the options alone, and holds exactly vocab_size pieces.
// Throws core::InputError if the text is too small for vocab_size, with the largest possible value,
// core::UsageError if vocab_size is too small for the 256 bytes, and core::RunError if `output` cannot be
// written.
void train(const DocumentSource& documents, const std::filesystem::path& output, const TrainOptions& options);

}  // namespace ssgpt::tokenizer
