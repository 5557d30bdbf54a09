// Loss by position against the specification of the model in float64, and against values made by hand.

#include "evaluation/position.h"

#include "core/check.h"
#include "core/error.h"
#include "core/temporary_directory.h"
#include "evaluation/load_model.h"
#include "evaluation/models.h"
#include "evaluation/windows.h"
#include "model/reference.h"
#include "model/support.h"

#include <cmath>
#include <limits>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {
namespace {

std::vector<report::PointValue> measure(model::GPT& gpt, const data::TokenSource& source,
                                        const PositionRequest& request) {
  return losses_by_position(gpt, source, windows_for(gpt, source, request), request);
}

using Kind = config::AttentionKind;
using report::Point;
using report::PointValue;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

// Mean losses of some nats, from fp32 paths that are off by some 1e-6 of them; see gpt_test.cpp.
constexpr double kTolerance = 1e-4;

void expect_equal_bits(const std::vector<PointValue>& a, const std::vector<PointValue>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t bin = 0; bin < a.size(); ++bin) {
    EXPECT_EQ(a[bin].mean, b[bin].mean) << bin;
    EXPECT_EQ(a[bin].standard_error, b[bin].standard_error) << bin;
    EXPECT_EQ(a[bin].trials, b[bin].trials) << bin;
  }
}

class Positions : public LongText {};

class PositionsOfKind : public Positions,
                        public testing::WithParamInterface<std::tuple<Kind, double, double>> {};

TEST_P(PositionsOfKind, AreThoseOfAFullForwardInFloat64) {
  const auto [kind, theta_factor, row_scale] = GetParam();
  const double theta = 10000.0 * theta_factor;
  const LoadedModel loaded =
      load_model(write_checkpoint(directory_.path(), kind),
                 {.sequence_length = kLong,
                  .overrides = {.rope_theta = theta, .row_scale = row_scale, .extend_pn = true}});
  model::GPTSpec spec = model::small_spec(kind);
  spec.trained_length = kTrainedLength;
  spec.sequence_length = kLong;
  spec.config.rope_theta = theta;
  spec.rope_change.score_factor = row_scale;
  const model::Reference reference(spec, loaded.model->parameters(), at::kDouble);
  const std::vector<int64_t> ends = {1, 5, kTrainedLength, 30, kLong};  // no multiples of anything
  const std::vector<PointValue> values = measure(*loaded.model, source_, {.bin_ends = ends});
  const model::Batch batch = windows_at(tokens_, {0, kLong, 2 * kLong, 3 * kLong}, kLong);
  expect_bins(values, reference.losses(batch.tokens, batch.targets), ends, kTolerance);
}

INSTANTIATE_TEST_SUITE_P(Kinds, PositionsOfKind,
                         testing::Combine(testing::ValuesIn(model::all_kinds()), testing::Values(1.0, 50.0),
                                          testing::Values(1.0, 1.5)),
                         [](const auto& variant) {
                           return fmt::format("{}_theta{}{}", config::to_string(std::get<0>(variant.param)),
                                              std::get<1>(variant.param) == 1.0 ? "1" : "50",
                                              std::get<2>(variant.param) == 1.0 ? "" : "_scaled");
                         });

TEST_F(Positions, OfEqualLogitsAreTheLogarithmOfTheVocabulary) {
  model::GPTSpec spec = model::small_spec(Kind::kSsmax);
  spec.sequence_length = kLong;
  model::GPT gpt(spec, {});  // all weights are zero
  for (const PointValue& value : measure(gpt, source_, {.bin_ends = equal_bin_ends(10, kLong)})) {
    EXPECT_NEAR(value.mean, std::log(static_cast<double>(kVocabulary)), 1e-6);  // a logarithm in fp32
    EXPECT_NEAR(value.standard_error, 0.0, 1e-12);
  }
}

