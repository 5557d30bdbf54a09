#include "report/run_data.h"

#include "core/error.h"
#include "report/run_files.h"

#include <cmath>
#include <fstream>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

using RunDataTest = RunFilesTest;

std::filesystem::path with_metrics(const std::filesystem::path& directory, const std::string& text,
                                   int64_t log_every = 10) {
  FakeRun run;
  run.config.log.every = log_every;
  write_run(directory, run);
  std::ofstream(directory / "metrics.jsonl") << text;
  return directory;
}

std::string error_of(const std::filesystem::path& directory) {
  try {
    read_run(directory);
  } catch (const core::InputError& e) {
    return e.what();
  }
  return "no InputError";
}

TEST_F(RunDataTest, ReadsLossesWithTheStepsThatEachStandsFor) {
  const RunData run = read_run(
      with_metrics(root_ / "run",
                   "{\"step\":10,\"tokens\":640,\"train/loss\":4.5,\"time\":1.0}\n"
                   "{\"step\":15,\"tokens\":960,\"validation/loss\":4.25,\"time\":1.0}\n"
                   "{\"step\":20,\"tokens\":1280,\"train/loss\":null,\"validation/loss\":4.0,\"time\":2.0}\n"
                   "{\"step\":23,\"tokens\":1472,\"train/loss\":3.5,\"time\":3.0}\n"));
  ASSERT_EQ(run.train.size(), 3U);
  EXPECT_EQ(run.train[0].first_step, 1);
  EXPECT_EQ(run.train[0].last_step, 10);
  EXPECT_EQ(run.train[0].tokens, 640);
  EXPECT_EQ(run.train[0].loss, 4.5);
  EXPECT_TRUE(std::isnan(run.train[1].loss));
  EXPECT_EQ(run.train[2].first_step, 21);
  ASSERT_EQ(run.validation.size(), 2U);
  EXPECT_EQ(run.validation[0].step, 15);
  EXPECT_EQ(run.validation[1].loss, 4.0);
  EXPECT_EQ(run.data_fingerprint, "f");
  EXPECT_FALSE(run.torn_last_line);
}

// Whatever log.every was changed to since.
TEST_F(RunDataTest, ARunBeginsWhereItsRecordSays) {
  const auto directory = with_metrics(root_ / "run", "{\"step\":60,\"tokens\":1,\"train/loss\":4.5}\n");
  for (const int64_t first : {0, 20, 59}) {
    std::ofstream(directory / "run.json")
        << R"({"parent": "runs/a/checkpoints/step-00000050", "first_step": )" << first << "}";
    EXPECT_EQ(read_run(directory).train[0].first_step, first + 1);
  }
}

// As earlier versions left it: where the run began, and so what the first line is over, is unknown.
TEST_F(RunDataTest, WithoutThatARunOfLinesThatDoNotSayTheirStepsIsRefused) {
  const auto directory = with_metrics(root_ / "run", "{\"step\":60,\"tokens\":1,\"train/loss\":4.5}\n");
  std::ofstream(directory / "run.json") << R"({"parent": "runs/a/checkpoints/step-00000050"})";
  EXPECT_THAT(error_of(directory), testing::HasSubstr("Read it with the version that wrote it"));
  std::filesystem::remove(directory / "run.json");
  EXPECT_THAT(error_of(directory), testing::HasSubstr("Read it with the version that wrote it"));
}

// A resume may have changed log.every: the config says what it is at the end.
TEST_F(RunDataTest, LinesSayThemselvesWhichStepsTheyAreOver) {
  const std::string text =
      "{\"step\":50,\"tokens\":1,\"steps\":[21,50],\"train/loss\":4.5}\n"
      "{\"step\":60,\"tokens\":2,\"steps\":[51,60],\"train/loss\":4}\n";
  const auto directory = with_metrics(root_ / "run", text, /*log_every=*/10);
  std::filesystem::remove(directory / "run.json");
  const RunData run = read_run(directory);
  EXPECT_EQ(run.train[0].first_step, 21);
  EXPECT_EQ(run.train[1].first_step, 51);
}

