#include "data/llmc_format.h"

#include "core/check.h"
#include "core/error.h"

#include <span>

namespace ssgpt::data::llmc {

Header make_header(int token_bytes, int64_t num_tokens) {
  SSGPT_CHECK(num_tokens >= 0 && num_tokens <= kMaxTokens, "{} tokens in one shard", num_tokens);
  Header header{};
  header[0] = token_bytes == 2 ? kMagic16 : kMagic32;
  header[1] = token_bytes == 2 ? kVersion16 : kVersion32;
  header[2] = static_cast<int32_t>(num_tokens);
  return header;
}

int64_t check_header(const core::InputFile& file, int token_bytes) {
  const std::string name = file.path().string();
  if (file.size() < kHeaderBytes) {
    throw core::InputError("{}: a token shard that ends inside its header: {} of {} bytes", name, file.size(),
                           kHeaderBytes);
  }
  Header header{};
  file.read(0, std::as_writable_bytes(std::span(header)));
  const int32_t version = token_bytes == 2 ? kVersion16 : kVersion32;
  if (header[1] != version) {
    throw core::InputError(
        "{}: a token shard of version {}; this program reads version {} of files with magic {}", name,
        header[1], version, header[0]);
  }
  if (header[2] <= 0) {
    throw core::InputError("{}: a token shard whose header says {} tokens", name, header[2]);
  }
  const uint64_t expected =
      kHeaderBytes + static_cast<uint64_t>(header[2]) * static_cast<uint64_t>(token_bytes);
  if (file.size() != expected) {
    throw core::InputError("{}: {} bytes, but the {} tokens that its header names need {}: the file {}", name,
                           file.size(), header[2], expected,
                           file.size() < expected ? "is truncated" : "has something after its tokens");
  }
  return header[2];
}

}  // namespace ssgpt::data::llmc
