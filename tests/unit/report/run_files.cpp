#include "report/run_files.h"

#include "core/random.h"

#include <cmath>
#include <fstream>
#include <string>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace ssgpt::report {

config::Config small_config() {
  config::Config config;
  config.model.vocab_size = 64;
  config.model.hidden_size = 32;
  config.model.num_hidden_layers = 2;
  config.model.num_attention_heads = 2;
  config.model.intermediate_size = 48;
  config.data.train = {"train.bin"};
  config.data.sequence_length = 16;
  config.train.max_steps = 100;
  config.train.global_batch_size = 4;
  config.train.micro_batch_size = 4;
  config.log.every = 1;
  return config;
}

// A falling curve with noise of the text at each step (equal for runs of one seed) and a little noise of the
// run's own.
FakeRun curve(config::AttentionKind kind, uint64_t seed, double offset, uint64_t own, double own_noise) {
  FakeRun run;
  run.config.model.attention.kind = kind;
  run.config.run.seed = seed;
  run.config.run.name = "run" + std::to_string(own);
  run.config.train.max_steps = 400;
  run.last_step = 400;
  run.loss = [=](int64_t step) {
    const uint64_t index = static_cast<uint64_t>(step);
    return 2.0 + 3.0 * std::exp(-static_cast<double>(step) / 100.0) + 0.2 * core::random_normal(seed, index) +
           own_noise * core::random_normal(1000 + own, index) + offset;
  };
  return run;
}

void begin_from(FakeRun& run, const std::string& name, config::AttentionKind kind, uint64_t seed) {
  FakeAncestor ancestor;
  ancestor.checkpoint = "/runs/" + name + "-seed" + std::to_string(seed) + "/checkpoints/step-00000100";
  ancestor.config.model.attention.kind = kind;
  ancestor.config.run.seed = seed;
  run.parent = ancestor.checkpoint;
  run.ancestors = {ancestor};
}

std::filesystem::path write_run(const std::filesystem::path& directory, const FakeRun& run) {
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "config.yaml") << config::dump(run.config);
  nlohmann::json info = {{"run_id", "id"}, {"revision", "abc"}, {"data_fingerprint", run.fingerprint}};
  info["first_step"] = run.first_step - 1;
  info["tokenizer_fingerprint"] = run.tokenizer_fingerprint;
  if (run.swap_in_record) {
    info["manual_swap"] = {{"at_step", run.swap_in_record->at_step},
                           {"kind", config::to_string(run.swap_in_record->kind)}};
  }
  if (!run.parent.empty()) info["parent"] = run.parent;
  for (const FakeAncestor& one : run.ancestors) {
    info["ancestors"].push_back({{"checkpoint", one.checkpoint},
                                 {"run_id", one.run_id.empty() ? one.checkpoint : one.run_id},
                                 {"step", one.step},
                                 {"config", config::dump(one.config)},
                                 {"data_fingerprint", "text"}});
  }
  std::ofstream(directory / "run.json") << info;
  std::ofstream metrics(directory / "metrics.jsonl");
  const int64_t step_tokens = run.config.train.global_batch_size * run.config.data.sequence_length;
  double sum = 0.0;
  int64_t steps = 0;
  for (int64_t step = run.first_step; step <= run.last_step; ++step) {
    sum += run.loss(step);
    ++steps;
    nlohmann::ordered_json line = {{"step", step}, {"tokens", step * step_tokens}};
    if (step % run.config.log.every == 0 || step == run.last_step) {
      line["steps"] = {step - steps + 1, step};
      line["train/loss"] = sum / static_cast<double>(steps);
      sum = 0.0;
      steps = 0;
    }
    if (const auto found = run.validation.find(step); found != run.validation.end()) {
      line["validation/loss"] = found->second;
      if (const std::string data = run.validation_data(step); !data.empty()) line["validation/data"] = data;
    }
    if (line.size() > 2) metrics << line.dump() << "\n";
  }
  return directory;
}

void RunFilesTest::SetUp() {
  root_ = std::filesystem::path(testing::TempDir()) /
          (std::string("ssgpt_report_") + testing::UnitTest::GetInstance()->current_test_info()->name() +
           "_" + std::to_string(::getpid()));
  std::filesystem::create_directories(root_);
}

void RunFilesTest::TearDown() {
  std::filesystem::remove_all(root_);
}

}  // namespace ssgpt::report
