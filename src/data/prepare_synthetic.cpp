#include "data/prepare_synthetic.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/progress.h"
#include "core/text.h"
#include "data/llmc_format.h"
#include "data/prepare_record.h"
#include "data/shard_writer.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {
namespace {

using Json = nlohmann::ordered_json;

// Made before they are written; a stop request is noticed in between.
constexpr int64_t kTokensAtATime = 1 << 20;
constexpr int64_t kMaxWindows = int64_t{1} << 32;  // with the longest sequences, 2^56 tokens
static_assert(kMaxWindows <= kFirstValidationSequence);

int64_t num_validation_windows(const SyntheticOptions& options) {
  return options.validation_windows.value_or(std::max<int64_t>(2, (options.num_windows + 19) / 20));
}

void check_options(const SyntheticOptions& options) {
  check_synthetic(options.task, options.vocab_size, options.length);
  const auto check_windows = [](int64_t windows, std::string_view what, std::string_view also) {
    if (windows >= 2 && windows <= kMaxWindows) return;
    throw core::UsageError(
        "{} {}: allowed are {}2 to {}. The last sequence only ends the window of the one before it.", windows,
        what, also, kMaxWindows);
  };
  check_windows(options.num_windows, "windows to train on", "");
  const int64_t validation = num_validation_windows(options);
  if (validation != 0) check_windows(validation, "validation windows", "0 (no validation split), and ");
  if (options.shard_tokens < 1 || options.shard_tokens > llmc::kMaxTokens) {
    throw core::UsageError("{} tokens per shard: allowed are 1 to {}, which the shard format can count",
                           options.shard_tokens, llmc::kMaxTokens);
  }
}

std::string settings_of(const SyntheticOptions& options) {
  const Json settings = {
      {"synthetic",
       {{"task", to_string(options.task)}, {"vocab_size", options.vocab_size}, {"length", options.length}}},
      {"windows", options.num_windows},
      {"validation_windows", num_validation_windows(options)},
      {"seed", options.seed},
      {"shard_tokens", options.shard_tokens}};
  return core::json_text(settings);
}

class SyntheticPreparation {
 public:
  explicit SyntheticPreparation(const SyntheticOptions& options)
      : options_(options), output_(open_output(options.output, options.overwrite, settings_of(options))) {}

  SyntheticSummary run() {
    try {
      const SyntheticSummary summary = write_shards();
      if (summary.stopped) {
        clean_up(options_.output, output_, /*may_continue=*/!output_.record.shards.empty());
      } else {
        publish_output(options_.output);
      }
      return summary;
    } catch (...) {
      clean_up(options_.output, output_, /*may_continue=*/!output_.record.shards.empty());
      throw;
    }
  }

 private:
  SyntheticSummary write_shards() {
    const auto start = std::chrono::steady_clock::now();
    SyntheticSummary summary;
    summary.kept_shards = static_cast<int64_t>(output_.record.shards.size());
    write_record(output_.folder, output_.record);
    const int64_t validation_windows = num_validation_windows(options_);
    const int64_t windows = options_.num_windows + validation_windows;
    core::ProgressBar progress("prepare", "tokens", static_cast<uint64_t>(windows * options_.length));
    summary.stopped = !write_split(/*validation=*/false, options_.num_windows, progress) ||
                      !write_split(/*validation=*/true, validation_windows, progress);
    summary.train = count(/*validation=*/false);
    summary.validation = count(/*validation=*/true);
    summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (summary.stopped) return summary;
    write_record(output_.folder, output_.record,
                 {{"train", json_of(summary.train)}, {"validation", json_of(summary.validation)}});
    const auto tokens = static_cast<double>(summary.train.tokens + summary.validation.tokens);
    progress.finish(
        fmt::format("{} tokens in {}", core::human_count(tokens), core::human_duration(summary.seconds)));
    return summary;
  }

  // Writes sequences [0, num_windows) of a split, after its existing shards. Returns false if asked to stop
  // before the end.
  bool write_split(bool validation, int64_t num_windows, core::ProgressBar& progress) {
    const SyntheticCount finished = count(validation);
    int64_t sequence = finished.tokens / options_.length;
    int64_t skipped = finished.tokens % options_.length;  // tokens of it in a finished shard
    int64_t written = finished.tokens;
    ShardWriter writer(output_.folder, validation ? "validation" : "train", options_.vocab_size,
                       options_.shard_tokens, static_cast<int>(finished.shards),
                       [&](const WrittenShard& shard) {
                         written += shard.num_tokens;
                         const SplitPosition next = {written / options_.length, written % options_.length};
                         output_.record.shards.push_back({shard, validation, next});
                         write_record(output_.folder, output_.record);
                       });
    progress.advance(static_cast<uint64_t>(finished.tokens));
    std::vector<int32_t> tokens;
    while (sequence < num_windows) {
      if (options_.stop_asked && options_.stop_asked()) return false;
      tokens.clear();
      do {
        const int64_t index = (validation ? kFirstValidationSequence : 0) + sequence;
        const TaskSequence made =
            training_sequence(options_.task, options_.vocab_size, options_.length, options_.seed, index);
        tokens.insert(tokens.end(), made.tokens.begin() + skipped, made.tokens.end());
        skipped = 0;
        ++sequence;
      } while (sequence < num_windows && static_cast<int64_t>(tokens.size()) < kTokensAtATime);
      writer.write(tokens);
      progress.advance(tokens.size());
    }
    writer.finish();
    return true;
  }

  // Counts the finished shards.
  SyntheticCount count(bool validation) const {
    SyntheticCount count;
    for (const RecordedShard& recorded : output_.record.shards) {
      if (recorded.validation != validation) continue;
      ++count.shards;
      count.tokens += recorded.shard.num_tokens;
    }
    count.windows = count.tokens / options_.length;
    return count;
  }

  const SyntheticOptions& options_;
  PrepareOutput output_;
};

}  // namespace

SyntheticSummary prepare_synthetic(const SyntheticOptions& options) {
  check_options(options);
  return SyntheticPreparation(options).run();
}

nlohmann::ordered_json json_of(const SyntheticCount& count) {
  return {{"windows", count.windows}, {"tokens", count.tokens}, {"shards", count.shards}};
}

std::optional<PreparedTask> read_prepared_task(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "prepare.json";
  if (!core::exists(path)) return std::nullopt;
  try {
    const Json settings = core::read_json<Json>(path, kMaxRecordBytes).at("settings");
    if (!settings.contains("synthetic")) return PreparedTask{};
    const Json& synthetic = settings.at("synthetic");
    return PreparedTask{.task = synthetic.at("task").get<std::string>(),
                        .vocab_size = synthetic.at("vocab_size").get<int64_t>(),
                        .length = synthetic.at("length").get<int64_t>()};
  } catch (const Json::exception&) {
    return std::nullopt;
  } catch (const core::InputError&) {
    return std::nullopt;
  }
}

}  // namespace ssgpt::data
