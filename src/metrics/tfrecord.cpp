#include "metrics/tfrecord.h"

#include <bit>
#include <boost/crc.hpp>
#include <cstddef>

namespace ssgpt::metrics {
namespace {

template <typename Integer>
void append_little_endian(std::string& out, Integer value) {
  for (size_t i = 0; i < sizeof(Integer); ++i) out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
}

uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  boost::crc_optimal</*Bits=*/32, /*TruncPoly=*/0x1EDC6F41, /*InitRem=*/0xFFFFFFFF, /*FinalXor=*/0xFFFFFFFF,
                     /*ReflectIn=*/true, /*ReflectRem=*/true>
      crc;
  crc.process_bytes(bytes.data(), bytes.size());
  return crc.checksum();
}

std::string frame_record(std::string_view payload) {
  std::string record;
  record.reserve(payload.size() + 16);
  append_little_endian(record, static_cast<uint64_t>(payload.size()));
  append_little_endian(record, masked_crc(std::string_view(record).substr(0, 8)));
  record += payload;
  append_little_endian(record, masked_crc(payload));
  return record;
}

}  // namespace ssgpt::metrics
