#include "tokenizer/bpe.h"

#include "tokenizer/marks.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <optional>
#include <utility>

namespace ssgpt::tokenizer {

namespace {

size_t character_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

std::vector<float> scores_from_highest(const std::vector<Bpe::Piece>& pieces) {
  std::vector<float> scores;
  for (const Bpe::Piece& piece : pieces) {
    scores.push_back(piece.score);
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  return scores;
}

}  // namespace

// Turns one text from characters into pieces: merges, again and again, the two neighbors that give the piece
// with the highest score (the leftmost if several are equal), until no two neighbors give a piece.
class Bpe::Merging {
 public:
  void run(const Bpe& bpe, std::string_view text, std::vector<int32_t>& ids) {
    merge_all(bpe, text);
    for (int32_t at = nodes_.empty() ? -1 : 0; at >= 0; at = node(at).next) {
      emit(bpe, text, node(at), ids);
    }
  }

  // The two symbols of the last merge that forms `text`; nullopt if it does not become one piece, or is a
  // single character.
  std::optional<std::pair<int32_t, int32_t>> last_merge(const Bpe& bpe, std::string_view text) {
    last_.reset();
    merge_all(bpe, text);
    return nodes_.front().next < 0 ? last_ : std::nullopt;
  }

 private:
  struct Node {
    int32_t symbol = -1;  // -1: merged with nothing
    int32_t id = -1;
    int32_t previous = -1;
    int32_t next = -1;
    int32_t candidate = -1;  // symbol that this node and the next form; -1: none
    uint32_t begin = 0;      // in the text
  };
  struct Candidate {
    uint64_t place = 0;  // rank, then the left node: the order of merging
    int32_t merged = -1;
    bool operator>(const Candidate& other) const { return place > other.place; }
  };

  Node& node(int32_t index) { return nodes_[static_cast<size_t>(index)]; }

  void merge_all(const Bpe& bpe, std::string_view text) {
    split(bpe, text);
    for (size_t i = 0; i + 1 < nodes_.size(); ++i) {
      offer(bpe, static_cast<int32_t>(i));
    }
    while (!candidates_.empty()) {
      std::pop_heap(candidates_.begin(), candidates_.end(), std::greater<>());
      const Candidate best = candidates_.back();
      candidates_.pop_back();
      const auto left = static_cast<int32_t>(best.place & UINT32_MAX);
      // Else one of the two was merged with another neighbour since.
      if (node(left).candidate == best.merged) {
        merge(bpe, left, best.merged);
      }
    }
  }

  void split(const Bpe& bpe, std::string_view text) {
    nodes_.clear();
    candidates_.clear();
    for (size_t at = 0; at < text.size();) {
      const std::string_view rest = text.substr(at);
      size_t length = character_length(rest.front());
      Node fresh{.begin = static_cast<uint32_t>(at)};
      if (const UserDefined* whole = bpe.user_defined_at(rest)) {
        length = whole->text.size();
        fresh.id = whole->id;
      } else if ((fresh.symbol = bpe.symbol_of_character(rest.substr(0, length))) >= 0) {
        fresh.id = bpe.symbols_[static_cast<size_t>(fresh.symbol)].id;
      }
      at += length;
      const auto index = static_cast<int32_t>(nodes_.size());
      fresh.previous = index - 1;
      fresh.next = at < text.size() ? index + 1 : -1;
      nodes_.push_back(fresh);
    }
  }

  // Looks up what this node and the next would give.
  void offer(const Bpe& bpe, int32_t left) {
    Node& first = node(left);
    const int32_t second = first.next < 0 ? -1 : node(first.next).symbol;
    first.candidate = first.symbol < 0 || second < 0 ? -1 : bpe.merged(first.symbol, second);
    if (first.candidate >= 0) {
      const uint64_t rank = bpe.symbols_[static_cast<size_t>(first.candidate)].rank;
      candidates_.push_back({rank << 32 | static_cast<uint32_t>(left), first.candidate});
      std::push_heap(candidates_.begin(), candidates_.end(), std::greater<>());
    }
  }

  void merge(const Bpe& bpe, int32_t left, int32_t merged) {
    Node& kept = node(left);
    Node& gone = node(kept.next);
    last_.emplace(kept.symbol, gone.symbol);
    kept.symbol = merged;
    kept.id = bpe.symbols_[static_cast<size_t>(merged)].id;
    kept.next = gone.next;
    gone.candidate = -1;
    if (kept.next >= 0) {
      node(kept.next).previous = left;
    }
    offer(bpe, left);
    if (kept.previous >= 0) {
      offer(bpe, kept.previous);
    }
  }

  static void emit(const Bpe& bpe, std::string_view text, const Node& piece, std::vector<int32_t>& ids) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
      return;
    }
    std::string_view bytes = text.substr(piece.begin, character_length(text[piece.begin]));
    for (const char byte : bytes == " " ? kBlankMark : bytes) {
      ids.push_back(bpe.byte_ids_[static_cast<unsigned char>(byte)]);
    }
  }

