#include "core/checksum.h"

#include "core/check.h"
#include "core/file.h"

#include <vector>

#include <fmt/format.h>
#include <xxhash.h>

namespace ssgpt::core {

struct Checksum::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

Checksum::Checksum() : state_(std::make_unique<State>()) {
  SSGPT_CHECK(state_->xxh != nullptr && XXH3_128bits_reset(state_->xxh) == XXH_OK, "cannot start a checksum");
}

Checksum::~Checksum() = default;

void Checksum::update(std::span<const std::byte> bytes) {
  SSGPT_CHECK(XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size()) == XXH_OK,
              "cannot update a checksum");
}

std::string Checksum::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string checksum_of(std::span<const std::byte> bytes) {
  Checksum checksum;
  checksum.update(bytes);
  return checksum.hex();
}

std::string checksum_of_file(const std::filesystem::path& path) {
  const InputFile file(path);
  std::vector<std::byte> buffer(size_t{1} << 20);
  Checksum checksum;
  uint64_t offset = 0;
  while (const size_t count = file.read_some(offset, buffer)) {
    checksum.update(std::span(buffer).first(count));
    offset += count;
  }
  return checksum.hex();
}

}  // namespace ssgpt::core
