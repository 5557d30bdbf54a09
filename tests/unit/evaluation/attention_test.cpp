// Attention by position against the explicit softmax of the specification in float64.

#include "evaluation/attention.h"

#include "core/error.h"
#include "core/temporary_directory.h"
#include "evaluation/load_model.h"
#include "evaluation/models.h"
#include "evaluation/windows.h"
#include "model/reference.h"
#include "model/support.h"

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/xlogy.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

using report::AttentionFigure;
using report::AttentionLayer;
using report::AttentionValues;
using testing::ElementsAre;
using testing::Pair;

// Means of some nats and units, from fp32 scores that are off by some 1e-6 of them.
constexpr double kAttentionTolerance = 1e-4;

AttentionValues measure_attention(model::GPT& gpt, const data::TokenSource& source,
                                  const PositionRequest& request) {
  return attention_by_position(gpt, source, windows_for(gpt, source, request), request);
}

// n of each query, int64 (B, T), where `end` ends a document; a negative one ends none.
at::Tensor keys_seen(const at::Tensor& tokens, int64_t end) {
  const at::Tensor seen = at::empty(tokens.sizes(), at::kLong);
  for (int64_t b = 0; b < tokens.size(0); ++b) {
    int64_t n = 0;
    for (int64_t t = 0; t < tokens.size(1); ++t) {
      seen.mutable_data_ptr<int64_t>()[b * tokens.size(1) + t] = ++n;
      if (tokens[b][t].item<int64_t>() == end) n = 0;
    }
  }
  return seen;
}

// The figures of every query, fp64 (4, B, N, T), in the order of report::kAttentionFigures.
at::Tensor figures_of_queries(const model::ReferenceAttention& attention, const at::Tensor& seen) {
  const at::Tensor weights = attention.weights.detach();
  const at::Tensor first = at::empty(weights.sizes().slice(0, 3), at::kDouble);
  for (int64_t b = 0; b < weights.size(0); ++b) {
    for (int64_t t = 0; t < weights.size(2); ++t) {
      const int64_t column = t + 1 - seen[b][t].item<int64_t>();
      first[b].select(1, t).copy_(weights[b].select(1, t).select(1, column));
    }
  }
  return at::stack({-at::xlogy(weights, weights).sum({3}), weights.amax({3}), first,
                    attention.factors.detach().expand(first.sizes())});
}

void expect_layer(const AttentionLayer& layer, const at::Tensor& figures, const std::vector<int64_t>& ends) {
  ASSERT_EQ(static_cast<int64_t>(layer.heads.size()), figures.size(2));
  for (size_t figure = 0; figure < report::kNumAttentionFigures; ++figure) {
    SCOPED_TRACE(fmt::format("figure {}", figure));
    const at::Tensor of_queries = figures[static_cast<int64_t>(figure)];  // (B, N, T)
    expect_bins(layer.mean[figure], of_queries.mean(1), ends, kAttentionTolerance);
    int64_t begin = 0;
    for (size_t bin = 0; bin < ends.size(); ++bin) {
      const at::Tensor part = of_queries.narrow(2, begin, ends[bin] - begin);
      for (size_t head = 0; head < layer.heads.size(); ++head) {
        EXPECT_NEAR(layer.heads[head][figure][bin],
                    part.select(1, static_cast<int64_t>(head)).mean().item<double>(), kAttentionTolerance)
            << "bin " << bin << ", head " << head;
      }
      begin = ends[bin];
    }
  }
}

class AttentionByPosition : public LongText {};

class AttentionOfKind
    : public AttentionByPosition,
      public testing::WithParamInterface<std::tuple<config::AttentionKind, double, double, int64_t>> {};

