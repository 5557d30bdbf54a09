#include "run/metrics_line.h"

#include "core/error.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

class MetricsLineTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) /
                 (std::string("ssgpt_") + testing::UnitTest::GetInstance()->current_test_info()->name() +
                  "_" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
    path_ = directory_ / "metrics.jsonl";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string text() const {
    std::ifstream file(path_, std::ios::binary);
    std::stringstream stream;
    stream << file.rdbuf();
    return stream.str();
  }
  void append(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary | std::ios::app) << bytes;
  }

  // The error of reading a run that began after `first_step`.
  std::string error_of(std::optional<int64_t> first_step) const {
    try {
      read_metrics(path_, first_step);
    } catch (const core::InputError& error) {
      return error.what();
    }
    return "no InputError";
  }

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(MetricsLineTest, NumbersReadBackToTheSameDouble) {
  // strtod, which rounds correctly, is the independent reader.
  const std::vector<double> values = {1.0 / 3.0,
                                      1e-310,
                                      6.02214076e23,
                                      0.1 + 0.2,
                                      -2.5,
                                      1e22,
                                      static_cast<double>(4.123456f),
                                      std::nextafter(1.0, 2.0)};
  {
    LineWriter sink(path_);
    for (size_t i = 0; i < values.size(); ++i) {
      sink.write({.step = static_cast<int64_t>(i),
                  .tokens = int64_t{1} << 53,
                  .values = {{"train/loss", values[i]}},
                  .time = 1.5});
    }
  }
  std::istringstream lines(text());
  std::string line;
  for (const double expected : values) {
    ASSERT_TRUE(std::getline(lines, line));
    const size_t at = line.find("\"train/loss\":");
    ASSERT_NE(at, std::string::npos) << line;
    const double read = std::strtod(line.c_str() + at + std::strlen("\"train/loss\":"), nullptr);
    EXPECT_EQ(std::memcmp(&read, &expected, sizeof read), 0) << line;
    EXPECT_EQ(nlohmann::json::parse(line)["tokens"], int64_t{1} << 53);
  }
}

TEST_F(MetricsLineTest, NamesStandFlatInTheirOrder) {
  LineWriter(path_).write(
      {.step = 3, .tokens = 96, .values = {{"train/loss", 2.5}, {"train/lr", 0.5}}, .time = 10.0});
  EXPECT_EQ(text(), "{\"step\":3,\"tokens\":96,\"train/loss\":2.5,\"train/lr\":0.5,\"time\":10.0}\n");
}

TEST_F(MetricsLineTest, ALineSaysWhichStepsAndWhichDataItIsOver) {
  const MetricsLine line{.step = 100,
                         .tokens = 96,
                         .steps = StepRange{.first = 91, .last = 100},
                         .values = {{"train/loss", 2.5}, {"validation/loss", 2.75}},
                         .validation_data = "abc/8",
                         .time = 10.0};
  LineWriter(path_).write(line);
  EXPECT_EQ(text(),
            "{\"step\":100,\"tokens\":96,\"steps\":[91,100],\"train/loss\":2.5,\"validation/loss\":2.75,"
            "\"validation/data\":\"abc/8\",\"time\":10.0}\n");
  const Metrics read = read_metrics(path_, std::nullopt);
  ASSERT_EQ(read.lines.size(), 1U);
  EXPECT_EQ(read.lines[0].step, 100);
  EXPECT_EQ(read.lines[0].tokens, 96);
  EXPECT_EQ(read.lines[0].steps->first, 91);
  EXPECT_EQ(read.lines[0].steps->last, 100);
  EXPECT_EQ(read.lines[0].values, line.values);
  EXPECT_EQ(read.lines[0].validation_data, "abc/8");
  EXPECT_EQ(read.lines[0].time, 10.0);
  EXPECT_FALSE(read.torn_last_line);
}

