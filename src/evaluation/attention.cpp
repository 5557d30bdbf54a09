#include "evaluation/attention.h"

#include "core/check.h"
#include "evaluation/trials.h"
#include "train/windows.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

namespace ssgpt::evaluation {
namespace {

// Mean of values[begin, end) for each bin.
std::vector<double> bin_means(const float* values, const std::vector<report::Point>& points) {
  std::vector<double> means;
  for (const report::Point& point : points) {
    double sum = 0.0;
    for (int64_t i = point.first; i <= point.last; ++i) sum += static_cast<double>(values[i]);
    means.push_back(sum / static_cast<double>(point.last - point.first + 1));
  }
  return means;
}

void add_to(std::vector<double>& sums, const std::vector<double>& values) {
  sums.resize(values.size(), 0.0);
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

// Accumulates one figure of one layer, window by window.
class FigureSums {
 public:
  FigureSums(size_t num_heads, size_t num_points) : heads_(num_heads), trials_(num_points) {}

  // values: fp32 (N, T) on the CPU, contiguous, of one window.
  void add_window(const float* values, int64_t time, const std::vector<report::Point>& points) {
    std::vector<double> over_heads(points.size(), 0.0);
    for (size_t head = 0; head < heads_.size(); ++head) {
      const std::vector<double> means = bin_means(values + static_cast<int64_t>(head) * time, points);
      add_to(heads_[head], means);
      add_to(over_heads, means);
    }
    for (size_t i = 0; i < points.size(); ++i)
      trials_[i].push_back(over_heads[i] / static_cast<double>(heads_.size()));
  }

  std::vector<report::PointValue> take_mean(const std::vector<report::Point>& points) {
    std::vector<report::PointValue> values;
    for (size_t i = 0; i < points.size(); ++i)
      values.push_back(value_of_trials(std::move(trials_[i]), points[i].last - points[i].first + 1));
    return values;
  }

  std::vector<double> head_means(size_t head, size_t num_windows) const {
    std::vector<double> means = heads_[head];
    for (double& mean : means) mean /= static_cast<double>(num_windows);
    return means;
  }

 private:
  std::vector<std::vector<double>> heads_;   // by head and bin: sum over windows
  std::vector<std::vector<double>> trials_;  // by bin and window: mean over heads
};

using LayerSums = report::PerAttentionFigure<FigureSums>;

LayerSums make_layer_sums(size_t num_heads, size_t num_points) {
  const FigureSums empty(num_heads, num_points);
  return {empty, empty, empty, empty};
}

// In the order of report::kAttentionFigures.
report::PerAttentionFigure<at::Tensor> figures_of(const model::AttentionStatistics& statistics) {
  return {statistics.entropy.cpu(), statistics.largest.cpu(), statistics.first.cpu(),
          statistics.factor.cpu()};
}

void add_batch(const model::AttentionStatistics& statistics, const std::vector<report::Point>& points,
               LayerSums& sums) {
  const report::PerAttentionFigure<at::Tensor> figures = figures_of(statistics);
  for (size_t figure = 0; figure < figures.size(); ++figure) {
    const at::Tensor& values = figures[figure];  // (B, N, T)
    const int64_t time = values.size(2);
    for (int64_t row = 0; row < values.size(0); ++row) {
      sums[figure].add_window(values.const_data_ptr<float>() + row * values.size(1) * time, time, points);
    }
  }
}

// The values for uniform attention over all n keys.
class EvenSpread {
 public:
  // num_keys: int32 (B, T).
  void add_batch(const at::Tensor& num_keys, const std::vector<report::Point>& points) {
    const at::Tensor counts = num_keys.cpu().contiguous();
    const int64_t time = counts.size(1);
    std::vector<float> logs(static_cast<size_t>(time));
    std::vector<float> shares(static_cast<size_t>(time));
    for (int64_t row = 0; row < counts.size(0); ++row) {
      for (int64_t t = 0; t < time; ++t) {
        const auto n = static_cast<float>(counts.const_data_ptr<int32_t>()[row * time + t]);
        logs[static_cast<size_t>(t)] = std::log(n);
        shares[static_cast<size_t>(t)] = 1.0f / n;
      }
      add_to(entropy_, bin_means(logs.data(), points));
      add_to(weight_, bin_means(shares.data(), points));
    }
  }

  void finish(size_t num_windows, report::AttentionValues& values) {
    for (std::vector<double>* sums : {&entropy_, &weight_})
      for (double& sum : *sums) sum /= static_cast<double>(num_windows);
    values.even_entropy = std::move(entropy_);
    values.even_weight = std::move(weight_);
  }

 private:
  std::vector<double> entropy_, weight_;
};

report::AttentionLayer finish_layer(LayerSums& sums, size_t num_heads, size_t num_windows,
                                    const std::vector<report::Point>& points) {
  report::AttentionLayer layer;
  layer.heads.resize(num_heads);
  for (size_t figure = 0; figure < sums.size(); ++figure) {
    layer.mean[figure] = sums[figure].take_mean(points);
    for (size_t head = 0; head < num_heads; ++head)
      layer.heads[head][figure] = sums[figure].head_means(head, num_windows);
  }
  return layer;
}

// For each point, the mean over layers, window by window.
std::vector<report::PointValue> over_layers(const std::vector<report::AttentionLayer>& layers,
                                            size_t figure) {
  std::vector<report::PointValue> values;
  for (size_t point = 0; point < layers.front().mean[figure].size(); ++point) {
    const report::PointValue& first = layers.front().mean[figure][point];
    std::vector<double> trials(first.trials.size(), 0.0);
    for (const report::AttentionLayer& layer : layers) {
      for (size_t i = 0; i < trials.size(); ++i) trials[i] += layer.mean[figure][point].trials[i];
    }
    for (double& trial : trials) trial /= static_cast<double>(layers.size());
    const auto tokens = first.tokens / static_cast<int64_t>(trials.size());
    values.push_back(value_of_trials(std::move(trials), tokens));
  }
  return values;
}

}  // namespace

report::AttentionValues attention_by_position(model::GPT& model, const data::TokenSource& source,
                                              std::span<const int64_t> windows,
                                              const PositionRequest& request) {
  const std::vector<report::Point> points = points_of_bins(request.bin_ends);
  const int64_t length = request.bin_ends.back();
  const config::ModelConfig& config = model.spec().config;
  SSGPT_CHECK(length <= model.spec().sequence_length, "windows of {} tokens, the model holds {}", length,
              model.spec().sequence_length);
  SSGPT_CHECK(!windows.empty(), "no windows");
  const auto num_heads = static_cast<size_t>(config.num_attention_heads);
  const auto batch_size = static_cast<size_t>(batch_size_of(request.batch_size, length));
  std::vector<LayerSums> layers(static_cast<size_t>(config.num_hidden_layers),
                                make_layer_sums(num_heads, points.size()));
  EvenSpread even;
  train::WindowReader reader(source, length, config.vocab_size);
  for (size_t first = 0; first < windows.size(); first += batch_size) {
    const size_t rows = std::min(batch_size, windows.size() - first);
    const train::TensorBatch& batch = reader.read(windows.subspan(first, rows));
    model.attention_statistics(batch.inputs,
                               [&](int64_t layer, const model::AttentionStatistics& statistics) {
                                 if (layer == 0) even.add_batch(statistics.num_keys, points);
                                 add_batch(statistics, points, layers[static_cast<size_t>(layer)]);
                               });
    if (request.on_progress) {
      request.on_progress(static_cast<int64_t>(first + rows), static_cast<int64_t>(windows.size()));
    }
  }
  report::AttentionValues values;
  even.finish(windows.size(), values);
  for (LayerSums& sums : layers)
    values.layers.push_back(finish_layer(sums, num_heads, windows.size(), points));
  for (size_t figure = 0; figure < values.mean.size(); ++figure)
    values.mean[figure] = over_layers(values.layers, figure);
  return values;
}

}  // namespace ssgpt::evaluation
