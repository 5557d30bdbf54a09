// Samples that cannot be written do not end the training.
#include "train/samples.h"

#include "core/temporary_directory.h"
#include "tokenizer/small_tokenizer.h"
#include "tokenizer/tokenizer.h"

#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::train {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr int64_t kPieces = 290;

// While it lives, tensors on the CPU find no memory left, as on a full GPU.
class NoMemory : public c10::Allocator {
 public:
  NoMemory() : before_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, kAboveTheRest); }
  ~NoMemory() override { c10::SetCPUAllocator(before_, kAboveTheRest); }
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;

  c10::DataPtr allocate(size_t bytes) override {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "out of memory: ", bytes);
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    before_->copy_data(to, from, bytes);
  }

 private:
  static constexpr uint8_t kAboveTheRest = 255;
  c10::Allocator* const before_;
};

class Samples : public testing::Test {
 protected:
  Samples() : writer_(config(), data()), model_(spec(), {}) { model_.parameters().initialize(/*seed=*/1); }

  static config::Config config() {
    config::Config config;
    config.evaluate.samples.prompts = {"the word"};
    config.evaluate.samples.max_tokens = 4;
    return config;
  }
  start::DataSources data() const {
    start::DataSources data;
    tokenizer::testing::train_small_tokenizer(folder_ / "t.model", kPieces);
    data.tokenizer = std::make_shared<const tokenizer::Tokenizer>(folder_ / "t.model");
    data.prompts = {{260, 270, 280}};
    return data;
  }
  static model::GPTSpec spec() {
    model::GPTSpec spec;
    spec.config.vocab_size = kPieces;
    spec.config.hidden_size = 16;
    spec.config.num_hidden_layers = 1;
    spec.config.num_attention_heads = 2;
    spec.config.intermediate_size = 24;
    spec.sequence_length = 12;
    return spec;
  }
  // What a call that writes none warns of.
  std::string warning(int64_t step) {
    testing::internal::CaptureStderr();
    EXPECT_TRUE(writer_.write_if_possible(model_, step).empty());
    return testing::internal::GetCapturedStderr();
  }

  const TemporaryDirectory folder_;
  SampleWriter writer_;
  model::GPT model_;
};

TEST_F(Samples, AreWrittenForEachPrompt) {
  const std::vector<TextSample> samples = writer_.write_if_possible(model_, 1);
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].prompt, "the word");
}

TEST_F(Samples, AreLeftOutWithAWarningWhereNoMemoryIsLeft) {
  {
    const NoMemory full;
    EXPECT_THAT(warning(7), AllOf(HasSubstr("Step 7: no samples"), HasSubstr("memory")));
  }
  EXPECT_EQ(writer_.write_if_possible(model_, 8).size(), 1u);
}

TEST_F(Samples, AreLeftOutWithAWarningWhereLogitsAreNotFinite) {
  model_.parameters().flat_master().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(warning(9), HasSubstr("Step 9: no samples"));
}

}  // namespace
}  // namespace ssgpt::train
