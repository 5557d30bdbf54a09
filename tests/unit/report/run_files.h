// Run directories with made-up curves, for tests.
#pragma once

#include "config/config.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::report {

// A small valid config.
config::Config small_config();

// A training behind a made-up run.
struct FakeAncestor {
  std::string checkpoint;
  config::Config config = small_config();
  int64_t step = 100;
  std::string run_id = {};  // empty: made of the checkpoint's path
};

struct FakeRun {
  config::Config config = small_config();
  int64_t first_step = 1;  // above 1: a fork, whose lines begin there
  int64_t last_step = 100;
  std::function<double(int64_t step)> loss = [](int64_t) {
    return 3.0;
  };  // of one step; a line has the mean since the last
  std::map<int64_t, double> validation;
  // The data of a step's validation loss; empty: its line does not say, as in an earlier version.
  std::function<std::string(int64_t step)> validation_data = [](int64_t) {
    return "v/8";
  };
  std::string fingerprint = "f";
  std::string tokenizer_fingerprint;                    // empty: run.json does not say
  std::string parent;                                   // empty: run.json has none
  std::vector<FakeAncestor> ancestors;                  // empty: run.json does not know them
  std::optional<config::SwapAttention> swap_in_record;  // a swap by hand, where an earlier version kept it
};

// A falling curve of 400 steps with noise of the text at each step (equal for runs of one seed) and a little
// noise of the run's own.
FakeRun curve(config::AttentionKind kind, uint64_t seed, double offset, uint64_t own,
              double own_noise = 0.005);

inline constexpr auto kSoftmax = config::AttentionKind::kSoftmax;
inline constexpr auto kSsmax = config::AttentionKind::kSsmax;

// Begins `run` with the weights that a training of this seed left after 100 steps, in
// /runs/NAME-seed<seed>.
void begin_from(FakeRun& run, const std::string& name, config::AttentionKind kind, uint64_t seed);

// Writes RUN/{config.yaml,run.json,metrics.jsonl} as the trainer does.
std::filesystem::path write_run(const std::filesystem::path& directory, const FakeRun& run);

// A fresh directory for each test.
class RunFilesTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  std::filesystem::path root_;
};

}  // namespace ssgpt::report
