#include "start/shard_checks.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "data/prepare_record.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>

#include <nlohmann/json.hpp>

namespace ssgpt::start {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// Used in messages, and for the checksum to compare.
std::string text_at(const Json& json, const char* pointer) {
  const Json::json_pointer place(pointer);
  return json.contains(place) && json.at(place).is_string() ? core::excerpt(json.at(place).get<std::string>())
                                                            : "";
}

PreparedFolder read_folder(const fs::path& record) {
  const Json json = core::read_json<Json>(record, data::kMaxRecordBytes);
  if (!json.is_object()) throw core::InputError("{}: not a JSON object.", record.string());
  return {.record = record,
          .complete = json.value("complete", Json(true)) != Json(false),
          .tokenizer = text_at(json, "/settings/tokenizer/path"),
          .tokenizer_fingerprint = text_at(json, "/settings/tokenizer/checksum")};
}

}  // namespace

Prepared read_prepared(const data::TokenSource& source) {
  Prepared folders;
  fs::path checked;
  for (const data::TokenShard& shard : source.shards()) {
    const fs::path directory = shard.path().parent_path();
    if (!checked.empty() && directory == checked.parent_path()) continue;
    checked = directory / "prepare.json";
    if (core::exists(checked)) folders.push_back(read_folder(checked));
  }
  return folders;
}

void refuse_unfinished(const Prepared& prepared) {
  for (const PreparedFolder& folder : prepared) {
    if (folder.complete) continue;
    throw core::InputError(
        "The shards in {} are not complete: ssgpt prepare was stopped while it wrote them ({}). Repeat "
        "its command to continue it.",
        folder.record.parent_path().string(), folder.record.string());
  }
}

void refuse_other_tokenizers(const std::vector<Prepared>& prepared, const std::optional<fs::path>& tokenizer,
                             const std::string& fingerprint) {
  std::string expected = fingerprint;
  std::string whose = tokenizer ? fmt::format("data.tokenizer, {},", tokenizer->string()) : "";
  for (const Prepared& folders : prepared) {
    for (const PreparedFolder& folder : folders) {
      const std::string& own = folder.tokenizer_fingerprint;
      if (own.empty()) continue;
      if (expected.empty()) {
        expected = own;
        whose = fmt::format("the tokenizer of {}, {},", folder.record.string(), folder.tokenizer.string());
      }
      if (own == expected) continue;
      throw core::InputError(
          "The shards in {} were made with another tokenizer, {} (checksum {} in {}): {} has checksum {}, "
          "and its ids stand for other text. Name the tokenizer that made the shards, or prepare the text "
          "anew.",
          folder.record.parent_path().string(), folder.tokenizer.string(), own, folder.record.string(), whose,
          expected);
    }
  }
}

void refuse_shared_shards(const data::TokenSource& training, const data::TokenSource& validation) {
  std::unordered_multimap<int64_t, const data::TokenShard*> by_length;
  for (const data::TokenShard& shard : validation.shards()) by_length.emplace(shard.num_tokens(), &shard);
  for (const data::TokenShard& shard : training.shards()) {
    const auto [begin, end] = by_length.equal_range(shard.num_tokens());
    for (auto other = begin; other != end; ++other) {
      const data::TokenShard& held_out = *other->second;
      if (data::fingerprint(shard) != data::fingerprint(held_out)) continue;
      const bool one_file = fs::equivalent(shard.path(), held_out.path());
      throw core::UsageError(
          "data.train and data.validation share tokens: {}{}. A loss on training data says nothing about "
          "other text; name files or patterns that separate them, such as train_*.bin and validation_*.bin.",
          shard.path().string(),
          one_file ? " is in both" : fmt::format(" holds the same as {}", held_out.path().string()));
    }
  }
}

}  // namespace ssgpt::start
