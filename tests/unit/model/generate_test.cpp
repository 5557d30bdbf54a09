#include "model/generate.h"

#include "core/error.h"
#include "model/support.h"

#include <algorithm>
#include <limits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

const std::vector<int64_t> kPrompt = {5, 1, 30};

class Generate : public testing::Test {
 protected:
  Generate() : gpt(small_spec(Kind::kSsmax), {}) { randomize(gpt.parameters(), 5); }

  std::vector<std::vector<int64_t>> tokens(const GenerationOptions& options) {
    std::vector<std::vector<int64_t>> result;
    for (const GeneratedSample& sample : generate(gpt, kPrompt, options).samples)
      result.push_back(sample.tokens);
    return result;
  }

  // A temperature at which every token has its chance.
  const GenerationOptions hot = {.sampling = {.temperature = 5.0, .top_k = 0, .top_p = 1.0},
                                 .seed = 1,
                                 .max_tokens = 30,
                                 .num_samples = 1,
                                 .stop_token = {}};
  GPT gpt;
};

TEST_F(Generate, GreedyTokensAreTheLikeliestOfTheFullForward) {
  GPTSpec longer = small_spec(Kind::kSsmax);
  longer.sequence_length = 40;
  GPT wide(longer, {});
  wide.parameters().flat_master().copy_(gpt.parameters().flat_master());
  GenerationOptions options = hot;
  options.sampling.temperature = 0.0;
  options.num_samples = 2;
  const auto samples = tokens(options);
  EXPECT_EQ(samples[0], samples[1]);
  std::vector<int64_t> sequence = kPrompt;
  for (const int64_t token : samples[0]) {
    const at::Tensor input =
        at::from_blob(sequence.data(), {1, static_cast<int64_t>(sequence.size())}, at::kLong);
    EXPECT_EQ(wide.logits(input).select(1, input.size(1) - 1).argmax().item<int64_t>(), token);
    sequence.push_back(token);
  }
}

TEST_F(Generate, ASampleIsAFunctionOfTheSeedAndItsNumberAlone) {
  GenerationOptions options = hot;
  options.num_samples = 4;
  const auto four = tokens(options);
  EXPECT_NE(four[0], four[1]);
  options.num_samples = 2;
  const auto two = tokens(options);
  EXPECT_EQ(two[0], four[0]);
  EXPECT_EQ(two[1], four[1]);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_EQ(tokens(options), two);
  at::set_num_threads(threads);
  options.seed = 2;
  EXPECT_NE(tokens(options)[0], two[0]);
  // A shorter sample is the beginning of a longer one.
  options = hot;
  options.max_tokens = 9;
  EXPECT_EQ(tokens(options)[0], std::vector<int64_t>(four[0].begin(), four[0].begin() + 9));
}

TEST_F(Generate, ASampleEndsWithTheStopTokenAndTheOthersGoOn) {
  GenerationOptions options = hot;
  options.num_samples = 3;
  const auto endless = tokens(options);
  options.stop_token = endless[1][4];
  std::vector<std::vector<int64_t>> seen(3);
  const Generation result =
      generate(gpt, kPrompt, options, [&](size_t sample, int64_t token) { seen[sample].push_back(token); });
  for (size_t i = 0; i < 3; ++i) {
    const auto stop = std::find(endless[i].begin(), endless[i].end(), *options.stop_token);
    const bool stops = stop != endless[i].end();
    EXPECT_EQ(result.samples[i].tokens, std::vector<int64_t>(endless[i].begin(), stops ? stop + 1 : stop));
    EXPECT_EQ(result.samples[i].stopped, stops);
    EXPECT_EQ(seen[i], result.samples[i].tokens) << "each token is handed out once, in order";
  }
}

TEST_F(Generate, RefusesAModelWhoseWeightsAreNotFinite) {
  gpt.parameters().master("model.norm.weight").fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(generate(gpt, kPrompt, hot), core::RunError);
}

TEST(MostNewTokens, IsBoundedByALearnedPositionAlone) {
  EXPECT_EQ(most_new_tokens(small_spec(Kind::kSsmax), 5), std::nullopt);
  const GPTSpec spec = small_spec(Kind::kLearnedPn);  // 11 entries
  EXPECT_EQ(most_new_tokens(spec, 5), 7);             // reads 5 and 6 more; the seventh is read by nobody
  EXPECT_EQ(most_new_tokens(spec, 11), 1);
  EXPECT_EQ(most_new_tokens(spec, 12), 0);
  GPT gpt(spec, {});
  randomize(gpt.parameters(), 5);
  GenerationOptions options;
  options.max_tokens = 7;
  const Generation result = generate(gpt, std::vector<int64_t>{1, 2, 3, 4, 5}, options);
  EXPECT_EQ(result.samples[0].tokens.size(), 7u);
}

}  // namespace
}  // namespace ssgpt::model