TEST_F(RunDataTest, ALineWithoutAFieldOrOfAnotherTypeIsNamed) {
  const std::string whole = "{\"step\":10,\"tokens\":640,\"train/loss\":4.5}\n";
  const std::map<std::string, std::string> faults = {
      {"{\"tokens\":1,\"train/loss\":4}", "`step` is missing"},
      {"{\"step\":\"20\",\"tokens\":1,\"train/loss\":4}", "`step` is \"20\""},
      {"{\"step\":20.5,\"tokens\":1,\"train/loss\":4}", "`step` is 20.5"},
      {"{\"step\":0,\"tokens\":1,\"train/loss\":4}", "`step` is 0, not a whole number of 1"},
      {"{\"step\":18446744073709551615,\"tokens\":1,\"train/loss\":4}", "`step` is 18446744073709551615"},
      {"{\"step\":20,\"train/loss\":4}", "`tokens` is missing"},
      {"{\"step\":20,\"tokens\":null,\"train/loss\":4}", "`tokens` is null"},
      {"{\"step\":20,\"tokens\":-1,\"train/loss\":4}", "`tokens` is -1"},
      {"{\"step\":20,\"tokens\":1,\"train/loss\":[4]}", "`train/loss` is [4]"},
      {"{\"step\":20,\"tokens\":1,\"validation/loss\":true}", "`validation/loss` is true"},
      {"[20]", "not a JSON object"}};
  int number = 0;
  for (const auto& [line, message] : faults) {
    const std::string name = std::to_string(number++);
    EXPECT_THAT(error_of(with_metrics(root_ / ("first" + name), line + "\n" + whole)),
                testing::AllOf(testing::HasSubstr("metrics.jsonl:1: "), testing::HasSubstr(message)));
    EXPECT_THAT(error_of(with_metrics(root_ / ("second" + name), whole + line + "\n")),
                testing::AllOf(testing::HasSubstr("metrics.jsonl:2: "), testing::HasSubstr(message)));
  }
}

TEST_F(RunDataTest, ARecordWithAFieldOfAnotherTypeIsNamed) {
  const auto directory = write_run(root_ / "run", {});
  for (const char* field : {R"("parent": 1)", R"("data_fingerprint": 1)", R"("first_step": -1)",
                            R"("manual_swap": {"at_step": 5, "kind": "max"})"}) {
    std::ofstream(directory / "run.json") << "{" << field << "}";
    const std::string name = std::string(field).substr(1, std::string(field).find('"', 1) - 1);
    EXPECT_THAT(error_of(directory),
                testing::AllOf(testing::HasSubstr("run.json: "), testing::HasSubstr(name)));
  }
}

TEST_F(RunDataTest, PassesOverATornLastLineOnly) {
  const std::string whole = "{\"step\":10,\"tokens\":640,\"train/loss\":4.5}\n";
  const RunData run = read_run(with_metrics(root_ / "torn", whole + "{\"step\":20,\"tok"));
  EXPECT_EQ(run.train.size(), 1U);
  EXPECT_TRUE(run.torn_last_line);
  EXPECT_THAT(error_of(with_metrics(root_ / "damaged", "{\"step\":5,\"tok\n" + whole)),
              testing::HasSubstr("metrics.jsonl:1"));
}

TEST_F(RunDataTest, RefusesStepsThatRepeatOrFall) {
  for (const int second : {10, 9}) {
    const std::string text =
        "{\"step\":10,\"tokens\":640,\"train/loss\":4.5}\n{\"step\":" + std::to_string(second) +
        ",\"tokens\":1,\"train/loss\":4}\n";
    EXPECT_THAT(error_of(with_metrics(root_ / std::to_string(second), text)),
                testing::HasSubstr("metrics.jsonl:2"));
  }
}

TEST_F(RunDataTest, NamesWhatIsMissing) {
  EXPECT_THAT(error_of(root_ / "absent"), testing::HasSubstr("no such run directory"));
  std::filesystem::create_directories(root_ / "empty");
  EXPECT_THAT(error_of(root_ / "empty"), testing::HasSubstr("config.yaml"));
  EXPECT_THAT(error_of(with_metrics(root_ / "young", "")), testing::HasSubstr("no training loss yet"));
  EXPECT_THAT(error_of(with_metrics(root_ / "text", "{\"step\":1,\"tokens\":1,\"train/loss\":\"x\"}\n")),
              testing::HasSubstr("train/loss"));
}

}  // namespace
}  // namespace ssgpt::report