TEST_F(Positions, DoNotDependOnTheBatch) {
  for (const Kind kind : {Kind::kSoftmax, Kind::kLearnedPn}) {
    const LoadedModel loaded = load_model(write_checkpoint(directory_.path(), kind), {});
    // 18 windows: the last batch is smaller.
    std::vector<PositionRequest> requests(5, {.bin_ends = {3, kTrainedLength}});
    const int64_t sizes[] = {1, 3, 8, 100, 0};
    for (size_t i = 0; i < requests.size(); ++i) requests[i].batch_size = sizes[i];
    const std::vector<PointValue> one = measure(*loaded.model, source_, requests[0]);
    EXPECT_EQ(one.front().trials.size(), 18u);
    for (const PositionRequest& request : requests) {
      expect_equal_bits(measure(*loaded.model, source_, request), one);
    }
  }
}

TEST_F(Positions, StopAtDocumentsWhereTheModelDoes) {
  const auto path = write_checkpoint(directory_.path(), Kind::kSsmax, /*document_token_id=*/3);
  const LoadedModel loaded = load_model(path, {.sequence_length = kLong});
  model::GPTSpec spec = model::small_spec(Kind::kSsmax, 3);
  spec.sequence_length = kLong;
  const model::Reference reference(spec, loaded.model->parameters(), at::kDouble);
  const model::Batch batch = windows_at(tokens_, {0, kLong, 2 * kLong, 3 * kLong}, kLong);
  ASSERT_TRUE(batch.tokens.eq(3).any().item<bool>());
  const std::vector<int64_t> ends = {20, kLong};
  PositionRequest request{.bin_ends = ends};
  const std::vector<PointValue> values = measure(*loaded.model, source_, request);
  expect_bins(values, reference.losses(batch.tokens, batch.targets), ends, kTolerance);
  request.batch_size = 1;
  expect_equal_bits(measure(*loaded.model, source_, request), values);
}

TEST_F(Positions, AreOfWindowsSpreadOverTheData) {
  const LoadedModel loaded = load_model(write_checkpoint(directory_.path(), Kind::kSsmax), {});
  const std::vector<PointValue> all = measure(*loaded.model, source_, {.bin_ends = {kTrainedLength}});
  std::vector<std::pair<int64_t, int64_t>> progress;
  const PositionRequest request{.bin_ends = {kTrainedLength},
                                .max_windows = 3,
                                .batch_size = 2,
                                .on_progress = [&](int64_t done, int64_t total) {
                                  progress.emplace_back(done, total);
                                }};
  const std::vector<PointValue> some = measure(*loaded.model, source_, request);
  const std::vector<double>& trials = all.front().trials;
  ASSERT_EQ(trials.size(), 18u);
  EXPECT_THAT(some.front().trials, ElementsAre(trials[0], trials[6], trials[12]));
  EXPECT_EQ(some.front().tokens, 3 * kTrainedLength);
  EXPECT_THAT(progress, ElementsAre(Pair(2, 3), Pair(3, 3)));
  const PositionRequest more{.bin_ends = {kTrainedLength}, .max_windows = 1000};
  expect_equal_bits(measure(*loaded.model, source_, more), all);
}

TEST_F(Positions, OneWindowHasNoError) {
  const LoadedModel loaded =
      load_model(write_checkpoint(directory_.path(), Kind::kSoftmax), {.sequence_length = kLong});
  const model::Reference reference(loaded.model->spec(), loaded.model->parameters(), at::kDouble);
  const model::Batch batch = windows_at(tokens_, {0}, kLong);
  const PositionRequest request{.bin_ends = {7, kLong}, .max_windows = 1};
  expect_bins(measure(*loaded.model, source_, request), reference.losses(batch.tokens, batch.targets),
              {7, kLong}, kTolerance);
}

TEST(PositionsOfDocuments, AreOfThoseThatAreLongEnough) {
  // Token 36 ends documents of 12, 3, 13, 1, 30 and 11 tokens, the last without an end; windows take 12.
  std::vector<uint16_t> tokens = some_tokens(70, 36);
  const std::vector<int64_t> starts_behind = {12, 15, 28, 29, 59};
  for (const int64_t start : starts_behind) tokens[static_cast<size_t>(start - 1)] = 36;
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), tokens)});
  const LoadedModel loaded = load_model(write_checkpoint(directory.path(), Kind::kSsmaxBias), {});
  const model::Reference reference(loaded.model->spec(), loaded.model->parameters(), at::kDouble);
  const std::vector<int64_t> ends = {4, kTrainedLength};
  PositionRequest request{.bin_ends = ends, .document_token_id = 36};
  const std::vector<PointValue> values = measure(*loaded.model, source, request);
  const model::Batch batch = windows_at(tokens, {0, 15, 29}, kTrainedLength);
  expect_bins(values, reference.losses(batch.tokens, batch.targets), ends, kTolerance);
  request.batch_size = 1;
  expect_equal_bits(measure(*loaded.model, source, request), values);

  request.max_windows = 1;
  EXPECT_THAT(measure(*loaded.model, source, request).front().trials,
              ElementsAre(values.front().trials.front()));
  // Shards of other ids: the whole text is one document.
  request = {.bin_ends = ends, .document_token_id = 999};
  EXPECT_EQ(measure(*loaded.model, source, request).front().trials.size(), 1u);
}