TEST_F(MetricsLineTest, WhatElseSomebodyNotedIsPassedOver) {
  append("{\"step\":1,\"tokens\":1,\"steps\":[1,1],\"train/loss\":4.5,\"note\":\"x\",\"more\":[1]}\n");
  const Metrics read = read_metrics(path_, std::nullopt);
  ASSERT_EQ(read.lines.size(), 1U);
  EXPECT_EQ(read.lines[0].values.size(), 1U);
}

// Lines without the field cover the steps since the line before.
TEST_F(MetricsLineTest, LinesThatDoNotSayTheirStepsCoverThoseSinceTheOneBefore) {
  append(
      "{\"step\":60,\"tokens\":1,\"train/loss\":4.5}\n{\"step\":65,\"tokens\":1,\"validation/loss\":4}\n"
      "{\"step\":75,\"tokens\":2,\"train/loss\":4}\n");
  for (const int64_t first : {0, 20, 59}) {
    const Metrics read = read_metrics(path_, first);
    ASSERT_EQ(read.lines.size(), 3U);
    EXPECT_EQ(read.lines[0].steps->first, first + 1);
    EXPECT_FALSE(read.lines[1].steps.has_value());
    EXPECT_EQ(read.lines[1].validation_data, "");
    EXPECT_EQ(read.lines[2].steps->first, 61);
    EXPECT_EQ(read.lines[2].steps->last, 75);
  }
  EXPECT_THAT(error_of(60), testing::HasSubstr("metrics.jsonl:1"));
  EXPECT_THAT(error_of(std::nullopt), testing::AllOf(testing::HasSubstr("metrics.jsonl:1"),
                                                     testing::HasSubstr("an earlier version")));
}

TEST_F(MetricsLineTest, StepsThatDoNotTileTheCurveAreNamed) {
  const std::string first = "{\"step\":10,\"tokens\":1,\"steps\":[1,10],\"train/loss\":4.5}\n";
  const std::map<std::string, std::string> faults = {{"[11,19]", "`steps` is [11,19]"},
                                                     {"[0,20]", "`steps` is [0,20]"},
                                                     {"[21,20]", "`steps` is [21,20]"},
                                                     {"20", "`steps` is 20"},
                                                     {"[11]", "`steps` is [11]"},
                                                     {"[11,20,30]", "`steps` is [11,20,30]"},
                                                     {"[1.5,20]", "`steps` is [1.5,20]"},
                                                     {"[10,20]", "must rise"},
                                                     {"[13,20]", "steps 11 to 12 are missing"}};
  for (const auto& [steps, message] : faults) {
    std::filesystem::remove(path_);
    append(first + "{\"step\":20,\"tokens\":1,\"steps\":" + steps + ",\"train/loss\":4.5}\n");
    EXPECT_THAT(error_of(std::nullopt),
                testing::AllOf(testing::HasSubstr("metrics.jsonl:2"), testing::HasSubstr(message)));
  }
  std::filesystem::remove(path_);
  append(first + "{\"step\":20,\"tokens\":1,\"validation/loss\":1,\"validation/data\":7}\n");
  EXPECT_THAT(error_of(std::nullopt), testing::HasSubstr("`validation/data` is 7"));
}

TEST_F(MetricsLineTest, TextsStandOnOneLineAndAreCutWithTheirStep) {
  const std::string text_with_breaks = "a \"b\"\n\t\u00e9 \\";
  {
    LineWriter sink(path_);
    sink.write(SampleLine{.step = 4, .prompt = "", .text = text_with_breaks});
    sink.write(SampleLine{.step = 8, .prompt = "p", .text = "later"});
  }
  cut_lines_after(path_, 7);
  const std::string line = text();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto object = nlohmann::json::parse(line);
  EXPECT_EQ(object["step"], 4);
  EXPECT_EQ(object["prompt"], "");
  EXPECT_EQ(object["text"], text_with_breaks);
}

