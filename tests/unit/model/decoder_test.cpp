// Decoding with a cache against the full forward of the same tokens.

#include "model/decoder.h"

#include "core/check.h"
#include "model/reference.h"
#include "model/support.h"

#include <span>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>
#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

std::span<const int64_t> row_of(const at::Tensor& tokens, int64_t row) {
  return {tokens.const_data_ptr<int64_t>() + row * tokens.size(1), static_cast<size_t>(tokens.size(1))};
}

std::vector<int64_t> column_of(const at::Tensor& tokens, int64_t column) {
  std::vector<int64_t> result;
  for (int64_t row = 0; row < tokens.size(0); ++row)
    result.push_back(row_of(tokens, row)[static_cast<size_t>(column)]);
  return result;
}

// Logits after position `prefix` - 1 and all later ones, fp32 (B, T - prefix + 1, V): the first `prefix`
// tokens, which all rows share, in pieces that end at `ends`, then one token after the other.
at::Tensor decode(Decoder& decoder, const at::Tensor& tokens, const std::vector<size_t>& ends) {
  std::vector<at::Tensor> columns;
  size_t begin = 0;
  for (const size_t end : ends) {
    const at::Tensor logits = decoder.prefill(row_of(tokens, 0).subspan(begin, end - begin));
    if (end == ends.back()) columns.push_back(logits.clone());
    begin = end;
  }
  for (auto t = static_cast<int64_t>(begin); t < tokens.size(1); ++t) {
    columns.push_back(decoder.step(column_of(tokens, t)).clone());
  }
  return at::stack(columns, 1);
}

class Decoding : public testing::TestWithParam<Variant> {
 protected:
  Kind kind() const { return GetParam().kind; }
  // Random rows over 7 tokens have several ends of documents.
  GPTSpec spec() const { return GetParam().spec(); }
};

