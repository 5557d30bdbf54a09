// A sample of a stream of lines within a budget of bytes, spread evenly over the stream however long it gets.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::tokenizer {

// Every line has a random rank, a pure function of (seed, its number). Kept are the lines of lowest rank, as
// many as the budget holds; all of them where they fit.
class LineSample {
 public:
  LineSample(uint64_t seed, uint64_t max_bytes);

  void add(std::string_view line);

  uint64_t bytes_seen() const { return bytes_seen_; }
  uint64_t bytes_kept() const { return bytes_kept_; }

  // The kept lines in the order of the stream; empties the sample.
  std::vector<std::string> take();

 private:
  struct Line {
    uint64_t rank = 0;
    uint64_t number = 0;
    std::string text;
  };
  static bool lower_rank(const Line& a, const Line& b) { return a.rank < b.rank; }

  uint64_t key_;
  uint64_t max_bytes_;
  uint64_t lines_seen_ = 0;
  uint64_t bytes_seen_ = 0;
  uint64_t bytes_kept_ = 0;
  uint64_t rank_limit_ = UINT64_MAX;  // lines above it were dropped
  std::vector<Line> lines_;           // a heap, highest rank first, once the budget was exceeded
};

}  // namespace ssgpt::tokenizer