TEST(PositionsOfDocuments, SayHowLongTheLongestIs) {
  std::vector<uint16_t> tokens = some_tokens(40, 36);
  for (size_t end = 9; end < tokens.size(); end += 10) tokens[end] = 36;
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), tokens)});
  model::GPT gpt(model::small_spec(Kind::kSoftmax), {});
  const PositionRequest request{.bin_ends = {kTrainedLength}, .document_token_id = 36};
  const std::string message = message_of<core::InputError>([&] { measure(gpt, source, request); });
  EXPECT_THAT(message, HasSubstr("no document has 12 tokens"));
  EXPECT_THAT(message, HasSubstr("the longest has 10, of 40 tokens in all"));
}

TEST(PositionsOfShortData, NeedOneWindow) {
  const TemporaryDirectory directory;
  model::GPT gpt(model::small_spec(Kind::kSoftmax), {});
  const PositionRequest request{.bin_ends = {kTrainedLength}};
  {
    const data::TokenSource source({write_tokens(directory.path(), some_tokens(kTrainedLength))});
    EXPECT_THAT(message_of<core::InputError>([&] { measure(gpt, source, request); }),
                HasSubstr("11 tokens in all, but a window of 11 positions and the token after it takes 12"));
  }
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(kTrainedLength + 1))});
  EXPECT_EQ(measure(gpt, source, request).front().tokens, kTrainedLength);
}

TEST(PositionsOfOtherVocabularies, AreRefused) {
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(100, 60))});
  model::GPT gpt(model::small_spec(Kind::kSoftmax), {});
  EXPECT_THROW(measure(gpt, source, {.bin_ends = {kTrainedLength}}), core::InputError);
}

TEST(Bins, EndWhereTheyAreSaidTo) {
  EXPECT_THAT(default_bin_ends(1024, 20000), ElementsAre(256, 512, 1024, 2048, 4096, 8192, 16384, 20000));
  EXPECT_THAT(default_bin_ends(256, 1024), ElementsAre(64, 128, 256, 512, 1024));
  EXPECT_THAT(default_bin_ends(256, 256), ElementsAre(64, 128, 256));
  EXPECT_THAT(default_bin_ends(256, 100), ElementsAre(64, 100));
  EXPECT_THAT(default_bin_ends(256, 10), ElementsAre(10));
  EXPECT_THAT(default_bin_ends(3, 13), ElementsAre(1, 3, 6, 12, 13));
  EXPECT_THAT(default_bin_ends(1, 4), ElementsAre(1, 2, 4));
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();  // doubling stops before it overflows
  EXPECT_EQ(default_bin_ends(1, kLargest).size(), 64u);
  EXPECT_THAT(equal_bin_ends(kLargest - 1, kLargest), ElementsAre(kLargest - 1, kLargest));
  EXPECT_THAT(equal_bin_ends(10, 40), ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(equal_bin_ends(10, 41), ElementsAre(10, 20, 30, 40, 41));
  EXPECT_THAT(equal_bin_ends(100, 41), ElementsAre(41));
  EXPECT_THAT(points_of_bins({1, 3, 7}), ElementsAre(Point{0, 0}, Point{1, 2}, Point{3, 6}));
  for (const std::vector<int64_t>& wrong : std::vector<std::vector<int64_t>>{{}, {0}, {3, 3}, {4, 2}}) {
    EXPECT_THROW(points_of_bins(wrong), core::InternalError);
  }
}

}  // namespace
}  // namespace ssgpt::evaluation