  std::vector<Node> nodes_;
  std::vector<Candidate> candidates_;                // a heap
  std::optional<std::pair<int32_t, int32_t>> last_;  // symbols that were merged
};

Bpe::Bpe(const std::vector<Piece>& pieces, const std::array<int32_t, 256>& byte_ids) : byte_ids_(byte_ids) {
  const std::vector<float> scores = scores_from_highest(pieces);
  for (const Piece& piece : pieces) {
    Symbol& symbol = symbols_[static_cast<size_t>(add_symbol(piece.text))];
    symbol.id = piece.id;
    symbol.rank = static_cast<uint32_t>(
        std::lower_bound(scores.begin(), scores.end(), piece.score, std::greater<>()) - scores.begin());
    if (piece.user_defined) {
      user_defined_[static_cast<unsigned char>(piece.text.front())].push_back({piece.text, piece.id});
    }
  }
  for (std::vector<UserDefined>& list : user_defined_) {
    std::sort(list.begin(), list.end(),
              [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  }
  add_pairs(pieces);
  for (size_t byte = 0; byte < ascii_.size(); ++byte) {
    const auto found = numbers_.find(std::string(1, static_cast<char>(byte)));
    ascii_[byte] = found == numbers_.end() ? -1 : found->second;
  }
}

int32_t Bpe::add_symbol(std::string_view text) {
  const auto [entry, added] = numbers_.emplace(text, static_cast<int32_t>(symbols_.size()));
  if (added) {
    symbols_.emplace_back();
  }
  return entry->second;
}

// Every way to make a piece of two symbols.
void Bpe::add_pairs(const std::vector<Piece>& pieces) {
  for (const Piece& piece : pieces) {
    for (size_t at = 0; at < piece.text.size(); at += character_length(piece.text[at])) {
      add_symbol(std::string_view(piece.text).substr(at, character_length(piece.text[at])));
    }
  }
  std::vector<Pair> pairs;
  for (const Piece& piece : pieces) {
    const int32_t whole = numbers_.at(piece.text);
    for (size_t at = character_length(piece.text.front()); at < piece.text.size();
         at += character_length(piece.text[at])) {
      const auto left = numbers_.find(piece.text.substr(0, at));
      const auto right = numbers_.find(piece.text.substr(at));
      if (left != numbers_.end() && right != numbers_.end()) {
        pairs.push_back({left->second, right->second, whole});
      }
    }
  }
  pairs_.resize(std::bit_ceil(2 * pairs.size() + 2));
  for (const Pair& pair : pairs) {
    pairs_[place_of(pair.left, pair.right)] = pair;
  }
}

// Where the pair stands, or the free place where it would.
size_t Bpe::place_of(int32_t left, int32_t right) const {
  const uint64_t key = uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  size_t place = static_cast<size_t>((key * 0x9E3779B97F4A7C15ULL) >> 32) & (pairs_.size() - 1);
  while (pairs_[place].left >= 0 && (pairs_[place].left != left || pairs_[place].right != right)) {
    place = (place + 1) & (pairs_.size() - 1);
  }
  return place;
}

int32_t Bpe::merged(int32_t left, int32_t right) const {
  return pairs_[place_of(left, right)].merged;
}

int32_t Bpe::symbol_of_character(std::string_view text) const {
  if (text.size() == 1) {
    return ascii_[static_cast<unsigned char>(text.front())];
  }
  const auto found = numbers_.find(std::string(text));  // too short for the heap
  return found == numbers_.end() ? -1 : found->second;
}

const Bpe::UserDefined* Bpe::user_defined_at(std::string_view text) const {
  for (const UserDefined& candidate : user_defined_[static_cast<unsigned char>(text.front())]) {
    if (text.starts_with(candidate.text)) {
      return &candidate;
    }
  }
  return nullptr;
}

void Bpe::encode(std::string_view text, std::vector<int32_t>& ids) const {
  thread_local Merging merging;
  merging.run(*this, text, ids);
}

// The order of the merges inside a stretch of text does not depend on the text around it, as long as nothing
// is merged across its ends: the best pair of the whole text is also the best pair of the stretch, and so is
// the leftmost of equal pairs. So the two symbols that form a piece are always those that form it when the
// text of the piece is encoded by itself.
std::vector<Bpe::Merge> Bpe::merges() const {
  std::vector<std::string_view> texts(symbols_.size());
  for (const auto& [text, symbol] : numbers_) {
    texts[static_cast<size_t>(symbol)] = text;
  }
  Merging merging;
  std::vector<Merge> result;
  for (size_t symbol = 0; symbol < symbols_.size(); ++symbol) {
    if (symbols_[symbol].id < 0) {
      continue;
    }
    if (const auto last = merging.last_merge(*this, texts[symbol])) {
      result.push_back({.rank = symbols_[symbol].rank,
                        .left = symbols_[static_cast<size_t>(last->first)].id,
                        .right = symbols_[static_cast<size_t>(last->second)].id});
    }
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
  return result;
}

}  // namespace ssgpt::tokenizer
