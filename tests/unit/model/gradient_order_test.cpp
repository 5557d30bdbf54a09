// What forward_backward reports about the gradient while it runs: ranks reduce those elements meanwhile.

#include "model/support.h"

#include <cstring>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::model {
namespace {

using Kind = config::AttentionKind;

// What a call reported, and the values at that moment.
struct Call {
  int64_t offset = 0;
  at::Tensor grad;  // a copy of the whole flat gradient
  double loss_sum = 0.0;
};

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

class GradientOrder : public testing::TestWithParam<std::tuple<Kind, at::ScalarType, bool>> {
 protected:
  GradientOrder() : gpt_(spec(), {.device = at::kCPU, .dtype = std::get<1>(GetParam())}) {
    randomize(gpt_.parameters(), 5);
  }

  static GPTSpec spec() {
    GPTSpec spec = small_spec(std::get<0>(GetParam()));
    spec.config.num_hidden_layers = 3;
    return spec;
  }

  // One step, of two micro-batches where the parameter says so; only the last one is listened to.
  std::vector<Call> run() {
    const bool accumulate = std::get<2>(GetParam());
    const at::Tensor loss_sum = zero_loss();
    if (accumulate) {
      const Batch first = random_batch(2, 11, 37, 8, /*with_negative_targets=*/true);
      gpt_.forward_backward(first.tokens, first.targets, loss_sum);
    }
    const Batch last = random_batch(3, 11, 37, 9, /*with_negative_targets=*/true);
    std::vector<Call> calls;
    gpt_.forward_backward(last.tokens, last.targets, loss_sum, [&](int64_t offset) {
      calls.push_back({offset, gpt_.parameters().flat_grad().clone(), loss_sum.item<double>()});
    });
    final_loss_ = loss_sum.item<double>();
    return calls;
  }

  at::Tensor final_grad() const { return gpt_.parameters().flat_grad(); }

  GPT gpt_;
  double final_loss_ = 0.0;
};

TEST_P(GradientOrder, WhatIsCalledFinalDoesNotChangeAnyMore) {
  const std::vector<Call> calls = run();
  const int64_t size = final_grad().numel();
  for (const Call& call : calls) {
    const int64_t rest = size - call.offset;
    EXPECT_TRUE(same_bits(call.grad.narrow(0, call.offset, rest), final_grad().narrow(0, call.offset, rest)))
        << call.offset;
    EXPECT_EQ(call.loss_sum, final_loss_) << call.offset;
  }
}

TEST_P(GradientOrder, ComesLayerByLayerFromTheEndToTheStart) {
  const std::vector<Call> calls = run();
  ASSERT_EQ(calls.size(), 6u);  // head, final norm, three layers, embedding
  EXPECT_EQ(calls.front().offset, gpt_.parameters().find("lm_head.weight").offset);
  for (size_t i = 1; i < calls.size(); ++i) EXPECT_LT(calls[i].offset, calls[i - 1].offset);
  EXPECT_EQ(calls.back().offset, 0);
}

// Otherwise the first test would hold for a model that reports everything as final at its end.
TEST_P(GradientOrder, IsToldBeforeTheRestIsFinal) {
  const std::vector<Call> calls = run();
  for (size_t i = 0; i + 1 < calls.size(); ++i) {
    const int64_t rest = calls[i].offset - calls[i + 1].offset;
    EXPECT_FALSE(same_bits(calls[i].grad.narrow(0, calls[i + 1].offset, rest),
                           final_grad().narrow(0, calls[i + 1].offset, rest)))
        << calls[i].offset;
  }
  // p_n belongs to all layers. It changes to the last, so it must not stand behind any of them.
  if (!gpt_.parameters().contains("model.ssmax_position")) return;
  const Parameter& position = gpt_.parameters().find("model.ssmax_position");
  for (size_t i = 0; i < 4; ++i) {  // before the first layer's call
    EXPECT_FALSE(same_bits(ParameterStore::view_of(calls[i].grad, position),
                           ParameterStore::view_of(final_grad(), position)))
        << i;
    EXPECT_GT(calls[i].offset, position.offset);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GradientOrder,
                         testing::Combine(testing::ValuesIn(all_kinds()),
                                          testing::Values(at::kFloat, at::kBFloat16), testing::Bool()),
                         [](const auto& variant) {
                           return std::string(config::to_string(std::get<0>(variant.param))) +
                                  (std::get<1>(variant.param) == at::kFloat ? "_fp32" : "_bf16") +
                                  (std::get<2>(variant.param) ? "_accumulated" : "");
                         });

}  // namespace
}  // namespace ssgpt::model
