// TFRecord framing: how TensorFlow's event files store a sequence of serialised messages.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ssgpt::metrics {

// CRC-32C (Castagnoli polynomial 0x1EDC6F41, reflected; RFC 3720, appendix B.4).
uint32_t crc32c(std::string_view bytes);

// length (u64), masked crc of the length (u32), `payload`, masked crc of the payload (u32), all
// little-endian; the mask is rotate_right(crc, 15) + 0xa282ead8 (tensorflow/core/lib/io/record_writer.h,
// lib/hash/crc32c.h).
std::string frame_record(std::string_view payload);

}  // namespace ssgpt::metrics
