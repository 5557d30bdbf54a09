// The measured step and its statistics. A tiny model: what is tested is the bookkeeping, not a speed.
#include "bench/step.h"

#include "bench/shapes.h"
#include "bench/step_text.h"
#include "core/error.h"
#include "model/accounting.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::bench {
namespace {

StepOptions tiny() {
  return {.config = step_config(
              "quickstart", std::nullopt,
              {"model.vocab_size=96", "model.hidden_size=32", "model.num_hidden_layers=2",
               "model.num_attention_heads=2", "model.intermediate_size=48", "data.sequence_length=16",
               "train.global_batch_size=4", "train.micro_batch_size=2"}),
          .steps = 3,
          .warmup = 1};
}

double flops_of(const StepReport& report) {
  double flops = 0.0;
  for (const core::ProfileEntry& entry : report.profile) flops += entry.work.flops;
  return flops / static_cast<double>(report.seconds.size());
}

TEST(MeasureStep, OperationsAddUpToTheModelsArithmetic) {
  parallel::Communicator alone;
  const StepReport report = measure_step(tiny(), alone);
  const config::Config& config = report.config;
  const auto tokens = static_cast<double>(report.tokens_per_step);
  // The model's count leaves out that the backward of attention makes its scores again: one product of T x T
  // / 2.
  const double scores_again = static_cast<double>(config.data.sequence_length * config.model.hidden_size *
                                                  config.model.num_hidden_layers);
  const double expected = model::flops_per_token(config.model, config.data.sequence_length) + scores_again;
  EXPECT_DOUBLE_EQ(flops_of(report) / tokens, expected);
}

TEST(MeasureStep, PhasesCoverTheStepAndOperationsTheirPhase) {
  parallel::Communicator alone;
  const StepReport report = measure_step(tiny(), alone);
  ASSERT_EQ(report.seconds.size(), 3u);
  const double step = std::accumulate(report.seconds.begin(), report.seconds.end(), 0.0);
  double phases = 0.0;
  std::vector<std::string> names;
  std::vector<double> inside(report.profile.size(), 0.0);
  for (const core::ProfileEntry& entry : report.profile) {
    if (entry.parent < 0) {
      phases += entry.seconds;
      names.emplace_back(entry.name);
    } else {
      inside[static_cast<size_t>(entry.parent)] += entry.seconds;
    }
  }
  EXPECT_THAT(names, ::testing::UnorderedElementsAre("zero the gradient", "fetch", "forward", "head",
                                                     "backward", "reduce", "clip", "update"));
  EXPECT_LE(phases, step);
  EXPECT_GT(phases, 0.5 * step);  // the rest is bookkeeping, and the model is tiny
  for (size_t i = 0; i < report.profile.size(); ++i) EXPECT_LE(inside[i], report.profile[i].seconds);
}

TEST(MeasureStep, CountsTheCallsOfEachMicroBatchAndLayer) {
  parallel::Communicator alone;
  const StepReport report = measure_step(tiny(), alone);
  for (const core::ProfileEntry& entry : report.profile) {
    if (entry.name == "update") {
      EXPECT_EQ(entry.calls, 3);  // steps
    } else if (entry.name == "forward") {
      EXPECT_EQ(entry.calls, 3 * 2);  // and micro-batches
    } else if (entry.name == "qkv GEMM") {
      EXPECT_EQ(entry.calls, 3 * 2 * 2);  // and layers
    }
  }
}

TEST(MeasureStep, JsonHoldsWhatTheTableSays) {
  parallel::Communicator alone;
  const StepReport report = measure_step(tiny(), alone);
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["tokens_per_step"], 64);
  EXPECT_EQ(json["seconds"].size(), 3u);
  EXPECT_NEAR(json["tokens_per_second"].get<double>(), 64.0 / quantile(report.seconds, 0.5), 1e-6);
  EXPECT_NEAR(json["gemm_share"].get<double>(),
              json["tokens_per_second"].get<double>() * json["flops_per_token"].get<double>() /
                  json["ceilings"]["product_flops_per_second"].get<double>(),
              1e-12);
  EXPECT_LE(json["gemm_share"].get<double>(), 1.0);
  EXPECT_FALSE(json.contains("mfu"));  // a CPU has no spec sheet
  const std::string table = to_table(report);
  for (const auto& entry : json["profile"]) {
    EXPECT_THAT(table, ::testing::HasSubstr(entry["name"].get<std::string>()));
  }
}

