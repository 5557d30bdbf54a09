#include "tokenizer/tokenizer.h"

#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_pairs.h"
#include "tokenizer/chunk_cache.h"
#include "tokenizer/marks.h"
#include "tokenizer/model_spec.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <utility>

#include <sentencepiece_processor.h>

namespace ssgpt::tokenizer {

namespace {

constexpr size_t kMaxChunkBytes = 64 * 1024;

// Limits well above those of real models: pieces of spm_train have up to 16 characters, and vocabularies
// hundreds of thousands of pieces. The time for a piece grows with the square of its length.
constexpr size_t kMaxPieceBytes = 512;
constexpr size_t kMaxPieces = size_t{1} << 22;

// U+2581 would come back as a blank, and a NUL may end a string inside the library: both go by their bytes.
size_t special_length(std::string_view text) {
  return text.starts_with('\0') ? 1 : text.starts_with(kBlankMark) ? kBlankMark.size() : 0;
}

bool may_be_special(char first) {
  return first == '\0' || first == kBlankMark.front();
}

// Bytes before the first special character.
size_t plain_length(std::string_view text) {
  size_t length = 0;
  while (length < text.size() && !(may_be_special(text[length]) && special_length(text.substr(length)) > 0)) {
    ++length;
  }
  return length;
}

// Length of the chunk at the start of `text`: a run of line breaks, or blanks and the word after them, up to
// a special character; at most kMaxChunkBytes, and only where that cuts does a piece of a model that Bpe
// stands for reach from one chunk into the next.
size_t chunk_length(std::string_view text) {
  const size_t limit = std::min(text.size(), kMaxChunkBytes);
  size_t length = 0;
  if (text.front() == '\n') {
    while (length < limit && text[length] == '\n') {
      ++length;
    }
    return length;
  }
  while (length < limit && text[length] == ' ') {
    ++length;
  }
  while (length < limit && text[length] != ' ' && text[length] != '\n' &&
         !(may_be_special(text[length]) && special_length(text.substr(length)) > 0)) {
    ++length;
  }
  if (length == kMaxChunkBytes) {  // not in the middle of a character
    while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) {
      --length;
    }
  }
  return length;
}

// Whether `piece` can only lie inside one chunk as chunk_length() cuts them.
bool stays_in_chunk(std::string_view piece) {
  const bool has_break = piece.find('\n') != std::string_view::npos;
  if (has_break) {
    return piece.find_first_not_of('\n') == std::string_view::npos;
  }
  size_t blanks = 0;
  while (piece.substr(blanks).starts_with(kBlankMark)) {
    blanks += kBlankMark.size();
  }
  // A ' ' of its own, which only a user-defined piece has, never meets a text, whose blanks become marks
  // first.
  return piece.find(kBlankMark, blanks) == std::string_view::npos &&
         piece.find_first_of(std::string_view("\0 ", 2)) == std::string_view::npos;
}

// `piece` with its marks as blanks.
std::string with_blanks(std::string_view piece) {
  std::string text;
  while (!piece.empty()) {
    const size_t mark = std::min(piece.find(kBlankMark), piece.size());
    text.append(piece.substr(0, mark));
    piece.remove_prefix(mark);
    if (!piece.empty()) {
      text.push_back(' ');
      piece.remove_prefix(kBlankMark.size());
    }
  }
  return text;
}

// Refuses models on which sentencepiece would run for ever or crash.
void refuse_unusable(const ModelSpec& spec, const std::string& path) {
  if (!spec.charsmaps_are_sound) {
    throw core::InputError("{}: the sentencepiece model is damaged: its normalization rules lead nowhere",
                           path);
  }
  if (!spec.pieces_are_texts) {
    throw core::InputError("{}: the sentencepiece model is damaged: a piece is empty or holds a NUL", path);
  }
  if (spec.longest_piece > kMaxPieceBytes) {
    throw core::InputError(
        "{}: not a sentencepiece model of a tokenizer: a piece of {} bytes, and {} are the most allowed",
        path, spec.longest_piece, kMaxPieceBytes);
  }
  if (spec.user_defined.size() > kMaxPieces) {
    throw core::InputError(
        "{}: not a sentencepiece model of a tokenizer: {} pieces, and {} are the most allowed", path,
        spec.user_defined.size(), kMaxPieces);
  }
}

}  // namespace

struct Tokenizer::Impl {
  std::string path;
  uint64_t number = 0;  // of this object among all of the process
  ModelSpec spec;
  sentencepiece::SentencePieceProcessor processor;
  // The text of each piece, byte pieces as their byte, control pieces as nothing; empty where lossless is
  // false.
  std::vector<std::string> texts;
  std::vector<bool> is_byte;
  std::array<int32_t, 256> byte_ids{};
  bool lossless = false;  // keeps every blank and every character: ours, or made like ours
  // Where the model is one that it can stand for, and chunks of text can be encoded one by one.
  std::unique_ptr<const Bpe> bpe;

