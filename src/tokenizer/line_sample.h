// A sample of a stream of lines within a memory budget, spread evenly over the stream whatever its length.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// Each line has a random rank, a pure function of (seed, line number). The sample keeps the lines with the
// lowest ranks, as many as fit into the budget.
class LineSample {
  struct Line {
    uint64_t rank = 0;
    uint64_t number = 0;
    std::string text;
  };

 public:
  // Memory of a line besides its text, here and in the result of take(). If it were not counted, lines of one
  // byte would need eighty times the budget.
  static constexpr uint64_t kLineBytes = sizeof(Line) + sizeof(std::string);

  // The text of each line and kLineBytes count towards max_bytes.
  LineSample(uint64_t seed, uint64_t max_bytes);

  void add(std::string_view line);

  uint64_t bytes_seen() const { return bytes_seen_; }  // bytes of text
  uint64_t bytes_kept() const { return bytes_kept_; }  // likewise

  // Returns the kept lines in the order of the stream, and empties the sample.
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
  // A heap with the highest rank first, once the budget has been exceeded. A vector would need up to three
  // times its size while it grows.
  std::deque<Line> lines_;
};

}  // namespace ssgpt::tokenizer
