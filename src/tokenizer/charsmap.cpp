#include "tokenizer/charsmap.h"

#include <cstddef>
#include <cstdint>
#include <span>
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

std::vector<Unit> units_of(std::string_view trie) {
  std::vector<Unit> units(trie.size() / sizeof(uint32_t));
  for (size_t i = 0; i < units.size(); ++i) units[i].bits = number_at(trie, i * sizeof(uint32_t));
  return units;
}

}  // namespace

bool is_sound_charsmap(std::string_view blob) {
  if (blob.empty()) return true;
  if (blob.size() <= sizeof(uint32_t)) return false;
  const size_t trie_bytes = number_at(blob, 0);
  blob.remove_prefix(sizeof(uint32_t));
  if (trie_bytes >= blob.size() || trie_bytes % sizeof(uint32_t) != 0 || blob.back() != '\0') return false;
  const size_t text_bytes = blob.size() - trie_bytes;
  const std::vector<Unit> trie = units_of(blob.substr(0, trie_bytes));
  if (trie.empty()) return false;
  // The children of a node lie at its place with the offset and the character in it, each by exclusive or.
  std::vector<bool> reached(trie.size(), false);
  std::vector<size_t> nodes = {0};
  reached[0] = true;
  while (!nodes.empty()) {
    const size_t node = nodes.back();
    nodes.pop_back();
    const size_t base = node ^ trie[node].offset();
    if ((base | 0xFF) >= trie.size()) return false;
    if (trie[node].has_leaf() && trie[base].value() >= text_bytes) return false;
    const std::span<const Unit> block(&trie[base & ~size_t{0xFF}], 256);
    for (uint32_t character = 0; character < 256; ++character) {
      const size_t child = base ^ character;
      if (block[child & 0xFF].label() != character || reached[child]) continue;
      reached[child] = true;
      nodes.push_back(child);
    }
  }
  return true;
}

}  // namespace ssgpt::tokenizer
