#include "data/prepare.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "core/text.h"
#include "data/encode_pipeline.h"
#include "data/llmc_format.h"
#include "data/prepare_record.h"
#include "data/shard_writer.h"
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <filesystem>
#include <memory>
#include <span>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::data {

namespace {

constexpr uint64_t kBatchBytes = 256 * 1024;
// sentencepiece needs some 300 bytes of memory for each byte of text that it encodes at once: such texts are
// held in smaller amounts and batches, so that all threads have some.
constexpr uint64_t kMaxBytesWhole = 1 << 20;
constexpr uint64_t kBatchBytesWhole = 32 * 1024;
constexpr size_t kBatchDocuments = 1024;
constexpr int kMaxThreads = 1024;  // more than any machine has cores

void check_options(const PrepareOptions& options) {
  if (!(options.validation_fraction >= 0.0 && options.validation_fraction < 1.0)) {
    throw core::UsageError("validation fraction {}: allowed are 0 (no validation split) to below 1",
                           options.validation_fraction);
  }
  if (options.shard_tokens < 1 || options.shard_tokens > llmc::kMaxTokens) {
    throw core::UsageError("{} tokens per shard: allowed are 1 to {}, which the shard format can count",
                           options.shard_tokens, llmc::kMaxTokens);
  }
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    throw core::UsageError("--threads {}: allowed are 1 to {}, and 0 for one per core", options.num_threads,
                           kMaxThreads);
  }
}

// One split as it is being written.
class Split {
 public:
  // Writes into output.folder, and records each finished shard in output.record, which must outlive this.
  Split(PrepareOutput& output, bool validation, int64_t vocab_size, int64_t shard_tokens)
      : folder_(output.folder), validation_(validation), record_(output.record) {
    int finished = 0;
    for (const RecordedShard& recorded : record_.shards) {
      if (recorded.validation == validation) {
        ++finished;
        tokens_ += recorded.shard.num_tokens;
        resume_ = recorded.next;
      }
    }
    in_shards_ = tokens_;
    writer_ =
        std::make_unique<ShardWriter>(folder_, validation ? "validation" : "train", vocab_size, shard_tokens,
                                      finished, [this](const WrittenShard& shard) { record_shard(shard); });
  }

  // Whether any of the document's tokens are still to be written.
  bool needs(int64_t document) const { return document >= resume_.document; }

  void write(const EncodeDocument& document) {
    ++documents_;
    document_ = document.index;
    if (!needs(document.index)) {
      return;
    }
    const int64_t skipped = document.index == resume_.document ? resume_.token : 0;
    document_tokens_ = static_cast<int64_t>(document.tokens.size());
    if (skipped > document_tokens_) {
      throw core::InputError(
          "document {} is not what it was when the interrupted run began: start over with --overwrite",
          document.index);
    }
    document_start_ = tokens_ - skipped;
    writer_->write(std::span(document.tokens).subspan(static_cast<size_t>(skipped)));
    tokens_ += document_tokens_ - skipped;
  }

  void finish() { writer_->finish(); }

  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }  // finished shards included
  int64_t encoded_tokens() const { return writer_->num_tokens(); }

  SplitCount count() const {
    SplitCount count{.documents = documents_, .tokens = tokens_, .shards = 0};
    count.shards =
        std::count_if(record_.shards.begin(), record_.shards.end(),
                      [&](const RecordedShard& recorded) { return recorded.validation == validation_; });
    return count;
  }

 private:
  void record_shard(const WrittenShard& shard) {
    in_shards_ += shard.num_tokens;
    const int64_t of_document = in_shards_ - document_start_;
    const SplitPosition next = of_document == document_tokens_ ? SplitPosition{document_ + 1, 0}
                                                               : SplitPosition{document_, of_document};
    record_.shards.push_back({shard, validation_, next});
    write_record(folder_, record_);
  }

  const std::filesystem::path folder_;
  const bool validation_;
  PrepareRecord& record_;
  SplitPosition resume_;  // where this run continues
  int64_t documents_ = 0;
  int64_t tokens_ = 0;          // in the whole stream of the split
  int64_t in_shards_ = 0;       // those in finished shards
  int64_t document_ = 0;        // the document being written
  int64_t document_start_ = 0;  // its first token in the split's stream
  int64_t document_tokens_ = 0;
  std::unique_ptr<ShardWriter> writer_;
};

