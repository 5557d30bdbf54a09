#include "parallel/exchange.h"

#include "core/check.h"

#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::parallel {
namespace {

class Alone : public Exchange::Link {
 public:
  void set(const std::string& key, const std::string& text) override { texts_[key] = text; }
  std::string wait(const std::string& key, int64_t) override {
    const auto found = texts_.find(key);
    SSGPT_CHECK(found != texts_.end(), "{} was never posted", key);
    return found->second;
  }

 private:
  std::unordered_map<std::string, std::string> texts_;
};

std::string key_of(std::string_view name, int64_t rank) {
  return fmt::format("{}/{}", name, rank);
}

}  // namespace

Exchange::Exchange() : link_(std::make_unique<Alone>()) {}
Exchange::Exchange(int64_t rank, int64_t world_size, std::unique_ptr<Link> link)
    : rank_(rank), world_size_(world_size), link_(std::move(link)) {}
Exchange::~Exchange() = default;

void Exchange::post(std::string_view name, const std::string& text) {
  link_->set(key_of(name, rank_), text);
}

std::string Exchange::read(std::string_view name, int64_t rank) {
  return link_->wait(key_of(name, rank), rank);
}

std::vector<std::string> Exchange::gather(std::string_view name, const std::string& text) {
  post(name, text);
  std::vector<std::string> texts;
  for (int64_t rank = 0; rank < world_size_; ++rank) texts.push_back(read(name, rank));
  return texts;
}

std::string Exchange::from_rank_zero(std::string_view name, const std::function<std::string()>& compute) {
  if (rank_ == 0) post(name, compute());
  return read(name, 0);
}

}  // namespace ssgpt::parallel