  void describe();
  bool describe_pieces();
  std::unique_ptr<const Bpe> make_bpe() const;
  BytePairs::Piece describe_piece(int32_t id) const;
  void encode_by_sentencepiece(std::string_view text, std::vector<int32_t>& ids) const;
  void encode_chunk(std::string_view chunk, ChunkCache& cache, std::vector<int32_t>& ids) const;
  void encode_chunks(std::string_view text, std::vector<int32_t>& ids) const;
};

void Tokenizer::Impl::describe() {
  const bool all_bytes = describe_pieces();
  lossless = all_bytes && spec.byte_fallback && !spec.normalizes && !spec.adds_blank &&
             !spec.removes_blanks && spec.escapes_blanks;
  if (all_bytes && spec.byte_fallback && !spec.normalizes && !spec.removes_blanks && spec.escapes_blanks &&
      spec.bpe && !spec.blank_ends_piece) {
    bpe = make_bpe();
  }
}

// Nothing where a piece could reach from one chunk into the next, or sentencepiece would split it up again.
std::unique_ptr<const Bpe> Tokenizer::Impl::make_bpe() const {
  if (spec.user_defined.size() != static_cast<size_t>(processor.GetPieceSize())) {
    return nullptr;  // a file that the two of us read differently
  }
  std::vector<Bpe::Piece> pieces;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    if (processor.IsByte(id) || processor.IsControl(id) || processor.IsUnknown(id)) {
      continue;
    }
    const auto index = static_cast<size_t>(id);
    if (!stays_in_chunk(processor.IdToPiece(id)) || processor.IsUnused(id) || texts[index].empty()) {
      return nullptr;
    }
    pieces.push_back({texts[index], processor.GetScore(id), id, spec.user_defined[index]});
  }
  return std::make_unique<Bpe>(pieces, byte_ids);
}

BytePairs::Piece Tokenizer::Impl::describe_piece(int32_t id) const {
  using Kind = BytePairs::Kind;
  const auto index = static_cast<size_t>(id);
  if (is_byte[index] || processor.IsControl(id) || processor.IsUnknown(id)) {
    return {.text = processor.IdToPiece(id),
            .kind = is_byte[index]            ? Kind::kByte
                    : processor.IsControl(id) ? Kind::kControl
                                              : Kind::kUnknown};
  }
  return {.text = texts[index], .kind = spec.user_defined[index] ? Kind::kUserDefined : Kind::kText};
}

// Fills texts, is_byte and byte_ids; returns whether there is a piece for every byte.
bool Tokenizer::Impl::describe_pieces() {
  size_t num_bytes = 0;
  for (int id = 0; id < processor.GetPieceSize(); ++id) {
    std::string text = processor.IdToPiece(id);
    is_byte.push_back(processor.IsByte(id));
    if (processor.IsByte(id)) {  // "<0x0A>"
      const auto byte = static_cast<unsigned char>(std::stoi(text.substr(3, 2), nullptr, 16));
      byte_ids[byte] = id;
      text.assign(1, static_cast<char>(byte));
      ++num_bytes;
    } else if (processor.IsControl(id)) {
      text.clear();
    } else if (processor.IsUnknown(id)) {
      text = " \xE2\x81\x87 ";  // what sentencepiece shows
    } else {
      text = with_blanks(text);
    }
    texts.push_back(std::move(text));
  }
  return num_bytes == 256;
}

void Tokenizer::Impl::encode_by_sentencepiece(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int> fresh;
  const auto status = processor.Encode(absl::string_view(text.data(), text.size()), &fresh);
  SSGPT_CHECK(status.ok(), "sentencepiece cannot encode {} bytes of text: {}", text.size(),
              status.ToString());
  ids.insert(ids.end(), fresh.begin(), fresh.end());
}

void Tokenizer::Impl::encode_chunk(std::string_view chunk, ChunkCache& cache,
                                   std::vector<int32_t>& ids) const {
  if (!bpe) {
    encode_by_sentencepiece(chunk, ids);
  } else if (!cache.find(chunk, ids)) {
    const size_t before = ids.size();
    bpe->encode(chunk, ids);
    cache.insert(chunk, std::span(ids).subspan(before));
  }
}

void Tokenizer::Impl::encode_chunks(std::string_view text, std::vector<int32_t>& ids) const {
  ChunkCache& cache = ChunkCache::of_this_thread(number);
  if (bpe && spec.adds_blank && !text.empty()) {
    const size_t length = text.front() == '\n' ? 0 : chunk_length(text);
    encode_chunk(std::string(" ").append(text.substr(0, length)), cache, ids);
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t length = special_length(text);
    if (length > 0) {
      for (const char byte : text.substr(0, length)) {
        ids.push_back(byte_ids[static_cast<unsigned char>(byte)]);
      }
    } else {
      length = bpe ? chunk_length(text) : plain_length(text);
      encode_chunk(text.substr(0, length), cache, ids);
    }
    text.remove_prefix(length);
  }
}