TEST_F(MetricsLineTest, ValuesThatAreNotFiniteBecomeNull) {
  LineWriter(path_).write({.step = 1,
                           .tokens = 1,
                           .values = {{"a", std::numeric_limits<double>::quiet_NaN()},
                                      {"b", -std::numeric_limits<double>::infinity()}},
                           .time = 0.0});
  const auto object = nlohmann::json::parse(text());
  EXPECT_TRUE(object["a"].is_null());
  EXPECT_TRUE(object["b"].is_null());
}

TEST_F(MetricsLineTest, LinesOfSeveralWritersDoNotMix) {
  constexpr int kLines = 500;
  const auto write = [this](int64_t step) {
    LineWriter sink(path_);
    for (int i = 0; i < kLines; ++i)
      sink.write({.step = step, .tokens = i, .values = {{"train/loss", 0.1}}, .time = 0.0});
  };
  std::thread other(write, 1);
  write(2);
  other.join();
  std::istringstream lines(text());
  std::string line;
  int count = 0;
  for (; std::getline(lines, line); ++count) ASSERT_TRUE(nlohmann::json::accept(line)) << line;
  EXPECT_EQ(count, 2 * kLines);
}

TEST_F(MetricsLineTest, CutKeepsTheLinesUpToAStepAndDropsATornOne) {
  append(
      "{\"step\":1,\"x\":1.50}\n{\"step\":2}\n{\"step\":2,\"validation/loss\":1}\n"
      "{\"step\":3}\n{\"step\":1,\"tor");
  cut_lines_after(path_, 2);
  EXPECT_EQ(text(), "{\"step\":1,\"x\":1.50}\n{\"step\":2}\n{\"step\":2,\"validation/loss\":1}\n");
  cut_lines_after(path_, 0);
  EXPECT_EQ(text(), "");
  cut_lines_after(directory_ / "absent.jsonl", 2);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "absent.jsonl"));
}

TEST_F(MetricsLineTest, CutRefusesAFileThatIsNoMetrics) {
  const std::string foreign = "step,loss\n1,2\n";
  append(foreign);
  EXPECT_THROW(cut_lines_after(path_, 2), core::InputError);
  EXPECT_EQ(text(), foreign);
}

TEST_F(MetricsLineTest, AFullDiskIsAnErrorAtOnce) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  LineWriter sink("/dev/full");
  EXPECT_THROW(sink.write({.step = 1, .tokens = 1, .values = {}, .time = 0.0}), core::RunError);
}

TEST_F(MetricsLineTest, AMissingFolderIsAnError) {
  EXPECT_THROW(LineWriter(directory_ / "absent" / "metrics.jsonl"), core::RunError);
}

TEST_F(MetricsLineTest, LinesThatNestTooDeepOrAreTooLongAreNamed) {
  const std::string deep = "{\"step\":2,\"x\":" + std::string(10'000, '[') + std::string(10'000, ']') + "}";
  const std::string first = "{\"step\":1,\"tokens\":1,\"steps\":[1,1],\"train/loss\":4.5}\n";
  const auto message_of = [&](const std::string& line) -> std::string {
    std::filesystem::remove(path_);
    append(first + line + "\n");
    try {
      read_metrics(path_, std::nullopt);
    } catch (const core::InputError& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_THAT(message_of(deep), testing::HasSubstr(":2: JSON that nests more than 64 deep (column 78)"));
  EXPECT_THAT(message_of("{\"x\":\"" + std::string(2 << 20, 'x') + "\"}"),
              testing::HasSubstr(":2: a line of 2.0 MiB"));
  EXPECT_THAT(message_of("{\"step\":2,\"tokens\":1,\"train/loss\":NaN}"),
              testing::HasSubstr("which has no NaN (column 35)"));
  append(deep + "\n");
  EXPECT_THROW(cut_lines_after(path_, 1), core::InputError);
  EXPECT_EQ(read_last_loss(path_)->step, 1);
}

}  // namespace
}  // namespace ssgpt::run