// Two operations, whose ceilings are arithmetic and traffic, in a phase without work of its own.
StepReport made_up(config::Device device) {
  StepReport report;
  report.config = step_config("quickstart", std::nullopt, {});
  report.config.train.device = device;
  report.config.train.dtype = config::Dtype::kBfloat16;
  report.tokens_per_step = 4096;
  report.flops_per_token = 1e6;
  report.ceilings = {.product_flops = 1e12, .copy_bytes = 1e11};
  report.seconds = {0.010, 0.030};  // mean 20 ms
  report.profiled_steps = 5;
  report.profiled_seconds = 0.125;  // 25 ms each
  report.profile = {{.name = "forward", .parent = -1, .calls = 5, .seconds = 0.100, .work = {}},
                    // 6 ms per step at the ceiling of GEMMs; its traffic would take 1 ms.
                    {.name = "product",
                     .parent = 0,
                     .calls = 60,
                     .seconds = 0.050,
                     .work = {.flops = 5 * 6e9, .bytes = 5 * 1e8}},
                    // 4 ms per step at the ceiling of copies, 20 us taken: its data were in a cache.
                    {.name = "norm",
                     .parent = 0,
                     .calls = 60,
                     .seconds = 0.0001,
                     .work = {.flops = 0.0, .bytes = 5 * 4e8}}};
  report.queue_seconds = 0.005;
  report.device_memory = {.allocated = uint64_t{3} << 30, .reserved = uint64_t{4} << 30};
  return report;
}

TEST(RooflineRatio, AddsUpWhatEachOperationNeedsByTheCeilingThatBoundsIt) {
  EXPECT_NEAR(roofline_ratio(made_up(config::Device::kCpu)), (6e-3 + 4e-3) / 20e-3, 1e-12);
}

TEST(StepTable, HasUnitsOfAGpuAndSaysThatOperationsWereProfiledApart) {
  const std::string table = to_table(made_up(config::Device::kCuda));
  for (const char* part :
       {"1.0 TFLOP/s, copy 100.0 GB/s", "would take 50 % of", "in 5 other steps of 25.0 ms each",
        "5.00 ms to queue a step, 25 % of its time, while the GPU computes",
        "peak 3072 MiB in tensors (4096 MiB", "10.00 ms", "20 \u00b5s", "80.0 %", "60 % GEMM",
        "20000 % copy"}) {
    EXPECT_THAT(table, ::testing::HasSubstr(part)) << table;
  }
}

TEST(StepTable, NamesTheHostWhereTheGpuWaitsForIt) {
  StepReport report = made_up(config::Device::kCuda);
  report.queue_seconds = 0.0195;
  EXPECT_THAT(to_table(report), ::testing::HasSubstr("98 % of its time: the GPU waits for the host"));
}

// 4,096 tokens of 1 MFLOP in 20 ms are 0.2048 TFLOP/s.
TEST(StepTable, HasTheMfuOfAGpuWhoseSpecSheetIsKnown) {
  StepReport report = made_up(config::Device::kCuda);
  report.ceilings.product_flops = 0.8e12;
  EXPECT_THAT(to_table(report), ::testing::AllOf(::testing::HasSubstr("GEMM share 25.6 % of 0.8 TFLOP/s"),
                                                 ::testing::Not(::testing::HasSubstr("MFU"))));
  EXPECT_FALSE(nlohmann::json::parse(to_json(report)).contains("mfu"));
  report.spec_sheet_flops = 1.6e12;
  EXPECT_THAT(to_table(report), ::testing::AllOf(::testing::HasSubstr("GEMM share 25.6 % of 0.8 TFLOP/s"),
                                                 ::testing::HasSubstr("MFU        12.8 % of 1.6 TFLOP/s")));
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_NEAR(json["gemm_share"].get<double>(), 0.256, 1e-12);
  EXPECT_NEAR(json["mfu"].get<double>(), 0.128, 1e-12);
  EXPECT_EQ(json["spec_sheet_flops_per_second"], 1.6e12);
}

TEST(StepTable, OfACpuKnowsNoGpu) {
  const std::string table = to_table(made_up(config::Device::kCpu));
  for (const char* part : {"GFLOP/s", "10.00", "would take 50 % of"}) {
    EXPECT_THAT(table, ::testing::HasSubstr(part)) << table;
  }
  for (const char* part : {"GPU", "queue", "TFLOP", "\u00b5s"}) {
    EXPECT_THAT(table, ::testing::Not(::testing::HasSubstr(part))) << table;
  }
}

