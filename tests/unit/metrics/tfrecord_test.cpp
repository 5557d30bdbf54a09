#include "metrics/tfrecord.h"

#include <string>

#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

// RFC 3720, appendix B.4, and the check value of the CRC catalogue for "123456789".
TEST(Crc32c, MatchesPublishedVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAU);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43U);
  std::string rising;
  for (char c = 0; c < 32; ++c) rising.push_back(c);
  EXPECT_EQ(crc32c(rising), 0x46DD794EU);
  EXPECT_EQ(crc32c(std::string(rising.rbegin(), rising.rend())), 0x113FDB5CU);
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(TfRecord, FramesAPayloadWithLengthsAndChecksums) {
  const std::string record = frame_record("abc");
  ASSERT_EQ(record.size(), 8U + 4U + 3U + 4U);
  EXPECT_EQ(record.substr(0, 8), std::string("\x03\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "abc");
  // Undoing the mask as tensorflow/core/lib/hash/crc32c.h does gives the plain checksum.
  const auto word = [&record](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i)
      value |= static_cast<uint32_t>(static_cast<unsigned char>(record[at + i])) << (8 * i);
    const uint32_t rotated = value - 0xA282EAD8U;
    return (rotated >> 17) | (rotated << 15);
  };
  EXPECT_EQ(word(8), crc32c(record.substr(0, 8)));
  EXPECT_EQ(word(15), crc32c("abc"));
}

}  // namespace
}  // namespace ssgpt::metrics
