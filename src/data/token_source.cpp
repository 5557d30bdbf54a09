#include "data/token_source.h"

#include "core/check.h"
#include "core/checksum.h"
#include "core/error.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace ssgpt::data {
namespace {

void add_sample(const TokenShard& shard, core::Checksum& checksum) {
  constexpr int64_t kPlaces = 16;
  constexpr int64_t kTokensAtEach = 1024;
  const std::array<int64_t, 1> count = {shard.num_tokens()};
  checksum.update(std::as_bytes(std::span(count)));
  const int64_t length = std::min(kTokensAtEach, shard.num_tokens());
  std::vector<int32_t> tokens(static_cast<size_t>(length));
  const int64_t last_start = shard.num_tokens() - length;
  for (int64_t place = 0; place < kPlaces; ++place) {
    // Quotient and remainder separately: the product could exceed 64 bits.
    shard.read(last_start / (kPlaces - 1) * place + last_start % (kPlaces - 1) * place / (kPlaces - 1),
               tokens);
    checksum.update(std::as_bytes(std::span(tokens)));
  }
}

}  // namespace

TokenSource::TokenSource(const std::vector<std::filesystem::path>& paths) {
  if (paths.empty()) {
    throw core::InputError("no token shards are given");
  }
  shards_.reserve(paths.size());
  for (const std::filesystem::path& path : paths) {
    first_token_.push_back(num_tokens_);
    num_tokens_ += shards_.emplace_back(path).num_tokens();
  }
  first_token_.push_back(num_tokens_);
}

void TokenSource::read(int64_t first, std::span<int32_t> out, int64_t vocab_size) const {
  SSGPT_CHECK(first >= 0 && static_cast<int64_t>(out.size()) <= num_tokens_ - first,
              "tokens {} to {} of {} are asked for", first, first + static_cast<int64_t>(out.size()),
              num_tokens_);
  // The last shard that begins at or before `first`.
  auto shard = static_cast<size_t>(std::upper_bound(first_token_.begin(), first_token_.end(), first) -
                                   first_token_.begin()) -
               1;
  for (; !out.empty(); ++shard) {
    const int64_t start = first - first_token_[shard];
    const auto count = std::min(out.size(), static_cast<size_t>(shards_[shard].num_tokens() - start));
    const std::span<int32_t> part = out.first(count);
    shards_[shard].read(start, part);
    for (size_t i = 0; i < count; ++i) {
      if (part[i] < 0 || part[i] >= vocab_size) {
        throw core::InputError(
            "{}: token {} has id {}, outside the vocabulary, 0 to {}: model.vocab_size must be at least that "
            "of the tokenizer that made the shards",
            shards_[shard].path().string(), start + static_cast<int64_t>(i), static_cast<uint32_t>(part[i]),
            vocab_size - 1);
      }
    }
    first += static_cast<int64_t>(count);
    out = out.subspan(count);
  }
}

int64_t TokenSource::num_windows(int64_t sequence_length) const {
  SSGPT_CHECK(sequence_length > 0, "sequence length {}", sequence_length);
  const int64_t windows = (num_tokens_ - 1) / sequence_length;
  if (windows == 0) {
    throw core::InputError(
        "{}{}: {} tokens in all, but one window takes {} (data.sequence_length {} and the token after it): "
        "shorten the sequence or give more tokens",
        shards_.front().path().string(), shards_.size() > 1 ? " and the shards after it" : "", num_tokens_,
        sequence_length + 1, sequence_length);
  }
  return windows;
}

std::string TokenSource::fingerprint() const {
  core::Checksum checksum;
  for (const TokenShard& shard : shards_) add_sample(shard, checksum);
  return checksum.hex();
}

std::string fingerprint(const TokenShard& shard) {
  core::Checksum checksum;
  add_sample(shard, checksum);
  return checksum.hex();
}

}  // namespace ssgpt::data