TEST_P(Decoding, LogitsAreThoseOfTheFullForwardHoweverThePromptIsCut) {
  GPT gpt(spec(), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(1, 11, 7, 6).tokens;
  const at::Tensor expected = gpt.logits(tokens);
  for (const std::vector<size_t>& ends : {std::vector<size_t>{1}, {7}, {11}, {2, 3, 8}, {4, 11}}) {
    Decoder decoder(gpt, 1, 11);
    const at::Tensor logits = decode(decoder, tokens, ends);
    const auto first = static_cast<int64_t>(ends.back()) - 1;
    EXPECT_LT(relative_error(logits, expected.narrow(1, first, 11 - first)), kFp32Tolerance) << ends.back();
    EXPECT_EQ(decoder.length(), 11);
  }
}

TEST_P(Decoding, TurnsByTheSameAnglesWherePositionsAreChanged) {
  GPTSpec changed = spec();
  changed.rope_change = {.yarn = Yarn{.factor = 4.0, .trained_length = 5}, .score_factor = 1.5};
  GPT gpt(changed, {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(1, 11, 7, 6).tokens;
  const at::Tensor expected = gpt.logits(tokens);
  Decoder decoder(gpt, 1, 11);
  EXPECT_LT(relative_error(decode(decoder, tokens, {3}), expected.narrow(1, 2, 9)), kFp32Tolerance);
  GPT plain(spec(), {});
  randomize(plain.parameters(), 5);
  EXPECT_GT(relative_error(plain.logits(tokens), expected), 1e-2) << "the change makes no difference";
}

TEST_P(Decoding, SequencesOfABatchPartAfterTheirPrompt) {
  GPT gpt(spec(), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(4, 11, 7, 7).tokens;
  tokens.narrow(1, 0, 5).copy_(tokens.narrow(0, 0, 1).narrow(1, 0, 5).clone().expand({4, 5}));
  const int64_t spare = kind() == Kind::kLearnedPn ? 0 : 5;  // p_n has no entries beyond its windows
  Decoder decoder(gpt, 4, 11 + spare);
  const at::Tensor logits = decode(decoder, tokens, {2, 5});
  EXPECT_LT(relative_error(logits, gpt.logits(tokens).narrow(1, 4, 7)), kFp32Tolerance);
  EXPECT_THROW(decoder.prefill(row_of(tokens, 0).first(1)), core::InternalError);

  for (int64_t row = 0; row < 4; ++row) {
    Decoder alone(gpt, 1, 11);
    const at::Tensor same = decode(alone, tokens.narrow(0, row, 1), {2, 5});
    EXPECT_TRUE(same[0].equal(logits[row])) << "row " << row << " has other bits in a batch";
  }
}

TEST_P(Decoding, Bfloat16IsAsCloseAsTheFullForward) {
  GPT gpt(spec(), {.device = at::kCPU, .dtype = at::kBFloat16});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(1, 11, 7, 6).tokens;
  ParameterStore rounded(parameter_specs(spec().config, 11), at::kCPU, at::kFloat);
  rounded.flat_master().copy_(gpt.parameters().flat_master());
  for (const Parameter& parameter : rounded.parameters()) {
    const std::string& name = parameter.spec.name;
    if (name.find("ssmax") == std::string::npos) rounded.master(name).copy_(gpt.parameters().compute(name));
  }
  const at::Tensor exact = Reference(spec(), rounded, at::kDouble).logits(tokens);
  Decoder decoder(gpt, 1, 11);
  const double error = relative_error(decode(decoder, tokens, {3}), exact.narrow(1, 2, 9));
  // Roundings of 8 bits in the same places; errors are random, so twice those of the full forward.
  EXPECT_LT(error, 2.0 * relative_error(gpt.logits(tokens), exact) + 0x1p-8);
}

TEST_P(Decoding, GoesOnBeyondTheTrainedWindowsWhereTheKindAllows) {
  GPT gpt(spec(), {});
  randomize(gpt.parameters(), 5);
  if (kind() == Kind::kLearnedPn) {
    EXPECT_THROW(Decoder(gpt, 1, 12), core::InternalError);
    return;
  }
  GPTSpec longer = spec();
  longer.sequence_length = 40;
  GPT wide(longer, {});
  wide.parameters().flat_master().copy_(gpt.parameters().flat_master());
  const at::Tensor tokens = random_batch(1, 40, 7, 8).tokens;
  Decoder decoder(gpt, 1, 40);
  EXPECT_LT(relative_error(decode(decoder, tokens, {25}), wide.logits(tokens).narrow(1, 24, 16)),
            kFp32Tolerance);
  EXPECT_THROW(decoder.step(column_of(tokens, 0)), core::InternalError) << "a full cache takes no more";
}

TEST_P(Decoding, APromptOfManyPiecesIsReadWhole) {
  GPTSpec longer = spec();
  longer.sequence_length = 600;
  GPT gpt(longer, {});
  randomize(gpt.parameters(), 9);
  const at::Tensor tokens = random_batch(1, 600, 7, 10).tokens;
  Decoder decoder(gpt, 2, 600);
  const at::Tensor logits = decoder.prefill(row_of(tokens, 0));
  const at::Tensor expected = gpt.logits(tokens).select(1, 599);
  for (const int64_t row : {0, 1}) {
    EXPECT_LT(relative_error(logits.narrow(0, row, 1), expected), kFp32Tolerance);
  }
}

std::vector<int64_t> columns_of(const at::Tensor& tokens, int64_t begin, int64_t end) {
  std::vector<int64_t> result;
  for (int64_t row = 0; row < tokens.size(0); ++row) {
    const auto part =
        row_of(tokens, row).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

TEST_P(Decoding, SequencesMayHavePromptsOfTheirOwn) {
  GPT gpt(spec(), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(4, 11, 7, 7).tokens;
  Decoder decoder(gpt, 4, 11);
  const at::Tensor first = decoder.prefill_each(columns_of(tokens, 0, 6)).clone();
  const at::Tensor more = decoder.prefill_each(columns_of(tokens, 6, 7)).clone();
  const at::Tensor rest = decoder.score_each(columns_of(tokens, 7, 10));
  const at::Tensor stepped = decoder.step(column_of(tokens, 10)).clone();
  const at::Tensor full = gpt.logits(tokens);
  EXPECT_LT(relative_error(first, full.select(1, 5)), kFp32Tolerance);
  EXPECT_LT(relative_error(more, full.select(1, 6)), kFp32Tolerance);
  EXPECT_LT(relative_error(rest, full.narrow(1, 7, 3)), kFp32Tolerance);
  EXPECT_LT(relative_error(stepped, full.select(1, 10)), kFp32Tolerance);
  EXPECT_THROW(decoder.prefill_each(columns_of(tokens, 0, 1)), core::InternalError);  // no room
  for (int64_t row = 0; row < 4; ++row) {
    Decoder alone(gpt, 1, 11);
    const at::Tensor own = tokens.narrow(0, row, 1);
    EXPECT_TRUE(alone.prefill_each(columns_of(own, 0, 6))[0].equal(first[row])) << row;
    EXPECT_TRUE(alone.prefill(row_of(tokens, row).subspan(6, 1))[0].equal(more[row])) << row;
    EXPECT_TRUE(alone.score_each(columns_of(own, 7, 10))[0].equal(rest[row])) << row;
    EXPECT_TRUE(alone.step(column_of(own, 10))[0].equal(stepped[row])) << row;
  }
}

TEST_P(Decoding, WatchingTheAttentionChangesNothing) {
  Variant variant = GetParam();
  variant.documents = false;
  GPT gpt(variant.spec(), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(3, 11, 7, 7).tokens;
  Decoder plain(gpt, 3, 11);
  Decoder watched(gpt, 3, 11);
  // All that a last token sees has the weight 1, and parts of it add up.
  AttentionWatch all{
      .tokens = {{.first = 0, .count = 11}, {.first = 0, .count = 4}, {.first = 4, .count = 7}}};
  EXPECT_TRUE(plain.prefill_each(columns_of(tokens, 0, 11))
                  .equal(watched.prefill_each(columns_of(tokens, 0, 11), &all)));
  EXPECT_EQ(all.masses.sizes(), at::IntArrayRef({2, 3, 3}));
  EXPECT_LT(all.masses.select(1, 0).sub(1.0).abs().max().item<double>(), 1e-6);
  const at::Tensor rows = tokens.narrow(0, 1, 1).expand({3, 11}).contiguous();
  Decoder same(gpt, 3, 11);
  AttentionWatch parts{
      .tokens = {{.first = 0, .count = 3}, {.first = 3, .count = 7}, {.first = 10, .count = 1}}};
  same.prefill_each(columns_of(rows, 0, 11), &parts);
  EXPECT_LT(parts.masses.sum(1).sub(1.0).abs().max().item<double>(), 1e-6);
  EXPECT_GT(parts.masses.min().item<double>(), 0.0);
  AttentionWatch beyond{
      .tokens = {{.first = 0, .count = 12}, {.first = 0, .count = 4}, {.first = 4, .count = 7}}};
  Decoder other(gpt, 3, 11);
  EXPECT_THROW(other.prefill_each(columns_of(tokens, 0, 11), &beyond), core::InternalError);
}

TEST_P(Decoding, LongPromptsOfABatchHaveTheBitsThatTheyHaveAlone) {
  GPTSpec long_spec = spec();
  long_spec.sequence_length = 560;  // two pieces and a part of one
  GPT gpt(long_spec, {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(5, 560, 37, 8).tokens;
  Decoder decoder(gpt, 5, 560);
  const at::Tensor logits = decoder.prefill_each(columns_of(tokens, 0, 560)).clone();
  EXPECT_LT(relative_error(logits, gpt.logits(tokens).select(1, 559)), kFp32Tolerance);
  for (int64_t row = 0; row < 5; ++row) {
    Decoder alone(gpt, 1, 560);
    EXPECT_TRUE(alone.prefill(row_of(tokens, row))[0].equal(logits[row])) << row;
  }
}

TEST_P(Decoding, GoesBackToAMarkForAnotherContinuation) {
  GPT gpt(spec(), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(3, 11, 7, 9).tokens;
  at::Tensor others = tokens.clone();
  others.narrow(1, 6, 5).fill_(3);  // where token 3 ends documents, each of them does
  Decoder decoder(gpt, 3, 11);
  decoder.prefill_each(columns_of(tokens, 0, 6));
  const Decoder::Mark mark = decoder.mark();
  const at::Tensor before = decoder.score_each(columns_of(tokens, 6, 10));
  decoder.return_to(mark);
  EXPECT_EQ(decoder.length(), 6);
  EXPECT_LT(relative_error(decoder.score_each(columns_of(others, 6, 11)), gpt.logits(others).narrow(1, 6, 5)),
            kFp32Tolerance);
  decoder.return_to(mark);
  EXPECT_TRUE(decoder.score_each(columns_of(tokens, 6, 10)).equal(before));
  decoder.return_to(mark);
  decoder.step(column_of(others, 6));
  decoder.return_to(mark);
  EXPECT_TRUE(decoder.score_each(columns_of(tokens, 6, 10)).equal(before));
  Decoder shorter(gpt, 3, 11);
  EXPECT_THROW(shorter.return_to(mark), core::InternalError);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Decoding, testing::ValuesIn(plain_variants()),
                         [](const auto& variant) { return to_string(variant.param); });
INSTANTIATE_TEST_SUITE_P(Options, Decoding, testing::ValuesIn(variants_of_options()),
                         [](const auto& variant) { return to_string(variant.param); });

TEST(DecoderWeights, FollowTheModel) {
  GPT gpt(small_spec(Kind::kSsmaxBias), {});
  randomize(gpt.parameters(), 5);
  const at::Tensor tokens = random_batch(1, 6, 7, 6).tokens;
  Decoder decoder(gpt, 1, 12);
  randomize(gpt.parameters(), 17);
  EXPECT_LT(relative_error(decoder.prefill(row_of(tokens, 0)), gpt.logits(tokens).select(1, 5)),
            kFp32Tolerance);
}

}  // namespace
}  // namespace ssgpt::model
