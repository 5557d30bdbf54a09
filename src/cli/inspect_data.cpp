// Inspection of token shards, prepared data and tokenizers.

#include "cli/inspection.h"
#include "cli/table.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/text.h"
#include "data/example_reader.h"
#include "data/prepare_record.h"
#include "data/token_source.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

namespace fs = std::filesystem;
using Align = Table::Align;

int32_t largest_id(const data::TokenShard& shard) {
  std::vector<int32_t> buffer(1 << 20);
  int32_t largest = 0;
  for (int64_t first = 0; first < shard.num_tokens();) {
    const auto count =
        static_cast<size_t>(std::min(static_cast<int64_t>(buffer.size()), shard.num_tokens() - first));
    const auto tokens = std::span(buffer).first(count);
    shard.read(first, tokens);
    largest = std::max(largest, *std::max_element(tokens.begin(), tokens.end()));
    first += static_cast<int64_t>(count);
  }
  return largest;
}

// The sources of prepared data, from the settings in prepare.json.
Table describe(const fs::path& path, int64_t tokens, const nlohmann::ordered_json& settings) {
  Table table({Align::kLeft, Align::kLeft});
  table.add({"prepared data", path.string()});
  table.add({"tokens", std::to_string(tokens)});
  if (settings.contains("synthetic")) {
    const auto& synthetic = settings.at("synthetic");
    table.add(
        {"synthetic",
         fmt::format("{} of {} tokens per window (vocabulary {})", synthetic.at("task").get<std::string>(),
                     synthetic.at("length").get<int64_t>(), synthetic.at("vocab_size").get<int64_t>())});
    table.add(
        {"windows", fmt::format("{} to train on, {} for validation", settings.at("windows").get<int64_t>(),
                                settings.at("validation_windows").get<int64_t>())});
    table.add({"seed", std::to_string(settings.at("seed").get<uint64_t>())});
    return table;
  }
  const auto& tokenizer = settings.at("tokenizer");
  table.add({"tokenizer", fmt::format("{} (vocabulary {})", tokenizer.at("path").get<std::string>(),
                                      tokenizer.at("vocab_size").get<int64_t>())});
  for (const auto& input : settings.at("inputs")) {
    table.add({"input", fmt::format("{} ({})", input.at("path").get<std::string>(),
                                    core::human_bytes(input.at("bytes").get<uint64_t>()))});
  }
  return table;
}

}  // namespace

Inspection inspect_shard(const fs::path& path, bool verify) {
  const data::TokenShard shard(path);
  std::vector<int32_t> first(static_cast<size_t>(std::min<int64_t>(16, shard.num_tokens())));
  shard.read(0, first);
  const uint64_t bytes = core::InputFile(path).size();
  Inspection result;
  result.json = {{"type", "shard"},
                 {"path", path.string()},
                 {"format", data::to_string(shard.format())},
                 {"tokens", shard.num_tokens()},
                 {"bytes", bytes},
                 {"first_tokens", first}};
  Table table({Align::kLeft, Align::kLeft});
  table.add({"token shard", path.string()});
  table.add({"format", std::string(data::to_string(shard.format()))});
  table.add({"tokens", fmt::format("{} ({})", shard.num_tokens(), core::human_bytes(bytes))});
  table.add({"first tokens", fmt::format("{}", fmt::join(first, " "))});
  if (verify) {
    const int32_t largest = largest_id(shard);
    result.json["largest_id"] = largest;
    table.add({"largest id", std::to_string(largest)});
  }
  result.text = table.text();
  return result;
}

