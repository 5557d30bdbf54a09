// Stored choices of measured GEMMs read back, or are refused; which candidate the times select.
#include "kernels/product_choices.h"

#include "core/error.h"
#include "core/json_fields.h"
#include "kernels/ops.h"
#include "kernels/product_of.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::kernels {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

ProductChoices some_choices() {
  const ProductShape forward = {.m = 32768,
                                .n = 2304,
                                .k = 768,
                                .b_transposed = true,
                                .bf16_inputs = true,
                                .bf16_out = true,
                                .a_alignment = 64,
                                .b_alignment = 64,
                                .out_alignment = 64};
  const ProductShape weight = {.m = 2304,
                               .n = 768,
                               .k = 32768,
                               .a_transposed = true,
                               .bf16_inputs = true,
                               .a_alignment = 2,
                               .b_alignment = 16,
                               .out_alignment = 4};
  return {.library = {.version = "cuBLASLt 130100", .gpu = "a GPU, 132 multiprocessors"},
          .workspace_bytes = 1 << 20,
          .algorithms = {{forward, {0, 1, ~uint64_t{0}, 0x0123456789abcdef, 4, 5, 6, 7}},
                         {weight, {8, 7, 6, 5, 4, 3, 2, 1}}}};
}

ProductChoices read(const Json& json) {
  return read_product_choices(core::JsonFields("a file", json));
}

std::string message_of(const Json& json) {
  try {
    read(json);
  } catch (const core::InputError& error) {
    return error.what();
  }
  return "taken";
}

TEST(ProductChoices, ReadBackAsTheyWere) {
  const ProductChoices choices = some_choices();
  EXPECT_EQ(read(Json::parse(to_json(choices).dump())), choices);
  ProductChoices none = choices;
  none.algorithms.clear();
  EXPECT_EQ(read(Json::parse(to_json(none).dump())), none);
}