Tokenizer::Tokenizer(const std::filesystem::path& model)
    : Tokenizer(core::read_text(model, kMaxFileBytes), model.string()) {}

Tokenizer::Tokenizer(std::string_view serialized, std::string name) : impl_(std::make_unique<Impl>()) {
  static std::atomic<uint64_t> count = 0;
  impl_->path = std::move(name);
  impl_->number = ++count;
  impl_->spec = read_model_spec(serialized);
  refuse_unusable(impl_->spec, impl_->path);
  const auto status =
      impl_->processor.LoadFromSerializedProto(absl::string_view(serialized.data(), serialized.size()));
  if (!status.ok() || impl_->processor.GetPieceSize() == 0) {
    throw core::InputError(
        "{}: not a sentencepiece model. Expected is the .model "
        "file that `ssgpt tokenizer train` or spm_train writes.",
        impl_->path);
  }
  impl_->describe();
}

Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

int64_t Tokenizer::vocab_size() const {
  return impl_->processor.GetPieceSize();
}

int32_t Tokenizer::eos_id() const {
  const int32_t id = impl_->processor.eos_id();
  if (id < 0) {
    throw core::InputError(
        "{}: the tokenizer has no end-of-sequence piece (</s>), which must end each document of token "
        "shards. Train one with `ssgpt tokenizer train`, or with spm_train and --eos_id.",
        impl_->path);
  }
  return id;
}

int32_t Tokenizer::bos_id() const {
  return impl_->processor.bos_id();
}

Tokenizer::SpecialIds Tokenizer::special_ids() const {
  const auto known = [](int32_t id) {
    return id < 0 ? std::nullopt : std::optional(id);
  };
  SpecialIds ids{.bos = known(impl_->processor.bos_id()),
                 .eos = known(impl_->processor.eos_id()),
                 .padding = known(impl_->processor.pad_id())};
  if (!ids.padding) ids.padding = ids.bos ? ids.bos : ids.eos;
  return ids;
}

std::string Tokenizer::piece(int32_t id) const {
  if (id < 0 || id >= vocab_size()) {
    throw core::InputError("{}: token id {} is outside the tokenizer's vocabulary, 0 to {}", impl_->path, id,
                           vocab_size() - 1);
  }
  return impl_->processor.IdToPiece(id);
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  if (const auto invalid = core::find_invalid_utf8(text)) {
    throw core::InputError("the text is not valid UTF-8: byte {} (0x{:02X}) begins no character", *invalid,
                           static_cast<unsigned char>(text[*invalid]));
  }
  std::vector<int32_t> ids;
  if (impl_->lossless || (impl_->bpe && plain_length(text) == text.size())) {
    impl_->encode_chunks(text, ids);
  } else if (impl_->bpe) {  // as sentencepiece, which takes a mark for a blank
    impl_->encode_chunks(with_blanks(text), ids);
  } else {
    impl_->encode_by_sentencepiece(text, ids);
  }
  return ids;
}

bool Tokenizer::encodes_in_parts() const {
  return impl_->bpe != nullptr;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size()) {
      throw core::InputError(
          "{}: token id {} (number {} of the sequence) is outside the tokenizer's vocabulary, 0 to {}",
          impl_->path, ids[i], i, vocab_size() - 1);
    }
  }
  std::string text;
  if (!impl_->lossless) {
    const auto status = impl_->processor.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
    SSGPT_CHECK(status.ok(), "sentencepiece cannot decode {} ids: {}", ids.size(), status.ToString());
    return text;
  }
  std::string bytes;  // of consecutive byte pieces
  for (const int32_t id : ids) {
    const auto index = static_cast<size_t>(id);
    if (impl_->is_byte[index]) {
      bytes += impl_->texts[index];
      continue;
    }
    text += core::replace_invalid_utf8(bytes, kReplacement);
    bytes.clear();
    text += impl_->texts[index];
  }
  text += core::replace_invalid_utf8(bytes, kReplacement);
  return text;
}

BytePairs Tokenizer::byte_pairs() const {
  if (!impl_->bpe) {
    throw core::InputError("{}", reason_against_byte_pairs(impl_->spec));
  }
  BytePairs pairs{.pieces = {}, .merges = impl_->bpe->merges(), .adds_blank = impl_->spec.adds_blank};
  for (int32_t id = 0; id < vocab_size(); ++id) {
    pairs.pieces.push_back(impl_->describe_piece(id));
  }
  return pairs;
}

}  // namespace ssgpt::tokenizer
