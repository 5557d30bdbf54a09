#include "train/validation.h"

#include "core/error.h"
#include "core/file.h"
#include "core/profile.h"
#include "core/temporary_directory.h"
#include "parallel/ranks.h"
#include "train/batch.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

namespace ssgpt::train {
namespace {

constexpr int64_t kVocabulary = 50;
constexpr int64_t kLength = 12;

model::GPTSpec small_spec() {
  model::GPTSpec spec;
  spec.config.vocab_size = kVocabulary;
  spec.config.hidden_size = 16;
  spec.config.num_hidden_layers = 2;
  spec.config.num_attention_heads = 2;
  spec.config.intermediate_size = 24;
  spec.config.initializer_range = 0.5;
  spec.sequence_length = kLength;
  return spec;
}

// nanoGPT's format: uint16 and nothing else.
std::filesystem::path write_tokens(const std::filesystem::path& directory,
                                   const std::vector<uint16_t>& tokens) {
  const std::filesystem::path path = directory / "tokens.bin";
  core::AtomicFile file(path);
  file.write(std::as_bytes(std::span(tokens)));
  file.commit();
  return path;
}

std::vector<uint16_t> some_tokens(int64_t count) {
  std::vector<uint16_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<uint16_t>((i * i + 7 * i) % kVocabulary));
  return tokens;
}

TEST(FillBatch, ShiftsTargetsByOne) {
  const std::vector<int32_t> tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  TensorBatch batch;
  fill_batch(tokens, /*rows=*/2, /*columns=*/4, batch);
  EXPECT_EQ(batch.inputs.size(1), 3);
  EXPECT_EQ(batch.inputs[1][0].item<int64_t>(), 5);
  EXPECT_EQ(batch.targets[1][0].item<int64_t>(), 6);
  EXPECT_EQ(batch.targets[0][2].item<int64_t>(), 4);
}

TEST(MeanWindowLoss, EqualsThePlainFormulaOverConsecutiveWindows) {
  const TemporaryDirectory directory;
  const std::vector<uint16_t> tokens = some_tokens(5 * kLength + 1);
  const data::TokenSource source({write_tokens(directory.path(), tokens)});
  model::GPT model(small_spec(), {});
  model.parameters().initialize(/*seed=*/3);

  std::vector<double> sums;
  for (size_t window = 0; window < 5; ++window) {
    std::vector<int32_t> ids(tokens.begin() + static_cast<int64_t>(window) * kLength,
                             tokens.begin() + static_cast<int64_t>(window + 1) * kLength + 1);
    TensorBatch batch;
    fill_batch(ids, /*rows=*/1, kLength + 1, batch);
    const at::Tensor log_probability = at::log_softmax(model.logits(batch.inputs).to(at::kDouble), -1);
    double sum = 0.0;
    for (int64_t t = 0; t < kLength; ++t) {
      sum -= log_probability[0][t][batch.targets[0][t].item<int64_t>()].item<double>();
    }
    sums.push_back(sum);
  }
  double mean = 0.0;
  for (const double sum : sums) mean += sum / (5.0 * kLength);
  double variance = 0.0;
  for (const double sum : sums) variance += std::pow(sum / kLength - mean, 2) / 4.0;

  parallel::Communicator alone;
  // A batch of two leaves a last batch of one. The losses are fp32, the reference fp64 on fp32 logits.
  for (const int64_t batch_size : {1, 2, 5, 8}) {
    const WindowLoss result = mean_window_loss(model, source, /*num_windows=*/5, batch_size, alone);
    EXPECT_EQ(result.tokens, 5 * kLength);
    EXPECT_NEAR(result.loss, mean, 1e-5 * mean);
    EXPECT_NEAR(result.stderr_, std::sqrt(variance / 5.0), 1e-4 * mean);
  }
}

TEST(MeanWindowLoss, IsTheSameWhereThereAreFewerWindowsThanRanks) {
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(3 * kLength + 1))});
  const auto evaluate = [&](int64_t batch_size, parallel::Communicator& communicator) {
    model::GPT model(small_spec(), {});
    model.parameters().initialize(/*seed=*/3);
    return mean_window_loss(model, source, /*num_windows=*/3, batch_size, communicator);
  };
  parallel::Communicator alone;
  const WindowLoss expected = evaluate(/*batch_size=*/1, alone);
  // One window a rank and a rank without; two on one rank, one on another, and two without.
  for (const int64_t batch_size : {1, 2}) {
    EXPECT_EQ(parallel::run_ranks(4,
                                  [&](parallel::Communicator& communicator) {
                                    const WindowLoss result = evaluate(batch_size, communicator);
                                    EXPECT_EQ(result.loss, expected.loss) << communicator.rank();
                                    EXPECT_EQ(result.stderr_, expected.stderr_) << communicator.rank();
                                    EXPECT_EQ(result.tokens, expected.tokens) << communicator.rank();
                                  }),
              parallel::nothing_thrown(4));
  }
}

// A model that trains holds buffers for whole micro-batches; a smaller batch would take their place.
TEST(MeanWindowLoss, AModelInTrainingHasWholeBatchesAlone) {
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(5 * kLength + 1))});
  parallel::Communicator alone;
  std::vector<double> losses;
  for (const bool for_training : {true, false}) {
    model::Execution execution;
    execution.for_training = for_training;
    model::GPT model(small_spec(), execution);
    model.parameters().initialize(/*seed=*/3);
    core::HostProfile profile;
    const core::ListenToProfile listening(profile);
    losses.push_back(mean_window_loss(model, source, /*num_windows=*/5, /*batch_size=*/2, alone).loss);
    const auto embedding = std::find_if(profile.entries().begin(), profile.entries().end(),
                                        [](const auto& entry) { return entry.name == "embedding"; });
    ASSERT_NE(embedding, profile.entries().end());
    EXPECT_EQ(embedding->calls, 3);
    // Rows of 16 fp32 values, read and written.
    const double windows = embedding->work.bytes / (2.0 * 4 * 16 * kLength);
    EXPECT_DOUBLE_EQ(windows, for_training ? 6.0 : 5.0);
  }
  EXPECT_EQ(losses[0], losses[1]);
}

TEST(MeanWindowLoss, RefusesMoreWindowsThanThereAre) {
  const TemporaryDirectory directory;
  const data::TokenSource source({write_tokens(directory.path(), some_tokens(2 * kLength + 1))});
  model::GPT model(small_spec(), {});
  parallel::Communicator alone;
  EXPECT_THROW(mean_window_loss(model, source, /*num_windows=*/3, /*batch_size=*/1, alone), core::InputError);
}

}  // namespace
}  // namespace ssgpt::train
