// A cache of the ids of short chunks of text: words repeat, and a lookup is faster than merging.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// A hash table of fixed size: a new chunk replaces the one in its place.
class ChunkCache {
 public:
  // The calling thread's cache for the tokenizer with this number, which is 1 or more.
  static ChunkCache& of_this_thread(uint64_t tokenizer) {
    thread_local ChunkCache cache;
    if (cache.tokenizer_ != tokenizer) {
      cache.tokenizer_ = tokenizer;
      cache.places_.assign(kPlaces, {});
    }
    return cache;
  }

  // Appends the ids of `chunk` if they are known, and returns whether they are.
  bool find(std::string_view chunk, std::vector<int32_t>& ids) const {
    if (chunk.size() > kMaxChunkBytes) {
      return false;
    }
    const Place& place = places_[place_of(chunk)];
    if (std::string_view(place.chunk.data(), place.num_bytes) != chunk) {
      return false;
    }
    ids.insert(ids.end(), place.ids.begin(), place.ids.begin() + place.num_ids);
    return true;
  }

  void insert(std::string_view chunk, std::span<const int32_t> ids) {
    if (chunk.size() > kMaxChunkBytes || ids.size() > kMaxIds) {
      return;
    }
    Place& place = places_[place_of(chunk)];
    place.num_bytes = static_cast<uint8_t>(chunk.size());
    place.num_ids = static_cast<uint8_t>(ids.size());
    std::copy(chunk.begin(), chunk.end(), place.chunk.begin());
    std::copy(ids.begin(), ids.end(), place.ids.begin());
  }

 private:
  static constexpr size_t kPlaces = size_t{1} << 15;  // 2 MiB in total, the size of a core's L2 cache
  static constexpr size_t kMaxChunkBytes = 30;
  static constexpr size_t kMaxIds = 8;

  struct alignas(64) Place {
    std::array<int32_t, kMaxIds> ids{};
    std::array<char, kMaxChunkBytes> chunk{};
    uint8_t num_bytes = 0;  // 0: the place is free, since no chunk is empty
    uint8_t num_ids = 0;
  };
  static_assert(sizeof(Place) == 64);

  static size_t place_of(std::string_view chunk) {
    return std::hash<std::string_view>{}(chunk) & (kPlaces - 1);
  }

  uint64_t tokenizer_ = 0;
  std::vector<Place> places_;
};

}  // namespace ssgpt::tokenizer
