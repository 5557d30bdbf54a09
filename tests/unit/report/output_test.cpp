#include "report/output.h"

#include "core/file.h"
#include "report/run_files.h"

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

class OutputTest : public RunFilesTest {
 protected:
  Comparison two_runs(double nan_at_step = -1) {
    FakeRun softmax;
    softmax.loss = [](int64_t step) {
      return 3.0 + 1.0 / static_cast<double>(step);
    };
    softmax.validation = {{30, 3.3}, {50, 3.2}};
    softmax.config.log.every = 20;
    FakeRun ssmax = softmax;
    ssmax.config.model.attention.kind = config::AttentionKind::kSsmax;
    ssmax.loss = [nan_at_step](int64_t step) {
      return static_cast<double>(step) == nan_at_step ? std::nan("") : 2.9 + 1.0 / static_cast<double>(step);
    };
    return compare({.runs = {write_run(root_ / "a", softmax), write_run(root_ / "b", ssmax)},
                    .baseline = {},
                    .window = {}});
  }
};

std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> result(1);
  for (const char c : line) {
    if (c == ',') {
      result.emplace_back();
    } else {
      result.back().push_back(c);
    }
  }
  return result;
}

TEST_F(OutputTest, CsvHoldsEveryCurveAtFullPrecision) {
  const Comparison comparison = two_runs();
  std::istringstream lines(to_csv(comparison));
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line,
            "first_step,step,tokens,loss/Softmax,loss/SSMax,smoothed/Softmax,smoothed/SSMax,difference/SSMax,"
            "smoothed_difference/SSMax,validation/Softmax,validation/SSMax");
  std::vector<std::vector<std::string>> rows;
  while (std::getline(lines, line)) rows.push_back(fields(line));
  ASSERT_EQ(rows.size(), 7U);  // 20, 30, 40, 50, 60, 80, 100
  EXPECT_EQ(rows[1][1], "30");
  EXPECT_EQ(rows[1][3], "");
  EXPECT_EQ(std::strtod(rows[1][9].c_str(), nullptr), 3.3);
  EXPECT_EQ(rows[2][0], "21");
  EXPECT_EQ(std::strtod(rows[2][3].c_str(), nullptr), comparison.runs[0].loss[1]);
  EXPECT_EQ(std::strtod(rows[2][7].c_str(), nullptr), comparison.candidates[0].difference[1]);
}

TEST_F(OutputTest, JsonHasNullWhereThereIsNoNumber) {
  const auto object = nlohmann::json::parse(to_json(two_runs(/*nan_at_step=*/100)));
  EXPECT_TRUE(object["runs"][1]["final_loss"].is_null());
  EXPECT_TRUE(object["comparisons"][0]["training"]["standard_error"].is_null());
  EXPECT_EQ(object["comparisons"][0]["verdict"], "no verdict");
  EXPECT_EQ(object["validation"]["steps"], nlohmann::json({30, 50}));
  EXPECT_EQ(object["runs"][0]["run"]["revision"], "abc");
}

TEST_F(OutputTest, TableColumnsAreAligned) {
  const std::string table = to_table(two_runs());
  EXPECT_THAT(table, testing::HasSubstr("Settings that differ: attention alone"));
  // The numbers of the two variants end in the same column.
  std::istringstream lines(table);
  std::string line;
  std::vector<size_t> ends;
  while (std::getline(lines, line)) {
    if (line.starts_with("  Softmax  ") || line.starts_with("  SSMax  ")) ends.push_back(line.size());
  }
  ASSERT_EQ(ends.size(), 2U);
  EXPECT_EQ(ends[0], ends[1]);
}

TEST_F(OutputTest, WritesAllFilesIntoANewDirectory) {
  const Comparison comparison = two_runs();
  write_files(comparison, root_ / "deep" / "report");
  EXPECT_EQ(core::read_text(root_ / "deep/report/comparison.json"), to_json(comparison));
  EXPECT_EQ(core::read_text(root_ / "deep/report/comparison.csv"), to_csv(comparison));
  EXPECT_EQ(core::read_text(root_ / "deep/report/table.txt"), to_table(comparison));
}

TEST_F(OutputTest, WritingRemovesWhatWasDrawnFromEarlierNumbers) {
  for (const char* name : {"comparison.png", "report.html", "notes.txt"})
    core::write_text_atomically(root_ / name, "earlier");
  write_files(two_runs(), root_);
  EXPECT_FALSE(std::filesystem::exists(root_ / "comparison.png"));
  EXPECT_FALSE(std::filesystem::exists(root_ / "report.html"));
  EXPECT_EQ(core::read_text(root_ / "notes.txt"), "earlier");
}

}  // namespace
}  // namespace ssgpt::report
