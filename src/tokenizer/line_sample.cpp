#include "tokenizer/line_sample.h"

#include "core/random.h"

#include <algorithm>
#include <utility>

namespace ssgpt::tokenizer {

LineSample::LineSample(uint64_t seed, uint64_t max_bytes)
    : key_(core::stream_key(seed, "tokenizer sample")), max_bytes_(max_bytes) {}

void LineSample::add(std::string_view line) {
  const uint64_t number = lines_seen_++;
  bytes_seen_ += line.size();
  const uint64_t rank = core::random_bits(key_, number);
  if (rank >= rank_limit_) {
    return;
  }
  const bool was_full = rank_limit_ != UINT64_MAX;
  lines_.push_back({rank, number, std::string(line)});
  bytes_kept_ += line.size();
  if (was_full) {
    std::push_heap(lines_.begin(), lines_.end(), lower_rank);
  } else if (memory() > max_bytes_) {
    std::make_heap(lines_.begin(), lines_.end(), lower_rank);
  }
  while (memory() > max_bytes_) {
    std::pop_heap(lines_.begin(), lines_.end(), lower_rank);
    bytes_kept_ -= lines_.back().text.size();
    rank_limit_ = lines_.back().rank;
    lines_.pop_back();
  }
}

uint64_t LineSample::memory() const {
  return bytes_kept_ + lines_.size() * kLineBytes;
}

std::vector<std::string> LineSample::take() {
  std::sort(lines_.begin(), lines_.end(), [](const Line& a, const Line& b) { return a.number < b.number; });
  std::vector<std::string> texts;
  texts.reserve(lines_.size());
  for (Line& line : lines_) {
    texts.push_back(std::move(line.text));
  }
  lines_.clear();
  bytes_kept_ = 0;
  return texts;
}

}  // namespace ssgpt::tokenizer
