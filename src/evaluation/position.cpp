#include "evaluation/position.h"

#include "core/check.h"
#include "core/error.h"
#include "data/sampler.h"
#include "evaluation/trials.h"
#include "train/windows.h"

#include <algorithm>
#include <span>
#include <utility>

namespace ssgpt::evaluation {
namespace {

// The first tokens of all documents that have at least `columns` tokens.
std::vector<int64_t> long_documents(const data::TokenSource& source, int64_t document_token_id,
                                    int64_t columns, int64_t vocab_size) {
  constexpr int64_t kBlock = int64_t{1} << 20;
  std::vector<int64_t> starts;
  std::vector<int32_t> tokens;
  int64_t start = 0;
  int64_t longest = 0;
  const auto end_at = [&](int64_t end) {
    longest = std::max(longest, end - start);
    if (end - start >= columns) starts.push_back(start);
    start = end;
  };
  for (int64_t first = 0; first < source.num_tokens(); first += kBlock) {
    tokens.resize(static_cast<size_t>(std::min(kBlock, source.num_tokens() - first)));
    source.read(first, tokens, vocab_size);
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == document_token_id) end_at(first + static_cast<int64_t>(i) + 1);
    }
  }
  end_at(source.num_tokens());
  if (starts.empty()) {
    throw core::InputError(
        "{}{}: no document has {} tokens, a window of {} positions and the token after it: the longest has "
        "{}, of {} tokens in all, where token {} ends a document",
        source.shards().front().path().string(), source.shards().size() > 1 ? " and the shards after it" : "",
        columns, columns - 1, longest, source.num_tokens(), document_token_id);
  }
  return starts;
}

// The first tokens of all stretches of `columns` tokens, each beginning at the last token of the previous
// one.
std::vector<int64_t> stretches(const data::TokenSource& source, int64_t columns) {
  if (source.num_tokens() < columns) {
    throw core::InputError(
        "{}{}: {} tokens in all, but a window of {} positions and the token after it takes {}",
        source.shards().front().path().string(), source.shards().size() > 1 ? " and the shards after it" : "",
        source.num_tokens(), columns - 1, columns);
  }
  std::vector<int64_t> starts;
  for (int64_t end = columns; end <= source.num_tokens(); end += columns - 1) starts.push_back(end - columns);
  return starts;
}

// Adds the mean of one window's losses over the positions of each bin.
void add_window(const float* losses, const std::vector<int64_t>& bin_ends,
                std::vector<std::vector<double>>& trials) {
  int64_t position = 0;
  for (size_t bin = 0; bin < bin_ends.size(); ++bin) {
    const int64_t begin = position;
    double sum = 0.0;
    for (; position < bin_ends[bin]; ++position) sum += static_cast<double>(losses[position]);
    trials[bin].push_back(sum / static_cast<double>(bin_ends[bin] - begin));
  }
}

}  // namespace

std::vector<int64_t> choose_windows(const data::TokenSource& source, const PositionRequest& request,
                                    int64_t vocab_size) {
  SSGPT_CHECK(request.max_windows.value_or(1) > 0, "{} windows", *request.max_windows);
  const int64_t columns = request.bin_ends.back() + 1;
  const std::vector<int64_t> all =
      request.document_token_id ? long_documents(source, *request.document_token_id, columns, vocab_size)
                                : stretches(source, columns);
  const auto available = static_cast<int64_t>(all.size());
  const int64_t count = std::min(request.max_windows.value_or(available), available);
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    chosen.push_back(all[static_cast<size_t>(data::sampled_window(i, count, available))]);
  }
  return chosen;
}

std::vector<report::PointValue> losses_by_position(model::GPT& model, const data::TokenSource& source,
                                                   std::span<const int64_t> windows,
                                                   const PositionRequest& request) {
  const std::vector<report::Point> points = points_of_bins(request.bin_ends);
  const int64_t length = request.bin_ends.back();
  SSGPT_CHECK(length <= model.spec().sequence_length, "windows of {} tokens, the model holds {}", length,
              model.spec().sequence_length);
  SSGPT_CHECK(!windows.empty(), "no windows");
  const int64_t vocab_size = model.spec().config.vocab_size;
  const auto batch_size = static_cast<size_t>(batch_size_of(request.batch_size, length));
  train::WindowReader reader(source, length, vocab_size);
  std::vector<std::vector<double>> trials(points.size());
  for (size_t first = 0; first < windows.size(); first += batch_size) {
    const size_t rows = std::min(batch_size, windows.size() - first);
    const train::TensorBatch& batch = reader.read(windows.subspan(first, rows));
    const at::Tensor losses = model.token_losses(batch.inputs, batch.targets).cpu();
    for (size_t row = 0; row < rows; ++row) {
      add_window(losses.const_data_ptr<float>() + static_cast<int64_t>(row) * length, request.bin_ends,
                 trials);
    }
    if (request.on_progress) {
      request.on_progress(static_cast<int64_t>(first + rows), static_cast<int64_t>(windows.size()));
    }
  }
  std::vector<report::PointValue> values;
  for (size_t bin = 0; bin < points.size(); ++bin) {
    values.push_back(value_of_trials(std::move(trials[bin]), points[bin].last - points[bin].first + 1));
  }
  return values;
}

std::vector<report::Point> points_of_bins(const std::vector<int64_t>& bin_ends) {
  std::vector<report::Point> points;
  int64_t begin = 0;
  for (const int64_t end : bin_ends) {
    SSGPT_CHECK(end > begin, "a bin ends at {} after {}", end, begin);
    points.push_back({.first = begin, .last = end - 1});
    begin = end;
  }
  SSGPT_CHECK(!points.empty(), "no bins");
  return points;
}

std::vector<int64_t> default_bin_ends(int64_t trained_length, int64_t max_length) {
  SSGPT_CHECK(trained_length > 0 && max_length > 0, "bins of a trained length of {} up to {}", trained_length,
              max_length);
  std::vector<int64_t> ends;
  for (const int64_t end : {trained_length / 4, trained_length / 2}) {
    if (end > (ends.empty() ? 0 : ends.back()) && end < max_length) ends.push_back(end);
  }
  for (int64_t end = trained_length; end < max_length; end *= 2) {
    ends.push_back(end);
    if (end > max_length / 2) break;
  }
  ends.push_back(max_length);
  return ends;
}

std::vector<int64_t> equal_bin_ends(int64_t width, int64_t max_length) {
  SSGPT_CHECK(width > 0 && max_length > 0, "bins of {} up to {}", width, max_length);
  std::vector<int64_t> ends;
  for (int64_t end = width; end < max_length; end += width) {
    ends.push_back(end);
    if (end > max_length - width) break;
  }
  ends.push_back(max_length);
  return ends;
}

}  // namespace ssgpt::evaluation
