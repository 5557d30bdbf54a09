#include "tokenizer/charsmap.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ssgpt::tokenizer {

namespace {

// Little-endian, as sentencepiece writes it.
uint32_t number_at(std::string_view bytes, size_t place) {
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof value; ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[place + i])} << (8 * i);
  }
  return value;
}

// A unit of darts-clone's double array.
struct Unit {
  uint32_t bits = 0;

  bool has_leaf() const { return ((bits >> 8) & 1) != 0; }
  uint32_t label() const { return bits & ((uint32_t{1} << 31) | 0xFF); }  // a leaf's is that of no character
  uint32_t value() const { return bits & ((uint32_t{1} << 31) - 1); }
  size_t offset() const { return size_t{bits >> 10} << ((bits & (uint32_t{1} << 9)) >> 6); }
};

}  // namespace

bool is_sound_charsmap(std::string_view blob) {
  if (blob.empty()) return true;
  if (blob.size() <= sizeof(uint32_t)) return false;
  const size_t trie_bytes = number_at(blob, 0);
  blob.remove_prefix(sizeof(uint32_t));
  if (trie_bytes >= blob.size() || trie_bytes % sizeof(uint32_t) != 0 || blob.back() != '\0') return false;
  const size_t num_units = trie_bytes / sizeof(uint32_t);
  const size_t text_bytes = blob.size() - trie_bytes;
  const auto unit_at = [&](size_t place) {
    return Unit{number_at(blob, place * sizeof(uint32_t))};
  };
  if (num_units == 0) return false;
  // The children of a node lie at its place with the offset and the character in it, each by exclusive or.
  std::vector<bool> reached(num_units, false);
  std::vector<size_t> nodes = {0};
  reached[0] = true;
  while (!nodes.empty()) {
    const size_t node = nodes.back();
    nodes.pop_back();
    const size_t base = node ^ unit_at(node).offset();
    if ((base | 0xFF) >= num_units) return false;
    if (unit_at(node).has_leaf() && unit_at(base).value() >= text_bytes) return false;
    for (uint32_t character = 0; character < 256; ++character) {
      const size_t child = base ^ character;
      if (unit_at(child).label() != character || reached[child]) continue;
      reached[child] = true;
      nodes.push_back(child);
    }
  }
  return true;
}

}  // namespace ssgpt::tokenizer
