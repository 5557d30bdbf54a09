// A sample of a stream of lines within a budget of memory, spread evenly over the stream however long it
// gets.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// Every line has a random rank, a pure function of (seed, its number). Kept are the lines of lowest rank, as
// many as the budget holds; all of them where they fit.
class LineSample {
  struct Line {
    uint64_t rank = 0;
    uint64_t number = 0;
    std::string text;
  };

 public:
  // What a line takes beside its text, here and in what take() returns: without it, lines of one byte would
  // need eighty times the budget.
  static constexpr uint64_t kLineBytes = sizeof(Line) + sizeof(std::string);

  // Each line costs its text and kLineBytes of max_bytes.
  LineSample(uint64_t seed, uint64_t max_bytes);

  void add(std::string_view line);

  // Of text.
  uint64_t bytes_seen() const { return bytes_seen_; }
  uint64_t bytes_kept() const { return bytes_kept_; }

  // The kept lines in the order of the stream; empties the sample.
  std::vector<std::string> take();

 private:
  static bool lower_rank(const Line& a, const Line& b) { return a.rank < b.rank; }
  uint64_t memory() const;

  uint64_t key_;
  uint64_t max_bytes_;
  uint64_t lines_seen_ = 0;
  uint64_t bytes_seen_ = 0;
  uint64_t bytes_kept_ = 0;
  uint64_t rank_limit_ = UINT64_MAX;  // lines above it were dropped
  // A heap, highest rank first, once the budget was exceeded. No vector: that takes up to three times its
  // size while it grows.
  std::deque<Line> lines_;
};

}  // namespace ssgpt::tokenizer
