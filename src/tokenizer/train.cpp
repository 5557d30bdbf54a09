// Training a tokenizer: what sentencepiece is given, and what its answers mean to the user.

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/text.h"
#include "tokenizer/line_sample.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdlib>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

namespace ssgpt::tokenizer {

namespace {

// sentencepiece drops longer sentences without a word.
constexpr size_t kMaxSentenceBytes = 4096;
constexpr int64_t kReservedPieces = 3 + 256 + 3;  // <unk> <s> </s>, the bytes, "\n" "\n\n" "\t"

// Length of the text at `at` that no training sentence may contain, 0 for none: what is a piece of its own
// already, the marks that sentencepiece uses inside (U+2581, U+2585), and the names of reserved pieces, since
// a second piece of such a name would make the model unusable.
size_t separator_length(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at);
  switch (rest.front()) {
    case '\n':
    case '\t':
    case '\0':
      return 1;
    case '\xE2':
      return rest.starts_with("\xE2\x96\x81") || rest.starts_with("\xE2\x96\x85") ? 3 : 0;
    case '<':
      for (const std::string_view name : {"<s>", "</s>", "<unk>"}) {
        if (rest.starts_with(name)) {
          return name.size();
        }
      }
      return rest.size() >= 6 && rest.starts_with("<0x") && rest[5] == '>' ? 6 : 0;
    default:
      return 0;
  }
}

// Length of the first part of `line` within the limit: up to a blank if there is one, else up to a
// character's end.
size_t sentence_length(std::string_view line) {
  if (line.size() <= kMaxSentenceBytes) {
    return line.size();
  }
  const size_t blank = line.rfind(' ', kMaxSentenceBytes);
  if (blank != std::string_view::npos && blank > 0) {
    return blank;
  }
  size_t length = kMaxSentenceBytes;
  while ((static_cast<unsigned char>(line[length]) & 0xC0) == 0x80) {
    --length;
  }
  return length;
}

void add_document(std::string_view text, LineSample& sample) {
  const auto add_line = [&](std::string_view line) {
    while (!line.empty()) {
      const size_t length = sentence_length(line);
      sample.add(line.substr(0, length));
      line.remove_prefix(length);
    }
  };
  size_t start = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t separator = separator_length(text, at);
    if (separator > 0) {
      add_line(text.substr(start, at - start));
      start = at + separator;
    }
    at += std::max<size_t>(separator, 1);
  }
  add_line(text.substr(start));
}

// Hands the sentences to sentencepiece, which copies them, and frees each one it is done with.
class Sentences : public sentencepiece::SentenceIterator {
 public:
  explicit Sentences(std::vector<std::string> sentences) : sentences_(std::move(sentences)) {}
  bool done() const override { return next_ >= sentences_.size(); }
  void Next() override { std::string().swap(sentences_[next_++]); }
  const std::string& value() const override { return sentences_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> sentences_;
  size_t next_ = 0;
};

std::vector<std::string> sample_sentences(const DocumentSource& documents, const TrainOptions& options) {
  LineSample sample(options.seed, options.max_bytes);
  std::string document;
  while (documents(document)) {
    if (const auto invalid = core::find_invalid_utf8(document)) {
      throw core::InputError("the text to train a tokenizer on is not valid UTF-8: byte {} of a document",
                             *invalid);
    }
    add_document(document, sample);
  }
  if (sample.bytes_kept() == 0) {
    throw core::InputError("there is no text to train a tokenizer on: all documents are empty");
  }
  if (sample.bytes_kept() < sample.bytes_seen()) {
    core::log::info("training the tokenizer on {} sampled evenly from {} of text",
                    core::human_bytes(sample.bytes_kept()), core::human_bytes(sample.bytes_seen()));
  } else {
    core::log::info("training the tokenizer on {} of text", core::human_bytes(sample.bytes_seen()));
  }
  return sample.take();
}

std::unordered_map<std::string, std::string> trainer_arguments(int64_t vocab_size) {
  return {{"model_type", "bpe"},
          {"vocab_size", std::to_string(vocab_size)},
          // A text too small then gives fewer pieces instead of an error, and so tells how many it gives.
          {"hard_vocab_limit", "false"},
          {"byte_fallback", "true"},
          {"split_digits", "true"},
          {"normalization_rule_name", "identity"},
          {"add_dummy_prefix", "false"},
          {"remove_extra_whitespaces", "false"},
          {"allow_whitespace_only_pieces", "true"},
          {"user_defined_symbols", "\n,\n\n,\t"},
          {"unk_id", "0"},
          {"bos_id", "1"},
          {"eos_id", "2"},
          {"pad_id", "-1"},
          {"max_sentence_length", std::to_string(2 * kMaxSentenceBytes)},
          // BPE training is serial; the number is stored in the model, which must not depend on the machine.
          {"num_threads", "1"},
          {"minloglevel", "2"}};
}

// The N of "... smaller than required_chars. V vs N. ...": the pieces that the characters of the text alone
// take.
std::optional<int64_t> required_pieces(const std::string& message) {
  const size_t begin = message.find("required_chars");
  const size_t number = begin == std::string::npos ? begin : message.find(" vs ", begin);
  if (number == std::string::npos) {
    return std::nullopt;
  }
  return std::strtoll(message.c_str() + number + 4, nullptr, 10);
}

}  // namespace

void train(const DocumentSource& documents, const std::filesystem::path& output,
           const TrainOptions& options) {
  constexpr int64_t kMaxVocab = 1 << 24;
  if (options.vocab_size <= kReservedPieces || options.vocab_size > kMaxVocab) {
    throw core::UsageError(
        "vocabulary size {}: allowed are {} to {} ({} pieces are taken "
        "by the 256 bytes, <unk>, <s>, </s>, tab and line breaks)",
        options.vocab_size, kReservedPieces + 1, kMaxVocab, kReservedPieces);
  }
  constexpr uint64_t kMinBytes = kMaxSentenceBytes + LineSample::kLineBytes;
  if (options.max_bytes < kMinBytes) {
    throw core::UsageError(
        "--max-bytes {}: allowed are {}, which hold the longest line that training looks at, or more",
        options.max_bytes, kMinBytes);
  }
  // Before the training, which may take long.
  core::create_writable_directory(output.has_parent_path() ? output.parent_path() : ".");
  Sentences sentences(sample_sentences(documents, options));
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(trainer_arguments(options.vocab_size), &sentences, &model);
  if (!status.ok()) {
    if (const auto required = required_pieces(status.ToString())) {
      throw core::InputError(
          "vocabulary size {}: the characters of this text alone take {} pieces; ask for more than that",
          options.vocab_size, *required);
    }
    throw core::RunError("sentencepiece failed to train a tokenizer: {}", status.ToString());
  }
  sentencepiece::SentencePieceProcessor processor;
  if (const auto loaded = processor.LoadFromSerializedProto(model); !loaded.ok()) {
    throw core::RunError("sentencepiece cannot read back the tokenizer that it trained: {}",
                         loaded.ToString());
  }
  if (processor.GetPieceSize() != options.vocab_size) {
    throw core::InputError(
        "vocabulary size {}: this text is too small for it and gives at most {} pieces. Ask for that or "
        "fewer, or train on more text.",
        options.vocab_size, processor.GetPieceSize());
  }
  core::write_text_atomically(output, model);
}

}  // namespace ssgpt::tokenizer
