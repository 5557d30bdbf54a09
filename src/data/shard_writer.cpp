#include "data/shard_writer.h"

#include "core/check.h"
#include "core/checksum.h"
#include "data/llmc_format.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::data {

namespace {

template <typename Stored>
void store(std::span<const int32_t> tokens, std::vector<std::byte>& bytes) {
  bytes.resize(tokens.size() * sizeof(Stored));
  std::byte* out = bytes.data();
  for (const int32_t token : tokens) {
    const auto stored = static_cast<Stored>(token);
    std::memcpy(out, &stored, sizeof(stored));
    out += sizeof(stored);
  }
}

}  // namespace

int token_bytes_for(int64_t vocab_size) {
  return vocab_size <= 65536 ? 2 : 4;
}

ShardWriter::ShardWriter(std::filesystem::path folder, std::string split, int64_t vocab_size,
                         int64_t shard_tokens, int first_number,
                         std::function<void(const WrittenShard&)> on_shard)
    : folder_(std::move(folder)),
      split_(std::move(split)),
      vocab_size_(vocab_size),
      shard_tokens_(shard_tokens),
      token_bytes_(token_bytes_for(vocab_size)),
      on_shard_(std::move(on_shard)),
      number_(first_number) {
  SSGPT_CHECK(shard_tokens >= 1 && shard_tokens <= llmc::kMaxTokens, "{} tokens per shard", shard_tokens);
}

ShardWriter::~ShardWriter() = default;

void ShardWriter::open_shard() {
  name_ = fmt::format("{}_{:06}.bin", split_, number_);
  file_ = std::make_unique<core::AtomicFile>(folder_ / name_);
  const llmc::Header header = llmc::make_header(token_bytes_, 0);
  file_->write(std::as_bytes(std::span(header)));
}

void ShardWriter::close_shard() {
  const llmc::Header header = llmc::make_header(token_bytes_, in_shard_);
  file_->write_at(0, std::as_bytes(std::span(header)));
  file_->commit();
  file_.reset();
  on_shard_({name_, in_shard_, core::checksum_of_file(folder_ / name_)});
  in_shard_ = 0;
  ++number_;
}

void ShardWriter::write(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) {
    SSGPT_CHECK(token >= 0 && token < vocab_size_, "token id {} in a vocabulary of {}", token, vocab_size_);
  }
  while (!tokens.empty()) {
    if (!file_) {
      open_shard();
    }
    const auto room = static_cast<size_t>(shard_tokens_ - in_shard_);
    const auto part = tokens.first(std::min(room, tokens.size()));
    if (token_bytes_ == 2) {
      store<uint16_t>(part, bytes_);
    } else {
      store<uint32_t>(part, bytes_);
    }
    file_->write(bytes_);
    in_shard_ += static_cast<int64_t>(part.size());
    num_tokens_ += static_cast<int64_t>(part.size());
    tokens = tokens.subspan(part.size());
    if (in_shard_ == shard_tokens_) {
      close_shard();
    }
  }
}

void ShardWriter::finish() {
  if (file_) {
    close_shard();
  }
}

}  // namespace ssgpt::data