TEST_P(AttentionOfKind, IsThatOfAFullForwardInFloat64) {
  const auto [kind, theta, row_scale, end] = GetParam();
  const std::optional<int64_t> document = end < 0 ? std::nullopt : std::optional<int64_t>(end);
  const LoadedModel loaded =
      load_model(write_checkpoint(directory_.path(), kind, document),
                 {.sequence_length = kLong,
                  .overrides = {.rope_theta = theta, .row_scale = row_scale, .extend_pn = true}});
  model::GPTSpec spec = model::small_spec(kind, document);
  spec.trained_length = kTrainedLength;
  spec.sequence_length = kLong;
  spec.config.rope_theta = theta;
  spec.rope_change.score_factor = row_scale;
  const model::Reference reference(spec, loaded.model->parameters(), at::kDouble);
  const at::Tensor rows = windows_at(tokens_, {0, kLong, 2 * kLong, 3 * kLong}, kLong).tokens;
  const at::Tensor seen = keys_seen(rows, end);
  const bool whole_windows = seen.select(1, kLong - 1).eq(kLong).all().item<bool>();
  ASSERT_EQ(whole_windows, end < 0);
  const std::vector<model::ReferenceAttention> expected = reference.attentions(rows);
  const std::vector<int64_t> ends = {1, 5, kTrainedLength, 30, kLong};  // no multiples of anything
  const AttentionValues values = measure_attention(*loaded.model, source_, {.bin_ends = ends});
  ASSERT_EQ(values.layers.size(), expected.size());
  for (size_t layer = 0; layer < expected.size(); ++layer)
    expect_layer(values.layers[layer], figures_of_queries(expected[layer], seen), ends);
  // Attention to all keys alike, over the same queries.
  const at::Tensor n = seen.to(at::kDouble);
  int64_t begin = 0;
  for (size_t bin = 0; bin < ends.size(); ++bin) {
    const at::Tensor part = n.narrow(1, begin, ends[bin] - begin);
    EXPECT_NEAR(values.even_entropy[bin], part.log().mean().item<double>(), 1e-6);
    EXPECT_NEAR(values.even_weight[bin], part.reciprocal().mean().item<double>(), 1e-6);
    begin = ends[bin];
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, AttentionOfKind,
                         testing::Combine(testing::ValuesIn(model::all_kinds()), testing::Values(500000.0),
                                          testing::Values(1.0, 1.5), testing::Values(-1, 3)),
                         [](const auto& variant) {
                           return fmt::format("{}{}{}", config::to_string(std::get<0>(variant.param)),
                                              std::get<2>(variant.param) == 1.0 ? "" : "_scaled",
                                              std::get<3>(variant.param) < 0 ? "" : "_documents");
                         });

TEST_F(AttentionByPosition, DoesNotDependOnTheBatch) {
  const LoadedModel loaded =
      load_model(write_checkpoint(directory_.path(), config::AttentionKind::kSsmaxBias), {});
  PositionRequest request{.bin_ends = {3, kTrainedLength}, .batch_size = 1};
  const AttentionValues one = measure_attention(*loaded.model, source_, request);
  EXPECT_EQ(one.layers[0].mean[0][0].trials.size(), 18u);
  for (const int64_t batch_size : {3, 100, 0}) {  // the last batch is smaller
    request.batch_size = batch_size;
    const AttentionValues other = measure_attention(*loaded.model, source_, request);
    for (size_t layer = 0; layer < one.layers.size(); ++layer) {
      EXPECT_EQ(other.layers[layer].heads, one.layers[layer].heads);
      for (size_t figure = 0; figure < report::kNumAttentionFigures; ++figure) {
        EXPECT_EQ(other.layers[layer].mean[figure][1].trials, one.layers[layer].mean[figure][1].trials);
      }
    }
    EXPECT_EQ(other.even_entropy, one.even_entropy);
  }
}

TEST_F(AttentionByPosition, OfAModelWithoutPreferencesIsSpreadEvenly) {
  model::GPTSpec spec = model::small_spec(config::AttentionKind::kSoftmax);
  spec.sequence_length = kLong;
  model::GPT gpt(spec, {});  // all weights are zero, and all scores
  const AttentionValues values = measure_attention(gpt, source_, {.bin_ends = equal_bin_ends(10, kLong)});
  for (const AttentionLayer& layer : values.layers) {
    for (size_t bin = 0; bin < values.even_entropy.size(); ++bin) {
      EXPECT_NEAR(layer.mean[0][bin].mean, values.even_entropy[bin], 1e-6);
      EXPECT_NEAR(layer.mean[1][bin].mean, values.even_weight[bin], 1e-7);
      EXPECT_NEAR(layer.mean[2][bin].mean, values.even_weight[bin], 1e-7);
      EXPECT_EQ(layer.mean[3][bin].mean, 1.0);
    }
  }
}

TEST_F(AttentionByPosition, IsOfWindowsSpreadOverTheData) {
  const LoadedModel loaded =
      load_model(write_checkpoint(directory_.path(), config::AttentionKind::kSsmax), {});
  std::vector<std::pair<int64_t, int64_t>> progress;
  const PositionRequest request{.bin_ends = {kTrainedLength},
                                .max_windows = 3,
                                .batch_size = 2,
                                .on_progress = [&](int64_t done, int64_t total) {
                                  progress.emplace_back(done, total);
                                }};
  const AttentionValues some = measure_attention(*loaded.model, source_, request);
  const AttentionValues all = measure_attention(*loaded.model, source_, {.bin_ends = {kTrainedLength}});
  const std::vector<double>& trials = all.layers[1].mean[0][0].trials;
  EXPECT_THAT(some.layers[1].mean[0][0].trials, ElementsAre(trials[0], trials[6], trials[12]));
  EXPECT_THAT(progress, ElementsAre(Pair(2, 3), Pair(3, 3)));
}

TEST(AttentionOfOtherVocabularies, IsRefused) {
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(100, 60))});
  model::GPT gpt(model::small_spec(config::AttentionKind::kSoftmax), {});
  EXPECT_THROW(measure_attention(gpt, source, {.bin_ends = {kTrainedLength}}), core::InputError);
}

}  // namespace
}  // namespace ssgpt::evaluation
