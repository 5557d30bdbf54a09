#include "core/checksum.h"

#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <span>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

// The digests that `xxhsum -H2` prints.
TEST(Checksum, IsXxh3With128Bits) {
  EXPECT_EQ(checksum_of({}), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(checksum_of(bytes_of("abc")), "06b05ab6733a618578af5f94892f3950");
}

TEST(Checksum, DoesNotDependOnHowBytesArriveAndReadsFilesLargerThanItsBuffer) {
  std::string text;
  for (int i = 0; i < 300'000; ++i) {
    text += std::to_string(i);
  }
  Checksum pieces;
  for (size_t i = 0; i < text.size(); i += 777) {
    pieces.update(bytes_of(std::string_view(text).substr(i, 777)));
  }
  const TemporaryDirectory directory;
  write_text_atomically(directory / "file", text);
  EXPECT_EQ(pieces.hex(), checksum_of(bytes_of(text)));
  EXPECT_EQ(checksum_of_file(directory / "file"), checksum_of(bytes_of(text)));
  text[text.size() / 2] ^= 1;
  EXPECT_NE(pieces.hex(), checksum_of(bytes_of(text)));
}

TEST(Checksum, OfAMissingFileIsAnInputError) {
  EXPECT_THROW(checksum_of_file("/nonexistent/file"), InputError);
}

}  // namespace
}  // namespace ssgpt::core