Inspection inspect_prepared(const fs::path& path, bool verify) {
  const fs::path record = path / "prepare.json";
  const auto json = core::read_json<nlohmann::ordered_json>(record, data::kMaxRecordBytes);
  Inspection result;
  Table shards({Align::kLeft, Align::kLeft, Align::kRight, Align::kLeft});
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  int64_t tokens = 0;
  try {
    for (const auto& entry : json.at("shards")) {
      const auto file = entry.at("file").get<std::string>();
      const auto count = entry.at("tokens").get<int64_t>();
      if (!core::is_name_inside(file)) {
        throw core::InputError("{}: the shard '{}' is not inside of the folder", record.string(),
                               core::excerpt(file));
      }
      std::string state = "not checked";
      if (!core::exists(path / file)) {
        state = "missing";
      } else if (verify) {
        state = core::checksum_of_file(path / file) == entry.at("checksum") ? "intact" : "damaged";
      }
      if (state == "missing" || state == "damaged")
        result.faults.push_back(fmt::format("{} is {}", core::excerpt(file), state));
      shards.add({file, entry.at("split").get<std::string>(), std::to_string(count), state});
      list.push_back({{"file", file}, {"split", entry.at("split")}, {"tokens", count}, {"state", state}});
      tokens += count;
    }
    result.json = {{"type", "prepared"},
                   {"path", path.string()},
                   {"tokens", tokens},
                   {"settings", json.at("settings")},
                   {"shards", list}};
    const Table head = describe(path, tokens, json.at("settings"));
    result.text = head.text() + "\n" + shards.text(/*indent=*/2);
  } catch (const nlohmann::json::exception&) {
    throw core::InputError("{}: damaged, or not written by `ssgpt prepare`", record.string());
  }
  return result;
}

// Sizes in bytes: `ssgpt train --dry-run`, which knows the tokenizer and the sequence length, counts tokens.
Inspection inspect_examples(const fs::path& path) {
  data::ExampleReader reader({path});
  data::Example example;
  int64_t examples = 0;
  int64_t unanswerable = 0;
  uint64_t prompt_bytes = 0;
  uint64_t answer_bytes = 0;
  while (reader.next(example)) {
    ++examples;
    unanswerable += example.answer == data::kUnanswerable ? 1 : 0;
    prompt_bytes += example.prompt.size();
    answer_bytes += example.answer.size();
  }
  Inspection result;
  result.json = {{"type", "examples"},           {"path", path.string()},
                 {"examples", examples},         {"unanswerable", unanswerable},
                 {"prompt_bytes", prompt_bytes}, {"answer_bytes", answer_bytes}};
  Table table({Align::kLeft, Align::kLeft});
  table.add({"examples", path.string()});
  table.add({"prompts", fmt::format("{} ({})", examples, core::human_bytes(prompt_bytes))});
  table.add({"answers", fmt::format("{} ({})", examples, core::human_bytes(answer_bytes))});
  if (unanswerable > 0) table.add({"unanswerable", std::to_string(unanswerable)});
  table.add({"tokens", "ssgpt train --dry-run counts them, and the padding"});
  result.text = table.text();
  return result;
}

Inspection inspect_tokenizer(const fs::path& path) {
  const tokenizer::Tokenizer model(path);
  const uint64_t bytes = core::InputFile(path).size();
  nlohmann::ordered_json eos;  // null where the model has none
  try {
    eos = model.eos_id();
  } catch (const core::InputError&) {
  }
  std::vector<std::string> samples;
  const int64_t size = model.vocab_size();
  for (int64_t i = 0; i < 8; ++i) {  // spread over the vocabulary
    samples.push_back(fmt::format("'{}'", model.piece(static_cast<int32_t>((2 * i + 1) * size / 16))));
  }
  Inspection result;
  result.json = {{"type", "tokenizer"}, {"path", path.string()},    {"vocab_size", size},
                 {"bytes", bytes},      {"bos_id", model.bos_id()}, {"eos_id", eos}};
  Table table({Align::kLeft, Align::kLeft});
  table.add({"tokenizer", path.string()});
  table.add({"vocabulary", fmt::format("{} ({})", size, core::human_bytes(bytes))});
  table.add({"eos id", eos.is_null() ? "none" : core::json_text(eos)});
  table.add({"bos id", model.bos_id() < 0 ? "none" : std::to_string(model.bos_id())});
  table.add({"some pieces", fmt::format("{}", fmt::join(samples, " "))});
  result.text = table.text();
  return result;
}

}  // namespace ssgpt::cli