TEST(ProductChoices, WhatNoProgramWritesIsRefusedByItsKey) {
  struct Case {
    const char* pointer;  // JSON pointer of what is changed
    Json value;
    const char* says;
  };
  const std::string digits(128, '0');
  const std::vector<Case> cases = {
      {"/library", 5, "'library'"},
      {"/library", "", "a name"},
      {"/gpu", std::string(100'000, 'x'), "a name"},
      {"/gpu", nullptr, "'gpu' is missing"},
      {"/workspace_bytes", -1, "'workspace_bytes'"},
      {"/workspace_bytes", 0, "from 1 to 1073741824"},
      {"/workspace_bytes", int64_t{1} << 40, "from 1 to 1073741824"},
      {"/shapes", nullptr, "'shapes' is missing"},
      {"/shapes", 7, "'shapes'"},
      {"/shapes", Json::array({1}), "'shapes'"},
      {"/shapes/0/m", 0, "'shapes[0].m'"},
      {"/shapes/1/k", std::numeric_limits<int64_t>::max(), "'shapes[1].k'"},
      {"/shapes/0/n", 1.5, "'shapes[0].n'"},
      {"/shapes/0/a_transposed", 1, "true or false"},
      {"/shapes/0/b_transposed", nullptr, "is missing"},
      {"/shapes/0/inputs", "float16", "bfloat16 or float32"},
      {"/shapes/0/a_alignment", 3, "a power of two"},
      {"/shapes/0/a_alignment", 128, "from 2 to 64"},
      {"/shapes/0/out_alignment", 2, "'shapes[0].out_alignment'"},
      {"/shapes/0/algorithm", digits.substr(1), "128 hexadecimal digits"},
      {"/shapes/0/algorithm", digits + "0", "128 hexadecimal digits"},
      {"/shapes/0/algorithm", digits.substr(1) + "g", "128 hexadecimal digits"},
      {"/shapes/0/algorithm", digits.substr(1) + "A", "128 hexadecimal digits"},
      {"/shapes/0/algorithm", Json::array({1, 2}), "a text"},
  };
  const Json sound = Json::parse(to_json(some_choices()).dump());
  ASSERT_EQ(sound.at("/shapes/0/out"_json_pointer), "float32");  // by rising m
  for (const Case& of : cases) {
    Json damaged = sound;
    damaged.at(Json::json_pointer(of.pointer)) = of.value;
    EXPECT_THAT(message_of(damaged), AllOf(HasSubstr("a file: "), HasSubstr(of.says))) << of.pointer;
  }
  Json twice = sound;
  twice["shapes"].push_back(twice["shapes"][0]);
  EXPECT_THAT(message_of(twice), HasSubstr("names each GEMM once"));
  Json wide = sound;
  wide.at("/shapes/1/inputs"_json_pointer) = "float32";
  EXPECT_THAT(message_of(wide), HasSubstr("'shapes[1].out'"));
  Json many = sound;
  for (int i = 0; i < 1001; ++i) many["shapes"].push_back(sound["shapes"][0]);
  EXPECT_THAT(message_of(many), HasSubstr("at most 1000"));
}

TEST(ProductChoices, LeaveNoOtherWayThanFp32ToAddUp) {
  ProductShape shape{.bf16_inputs = true, .bf16_out = true};
  EXPECT_EQ(choice_terms(shape, 7).reductions, kReduceInFp32);
  EXPECT_EQ(choice_terms(shape, 7).workspace_bytes, 7);
  shape.bf16_out = false;
  EXPECT_EQ(choice_terms(shape, 7).reductions, kReduceAnyhow);
  EXPECT_EQ(choice_terms(shape, 7, /*fp32_reductions=*/3).reductions, 3u);
}

// Candidates with these times, each multiplied by `drift` for every measurement made so far.
class Clock {
 public:
  explicit Clock(std::vector<double> seconds, double drift = 1.0)
      : seconds_(std::move(seconds)), drift_(drift), calls_(seconds_.size()) {}

  std::optional<FastestCandidate> fastest() {
    return fastest_candidate(seconds_.size(), [this](size_t index) -> std::optional<double> {
      ++calls_[index];
      factor_ *= drift_;
      if (seconds_[index] < 0.0) return std::nullopt;
      return seconds_[index] * factor_;
    });
  }
  const std::vector<int>& calls() const { return calls_; }

 private:
  const std::vector<double> seconds_;
  const double drift_;
  double factor_ = 1.0;
  std::vector<int> calls_;
};

TEST(SplitSums, AreOfWholeBlocksOnly) {
  ProductShape shape;
  for (const int64_t k : {128, 768, 8192}) {
    shape.k = k;
    EXPECT_TRUE(is_split_allowed(shape, 1) && is_split_allowed(shape, 2) && is_split_allowed(shape, 16)) << k;
    EXPECT_EQ(reductions_to_ask_for(shape, {.reductions = kReduceAnyhow}), kReduceAnyhow) << k;
    EXPECT_EQ(reductions_to_ask_for(shape, {.reductions = kReduceInFp32}), kReduceInFp32) << k;
  }
  for (const int64_t k : {1, 64, 127, 688, 8192 + 48, 8192 + 64}) {
    shape.k = k;
    EXPECT_TRUE(is_split_allowed(shape, 0) && is_split_allowed(shape, 1)) << k;
    EXPECT_FALSE(is_split_allowed(shape, 2) || is_split_allowed(shape, 16)) << k;
    EXPECT_FALSE(is_split_allowed(shape, ~uint32_t{0}))
        << k;  // a number that cuBLASLt gives a meaning of its own
    EXPECT_EQ(reductions_to_ask_for(shape, {.reductions = kReduceAnyhow}), 0u) << k;
  }
}

TEST(FastestCandidate, IsTheOneWithTheLeastTime) {
  Clock clock({5.0, 4.0, 3.0, 6.0, 2.0, 7.0});
  const auto fastest = clock.fastest();
  ASSERT_TRUE(fastest);
  EXPECT_EQ(fastest->index, 4u);
  EXPECT_EQ(fastest->seconds, 2.0);
  EXPECT_EQ(fastest->first_seconds, 5.0);
  // All once; the first and the best three six times more.
  EXPECT_EQ(clock.calls(), (std::vector<int>{7, 7, 7, 1, 7, 1}));
}

TEST(FastestCandidate, IsTheFirstWhereAnotherGainsLessThanAHundredth) {
  EXPECT_EQ(Clock({1.0, 0.995, 0.991}).fastest()->index, 0u);
  EXPECT_EQ(Clock({1.0, 0.995, 0.989}).fastest()->index, 2u);
  EXPECT_EQ(Clock({1.0}).fastest()->index, 0u);
}

// A clock that slows down by 2 % with every measurement would make whoever is asked first the fastest.
TEST(FastestCandidate, ADriftingClockChangesNothing) {
  for (const double drift : {0.98, 1.02}) {
    EXPECT_EQ(Clock({1.0, 1.0, 1.0, 1.0}, drift).fastest()->index, 0u) << drift;
    EXPECT_EQ(Clock({1.0, 0.8, 1.0, 1.0}, drift).fastest()->index, 1u) << drift;
  }
}

// One measurement of seven is three times too long or too short, at each place in turn.
TEST(FastestCandidate, OneWildMeasurementChangesNothing) {
  for (int wild = 0; wild < 21; ++wild) {
    for (const double factor : {3.0, 1.0 / 3.0}) {
      int call = 0;
      const auto fastest = fastest_candidate(3, [&](size_t index) -> std::optional<double> {
        return (index == 1 ? 0.9 : 1.0) * (call++ == wild ? factor : 1.0);
      });
      ASSERT_TRUE(fastest);
      EXPECT_EQ(fastest->index, 1u) << wild << " " << factor;
      EXPECT_EQ(call, 21);
    }
  }
}

TEST(FastestCandidate, OnesThatFailOrGiveNoTimeAreLeftOut) {
  EXPECT_EQ(Clock({-1.0, 3.0, 2.0}).fastest()->index, 2u);
  EXPECT_EQ(Clock({-1.0, 3.0, 2.0}).fastest()->first_seconds, 3.0);
  EXPECT_EQ(Clock({1.0, 0.0, std::nan("")}).fastest()->index, 0u);
  EXPECT_FALSE(Clock({-1.0, -1.0}).fastest());
  EXPECT_FALSE(Clock({}).fastest());
  // Fails after it was measured once.
  for (const size_t failing : {size_t{0}, size_t{1}}) {
    std::vector<int> calls(2);
    const auto fastest = fastest_candidate(2, [&](size_t index) -> std::optional<double> {
      if (++calls[index] > 1 && index == failing) return std::nullopt;
      return index == 1 ? 0.5 : 1.0;
    });
    EXPECT_EQ(fastest.has_value(), failing == 1);
    if (fastest) {
      EXPECT_EQ(fastest->index, 0u);
    }
  }
}

TEST(ProductRecorder, NotesEachShapeOnceWhileItLives) {
  const at::Tensor a = at::ones({3, 5});
  const at::Tensor b = at::ones({4, 5});
  const at::Tensor out = at::zeros({3, 4});
  const ProductShape shape = with_choice_alignment(product_of(a, b.t(), false, out).shape);
  EXPECT_EQ(std::tuple(shape.m, shape.n, shape.k), std::tuple(3, 4, 5));
  EXPECT_FALSE(shape.a_transposed || shape.bf16_inputs || shape.bf16_out);
  EXPECT_TRUE(shape.b_transposed);
  EXPECT_EQ(shape.out_alignment, 64);  // ATen aligns to 64 bytes
  matrix_product(a, b.t(), /*accumulate=*/false, out);
  const ProductRecorder outer;
  {
    const ProductRecorder recorder;
    matrix_product(a, b.t(), /*accumulate=*/false, out);
    EXPECT_EQ(recorder.shapes(), (std::map<ProductShape, bool>{{shape, false}}));
    matrix_product(a, b.t(), /*accumulate=*/true, out);
    matrix_product(a, b.t(), /*accumulate=*/false, out);
    EXPECT_EQ(recorder.shapes(), (std::map<ProductShape, bool>{{shape, true}}));
  }
  EXPECT_TRUE(outer.shapes().empty());
}

}  // namespace
}  // namespace ssgpt::kernels