TEST(StepJson, HasWhatAGpuAddsOnAGpuAlone) {
  const auto gpu = nlohmann::json::parse(to_json(made_up(config::Device::kCuda)));
  EXPECT_EQ(gpu["device"], "cuda");
  EXPECT_EQ(gpu["device_peak_bytes"], uint64_t{3} << 30);
  EXPECT_EQ(gpu["device_reserved_bytes"], uint64_t{4} << 30);
  EXPECT_NEAR(gpu["queue_seconds_per_step"].get<double>(), 0.005, 1e-12);
  EXPECT_NEAR(gpu["profiled_seconds_per_step"].get<double>(), 0.025, 1e-12);
  EXPECT_NEAR(gpu["roofline_ratio"].get<double>(), 0.5, 1e-12);
  EXPECT_NEAR(gpu["profile"][1]["seconds_per_step"].get<double>(), 0.010, 1e-12);
  EXPECT_EQ(gpu["profile"][1]["calls_per_step"], 12.0);
  const auto cpu = nlohmann::json::parse(to_json(made_up(config::Device::kCpu)));
  EXPECT_EQ(cpu["device"], "cpu");
  EXPECT_FALSE(cpu.contains("device_peak_bytes"));
  EXPECT_FALSE(cpu.contains("queue_seconds_per_step"));
}

TEST(CompareAttention, SaysHowManyStepsAreTakenInTurn) {
  AttentionReport report;
  report.config = step_config("quickstart", std::nullopt, {});
  report.kinds = {config::AttentionKind::kSoftmax};
  report.seconds = {{0.1, 0.1}};
  EXPECT_THAT(to_table(report), ::testing::HasSubstr("2 rounds, one step of each kind in turn"));
  report.steps_in_turn = 10;
  EXPECT_THAT(to_table(report), ::testing::HasSubstr("2 rounds, 10 steps of each kind in turn"));
}

TEST(CompareAttention, MeasuresEachKindInEveryRound) {
  parallel::Communicator alone;
  const std::vector<config::AttentionKind> kinds = {config::AttentionKind::kSoftmax,
                                                    config::AttentionKind::kSsmax};
  const AttentionReport report = compare_attention(tiny(), kinds, alone);
  ASSERT_EQ(report.seconds.size(), 2u);
  EXPECT_EQ(report.seconds[0].size(), 3u);
  EXPECT_EQ(report.seconds[1].size(), 3u);
  EXPECT_THAT(to_table(report), ::testing::HasSubstr("ssmax"));
}

TEST(PairedRatio, IsTheGeometricMeanWithStudentsInterval) {
  // Logarithms 0.1 and 0.3: mean 0.2, standard error 0.1, t(0.975, 1) = 12.7062.
  const PairedRatio ratio = paired_ratio({std::exp(0.1), std::exp(0.3)}, {1.0, 1.0});
  EXPECT_NEAR(std::log(ratio.ratio), 0.2, 1e-12);
  EXPECT_NEAR(std::log(ratio.low), 0.2 - 1.27062, 1e-5);
  EXPECT_NEAR(std::log(ratio.high), 0.2 + 1.27062, 1e-5);
}

TEST(PairedRatio, ADriftThatMeetsBothSidesLeavesNoError) {
  const PairedRatio ratio = paired_ratio({1.1, 2.2, 4.4, 8.8}, {1.0, 2.0, 4.0, 8.0});
  EXPECT_NEAR(ratio.low, 1.1, 1e-9);
  EXPECT_NEAR(ratio.high, 1.1, 1e-9);
}

TEST(PairedRatio, OneRoundKnowsNoInterval) {
  const PairedRatio ratio = paired_ratio({2.0}, {1.0});
  EXPECT_EQ(ratio.ratio, 2.0);
  EXPECT_EQ(ratio.low, 0.0);
  EXPECT_EQ(ratio.high, std::numeric_limits<double>::infinity());
}

TEST(Quantile, InterpolatesBetweenTheSortedValues) {
  EXPECT_EQ(quantile({4.0, 1.0, 3.0, 2.0}, 0.5), 2.5);
  EXPECT_EQ(quantile({3.0, 1.0, 2.0}, 0.5), 2.0);
  EXPECT_EQ(quantile({3.0, 1.0, 2.0}, 1.0), 3.0);
  EXPECT_EQ(quantile({7.0}, 0.25), 7.0);
}

TEST(StepConfig, NeedsNoDataAndTakesOverrides) {
  const config::Config config = step_config("paper", std::nullopt, {"model.attention.kind=ssmax"});
  EXPECT_EQ(config.data.sequence_length, 1024);
  EXPECT_EQ(config.model.attention.kind, config::AttentionKind::kSsmax);
  EXPECT_EQ(model::count_parameters(step_config("quickstart", std::nullopt, {}).model, 512), 6'843'648);
  EXPECT_THROW(step_config("quickstart", std::nullopt, {"model.hidden_size=7"}), core::UsageError);
}

}  // namespace
}  // namespace ssgpt::bench