void check_summary(const PrepareOptions& options, const SplitCount& train, const SplitCount& validation) {
  const int64_t documents = train.documents + validation.documents;
  if (documents == 0) {
    throw core::InputError("{}{}: there is no text in the input", options.inputs.front().string(),
                           options.inputs.size() > 1 ? " and the files after it" : "");
  }
  if (train.documents == 0) {
    throw core::InputError(
        "validation fraction {}: the split leaves nothing to train on, for the input has {} document(s). Ask "
        "for a smaller fraction, or cut .txt files into smaller documents with --split-documents-at.",
        options.validation_fraction, documents);
  }
  if (validation.documents == 0 && options.validation_fraction > 0.0) {
    core::log::warning(
        "no validation shard is written: {} document(s) are too few to hold out {} of them. Ask for a larger "
        "--validation-fraction, or cut .txt files into smaller documents with --split-documents-at.",
        documents, options.validation_fraction);
  }
}

// Extrapolates totals from the first part of the input, and logs them once.
class Forecast {
 public:
  explicit Forecast(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Called after a batch was written; sizes of the input are as stored on disk. `written`: tokens in the
  // shards, including those of an interrupted call that this one continues.
  void add(const EncodeBatch& batch, uint64_t bytes_total, int token_bytes, int64_t written) {
    text_ += batch.text_bytes;
    for (const EncodeDocument& document : batch.documents) {
      if (document.encode) {
        encoded_text_ += document.text_bytes;
        tokens_ += document.tokens.size();
      }
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    if (encoded_text_ == 0) {  // finished shards are skipped
      start_ = Clock::now();
    } else if (!said_ && (encoded_text_ >= kEnoughText || seconds >= kEnoughSeconds)) {
      said_ = true;
      say(seconds, batch.file_bytes_read, bytes_total, token_bytes, written);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t kEnoughText = 4 << 20;
  static constexpr double kEnoughSeconds = 3.0;

  void say(double seconds, uint64_t bytes_read, uint64_t bytes_total, int token_bytes,
           int64_t written) const {
    const double all_text = static_cast<double>(text_) * static_cast<double>(bytes_total) /
                            static_cast<double>(std::max<uint64_t>(bytes_read, 1));
    const double tokens = all_text * static_cast<double>(tokens_) / static_cast<double>(encoded_text_);
    const double left = std::max(0.0, all_text - static_cast<double>(text_));
    const auto bytes = static_cast<uint64_t>(tokens * token_bytes);
    core::log::info("estimate after {} of {}: {} tokens in all, {} of shards, {} left",
                    core::human_bytes(bytes_read), core::human_bytes(bytes_total), core::human_count(tokens),
                    core::human_bytes(bytes),
                    core::human_duration(seconds * left / static_cast<double>(encoded_text_)));
    std::error_code error;
    const std::filesystem::space_info space = std::filesystem::space(folder_, error);
    const double to_write = std::max(0.0, tokens - static_cast<double>(written)) * token_bytes;
    if (!error && to_write > static_cast<double>(space.available)) {
      core::log::warning("{}: {} are free, and {} are still to be written: the shards will hardly fit",
                         folder_.string(), core::human_bytes(space.available),
                         core::human_bytes(static_cast<uint64_t>(to_write)));
    }
  }

  const std::filesystem::path folder_;
  Clock::time_point start_ = Clock::now();
  uint64_t text_ = 0;
  uint64_t encoded_text_ = 0;
  uint64_t tokens_ = 0;
  bool said_ = false;
};

TextOptions text_options(TextOptions options, const tokenizer::Tokenizer& tokenizer) {
  if (!tokenizer.encodes_in_parts()) {
    options.max_document_bytes = std::min(options.max_document_bytes, kMaxBytesWhole);
  }
  return options;
}

class TextPreparation {
 public:
  explicit TextPreparation(const PrepareOptions& options)
      : options_(options),
        tokenizer_(options.tokenizer),
        reader_(options.inputs, text_options(options.text, tokenizer_)),
        output_(open_output(options.output, options.overwrite,
                            settings_of(options, tokenizer_.vocab_size(), tokenizer_.eos_id()))),
        train_(output_, /*validation=*/false, tokenizer_.vocab_size(), options.shard_tokens),
        validation_(output_, /*validation=*/true, tokenizer_.vocab_size(), options.shard_tokens) {}

  PrepareSummary run() {
    write_record(output_.folder, output_.record);
    try {
      const PrepareSummary summary = write_shards();
      if (summary.stopped) {
        clean_up(options_.output, output_, /*may_continue=*/!output_.record.shards.empty());
      } else {
        publish_output(options_.output);
      }
      return summary;
    } catch (const core::InputError&) {
      clean_up(options_.output, output_, /*may_continue=*/false);  // the input has to change first
      throw;
    } catch (...) {
      clean_up(options_.output, output_, /*may_continue=*/!output_.record.shards.empty());
      throw;
    }
  }

 private:
  Split& split_of(int64_t document) {
    return is_validation_document(options_.seed, document, options_.validation_fraction) ? validation_
                                                                                         : train_;
  }

  // Runs on the reading thread.
  bool read_batch(EncodeBatch& batch) {
    std::string text;
    const uint64_t batch_bytes = tokenizer_.encodes_in_parts() ? kBatchBytes : kBatchBytesWhole;
    while (batch.text_bytes < batch_bytes && batch.documents.size() < kBatchDocuments && reader_.next(text)) {
      EncodeDocument document{
          .index = documents_read_++, .encode = true, .text_bytes = text.size(), .text = {}, .tokens = {}};
      document.encode = split_of(document.index).needs(document.index);
      batch.text_bytes += text.size();
      if (document.encode) {
        document.text = std::move(text);
      }
      batch.documents.push_back(std::move(document));
    }
    batch.file_bytes_read = reader_.bytes_read();
    return !batch.documents.empty();
  }

  PrepareSummary write_shards() {
    const auto start = std::chrono::steady_clock::now();
    PrepareSummary summary;
    summary.kept_shards = static_cast<int64_t>(output_.record.shards.size());
    Forecast forecast(output_.folder);
    core::ProgressBar progress("prepare", "B", reader_.bytes_total());
    uint64_t shown = 0;
    {
      const int threads = options_.num_threads > 0
                              ? options_.num_threads
                              : std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
      EncodePipeline pipeline(
          tokenizer_, [this](EncodeBatch& batch) { return read_batch(batch); }, threads,
          tokenizer_.encodes_in_parts() ? options_.max_bytes_ahead
                                        : std::min(options_.max_bytes_ahead, kMaxBytesWhole));
      EncodeBatch batch;
      while (pipeline.next(batch)) {
        for (const EncodeDocument& document : batch.documents) {
          split_of(document.index).write(document);
        }
        summary.text_bytes += batch.text_bytes;
        progress.advance(batch.file_bytes_read - shown);
        shown = batch.file_bytes_read;
        forecast.add(batch, reader_.bytes_total(), token_bytes_for(tokenizer_.vocab_size()),
                     train_.tokens() + validation_.tokens());
        if (options_.stop_asked && options_.stop_asked()) {
          summary.stopped = true;
          break;
        }
      }
    }
    if (!summary.stopped) {
      check_summary(options_, train_.count(), validation_.count());
      train_.finish();
      validation_.finish();
    }
    summary.train = train_.count();
    summary.validation = validation_.count();
    summary.left_out = reader_.left_out();
    summary.encoded_tokens = train_.encoded_tokens() + validation_.encoded_tokens();
    summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (summary.stopped) {
      return summary;
    }
    write_record(output_.folder, output_.record, counts_of(summary));
    progress.finish(
        fmt::format("{} tokens from {} in {}", core::human_count(static_cast<double>(summary.encoded_tokens)),
                    core::human_bytes(reader_.bytes_total()), core::human_duration(summary.seconds)));
    return summary;
  }

  const PrepareOptions& options_;
  const tokenizer::Tokenizer tokenizer_;
  TextReader reader_;
  int64_t documents_read_ = 0;
  PrepareOutput output_;
  Split train_;
  Split validation_;
};

}  // namespace

bool is_validation_document(uint64_t seed, int64_t index, double fraction) {
  if (fraction <= 0.0) {
    return false;
  }
  const uint64_t key = core::stream_key(seed, "validation split");
  const double begin = static_cast<double>(index) * fraction;
  const double end = static_cast<double>(index + 1) * fraction;
  for (double k = std::floor(begin); k < end; ++k) {
    const double place = k + core::random_uniform(key, static_cast<uint64_t>(k)) * (1.0 - fraction);
    if (place >= begin && place < end) {
      return true;
    }
  }
  return false;
}

PrepareSummary prepare(const PrepareOptions& options) {
  check_options(options);
  std::vector<std::filesystem::path> inputs = options.inputs;
  inputs.push_back(options.tokenizer);
  refuse_inputs_in_output(options.output, inputs);
  return TextPreparation(options).run();
}

}  // namespace ssgpt::data
