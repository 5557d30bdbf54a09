#include "core/error.h"
#include "metrics/sinks.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::metrics {
namespace {

class JsonlSinkTest : public testing::Test {
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

  std::filesystem::path directory_;
  std::filesystem::path path_;
};

TEST_F(JsonlSinkTest, NumbersReadBackToTheSameDouble) {
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
    JsonlSink sink(path_);
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

TEST_F(JsonlSinkTest, NamesStandFlatInTheirOrder) {
  JsonlSink(path_).write(
      {.step = 3, .tokens = 96, .values = {{"train/loss", 2.5}, {"train/lr", 0.5}}, .time = 10.0});
  EXPECT_EQ(text(), "{\"step\":3,\"tokens\":96,\"train/loss\":2.5,\"train/lr\":0.5,\"time\":10.0}\n");
}

TEST_F(JsonlSinkTest, TextsStandOnOneLineAndAreCutWithTheirStep) {
  const std::string text_with_breaks = "a \"b\"\n\t\u00e9 \\";
  {
    JsonlSink sink(path_);
    sink.write(TextRecord{.step = 4, .prompt = "", .text = text_with_breaks});
    sink.write(TextRecord{.step = 8, .prompt = "p", .text = "later"});
  }
  JsonlSink::truncate_after(path_, 7);
  const std::string line = text();
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto object = nlohmann::json::parse(line);
  EXPECT_EQ(object["step"], 4);
  EXPECT_EQ(object["prompt"], "");
  EXPECT_EQ(object["text"], text_with_breaks);
}

TEST_F(JsonlSinkTest, ValuesThatAreNotFiniteBecomeNull) {
  JsonlSink(path_).write({.step = 1,
                          .tokens = 1,
                          .values = {{"a", std::numeric_limits<double>::quiet_NaN()},
                                     {"b", -std::numeric_limits<double>::infinity()}},
                          .time = 0.0});
  const auto object = nlohmann::json::parse(text());
  EXPECT_TRUE(object["a"].is_null());
  EXPECT_TRUE(object["b"].is_null());
}

TEST_F(JsonlSinkTest, LinesOfSeveralWritersDoNotMix) {
  constexpr int kLines = 500;
  const auto write = [this](int64_t step) {
    JsonlSink sink(path_);
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

TEST_F(JsonlSinkTest, TruncateKeepsTheLinesUpToAStepAndDropsATornOne) {
  append(
      "{\"step\":1,\"x\":1.50}\n{\"step\":2}\n{\"step\":2,\"validation/"
      "loss\":1}\n{\"step\":3}\n{\"step\":1,\"tor");
  JsonlSink::truncate_after(path_, 2);
  EXPECT_EQ(text(), "{\"step\":1,\"x\":1.50}\n{\"step\":2}\n{\"step\":2,\"validation/loss\":1}\n");
  JsonlSink::truncate_after(path_, 0);
  EXPECT_EQ(text(), "");
  JsonlSink::truncate_after(directory_ / "absent.jsonl", 2);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "absent.jsonl"));
}

TEST_F(JsonlSinkTest, TruncateRefusesAFileThatIsNoMetrics) {
  const std::string foreign = "step,loss\n1,2\n";
  append(foreign);
  EXPECT_THROW(JsonlSink::truncate_after(path_, 2), core::InputError);
  EXPECT_EQ(text(), foreign);
}

TEST_F(JsonlSinkTest, AFullDiskIsAnErrorAtOnce) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "needs /dev/full";
  JsonlSink sink("/dev/full");
  EXPECT_THROW(sink.write({.step = 1, .tokens = 1, .values = {}, .time = 0.0}), core::RunError);
}

TEST_F(JsonlSinkTest, AMissingFolderIsAnError) {
  EXPECT_THROW(JsonlSink(directory_ / "absent" / "metrics.jsonl"), core::RunError);
  EXPECT_THROW(TensorBoardSink(directory_ / "absent", -1), core::RunError);
}

}  // namespace
}  // namespace ssgpt::metrics
