#include "checkpoint/ranks.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include <ATen/ops/full.h>
#include <fmt/format.h>

namespace ssgpt::checkpoint {

namespace {

constexpr float kPadding = 7e7F;

class TextsLink : public parallel::Exchange::Link {
 public:
  TextsLink(std::shared_ptr<Texts> texts, OnRead on_read)
      : texts_(std::move(texts)), on_read_(std::move(on_read)) {}
  void set(const std::string& key, const std::string& text) override { texts_->set(key, text); }
  std::string wait(const std::string& key, int64_t owner) override {
    std::string text = texts_->wait(key, owner);
    if (on_read_) on_read_(text);
    return text;
  }

 private:
  std::shared_ptr<Texts> texts_;
  OnRead on_read_;
};

}  // namespace

void Texts::set(const std::string& key, const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (!texts_.emplace(key, text).second) throw std::logic_error(key + " was posted before");
  changed_.notify_all();
}

std::string Texts::wait(const std::string& key, int64_t owner) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(10), [&] { return texts_.contains(key) || failed_; });
  if (const auto found = texts_.find(key); found != texts_.end()) return found->second;
  throw parallel::PeerFailure(fmt::format("rank {} failed", failed_.value_or(owner)));
}

void Texts::fail(int64_t rank) {
  const std::lock_guard lock(mutex_);
  failed_ = rank;
  changed_.notify_all();
}

size_t Texts::size() {
  const std::lock_guard lock(mutex_);
  return texts_.size();
}

std::unique_ptr<parallel::Exchange> make_exchange(const std::shared_ptr<Texts>& texts, int64_t rank,
                                                  int64_t world_size, OnRead on_read) {
  return std::make_unique<parallel::Exchange>(rank, world_size,
                                              std::make_unique<TextsLink>(texts, std::move(on_read)));
}

std::vector<std::string> run_ranks(int64_t world_size, Texts& texts,
                                   const std::function<void(int64_t rank)>& rank_main) {
  std::vector<std::string> messages(static_cast<size_t>(world_size));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        rank_main(rank);
      } catch (const std::exception& error) {
        messages[static_cast<size_t>(rank)] = error.what();
        texts.fail(rank);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return messages;
}

std::vector<std::vector<core::Range>> deal(int64_t size, int64_t world_size, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::set<int64_t> cuts = {0, size};
  while (cuts.size() < static_cast<size_t>(4 * world_size + 1)) {
    cuts.insert(static_cast<int64_t>(random() % static_cast<uint64_t>(size)));
  }
  std::vector<std::vector<core::Range>> ranges(static_cast<size_t>(world_size));
  size_t piece = 0;
  for (auto cut = cuts.begin(); std::next(cut) != cuts.end(); ++cut, ++piece) {
    const size_t rank = piece < ranges.size() ? piece : random() % ranges.size();
    ranges[rank].push_back({.begin = *cut, .end = *std::next(cut)});
  }
  return ranges;
}

Snapshot share_of(const Snapshot& whole, const std::vector<core::Range>& ranges) {
  Snapshot share = whole;
  share.flat.moment_ranges = ranges;
  for (const auto& [from, to] : {std::pair(&whole.flat.exp_avg, &share.flat.exp_avg),
                                 {&whole.flat.exp_avg_sq, &share.flat.exp_avg_sq}}) {
    std::vector<float> values;  // of each element of the flat tensor and of what it is padded with
    int64_t end = 0;
    for (const core::Range& range : ranges) end = std::max(end, range.end);
    values.assign(static_cast<size_t>(end), kPadding);
    for (const model::Parameter& parameter : whole.flat.layout) {
      for (int64_t i = parameter.offset; i < std::min(end, parameter.offset + parameter.numel); ++i) {
        values[static_cast<size_t>(i)] = from->const_data_ptr<float>()[i];
      }
    }
    *to = at::full({core::total_size(ranges)}, kPadding, at::kFloat);
    float* next = to->mutable_data_ptr<float>();
    for (const core::Range& range : ranges) {
      next = std::copy(values.begin() + range.begin, values.begin() + range.end, next);
    }
  }
  return share;
}

}  // namespace ssgpt::checkpoint
