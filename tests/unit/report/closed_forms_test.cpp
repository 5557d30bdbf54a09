// Tables, JSON and CSV of closed forms, of numbers that are chosen.

#include "report/closed_forms.h"

#include "core/file.h"
#include "core/temporary_directory.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::report {
namespace {

using testing::HasSubstr;

ClosedForms some_forms() {
  ClosedForms forms;
  forms.scale = 0.5;
  forms.bias = 0.25;
  forms.constants = {.trained_length = 64, .attn_scale = 0.2, .floor_scale = 32};
  forms.high = 3.0;
  forms.low = -2.0;
  for (int64_t n = 1; n <= 13; ++n) forms.lengths.push_back(n);
  FadingCurve fading{.attention = "ssmax", .row_scale = "s log n", .factors = {}, .weights = {}};
  for (int i = 0; i < 13; ++i) {
    fading.factors.push_back(0.1 * i);
    fading.weights.push_back(1.0 / (1.0 + i));
  }
  forms.fading = {fading};
  forms.maxima = {0.0, 2.5, 5.0};
  forms.focus = {
      {.attention = "softmax", .row_scale = "1", .n = 10, .factor = 1.0, .weights = {0.125, 0.5, 0.75}}};
  return forms;
}

TEST(ClosedFormsReport, TheTablesHaveSomeOfThePlaces) {
  const std::string table = to_table(some_forms());
  EXPECT_THAT(table, HasSubstr("s = 0.5, b = 0.25, T = 64, a = 0.2, f = 32, where a kind has one."));
  EXPECT_THAT(table, HasSubstr("The weight of one logit at 3 among n - 1 at -2\n"));
  EXPECT_THAT(table, HasSubstr("(above 3), and 0 where it is above the least by less\nthan 1/s (below 2)\n"));
  EXPECT_THAT(table, testing::ContainsRegex("n = 1 +n = 3 +n = 5 +n = 7 +n = 9 +n = 11 +n = 13\n"));
  EXPECT_THAT(table, testing::ContainsRegex("ssmax +s log n +1\\.000000 +0\\.333333 .*0\\.076923\n"));
  EXPECT_THAT(table, testing::ContainsRegex("softmax +1 +10 +0\\.125000 +0\\.500000 +0\\.750000\n"));
}

TEST(ClosedFormsReport, TheJsonReadsBack) {
  const ClosedForms forms = some_forms();
  const auto read = nlohmann::json::parse(to_json(forms));
  EXPECT_EQ(read["format"], "ssgpt-closed-forms");
  EXPECT_EQ(read["version"], 1);
  EXPECT_EQ(read["scale"], 0.5);
  EXPECT_EQ(read["fading"]["lengths"], nlohmann::json(forms.lengths));
  EXPECT_EQ(read["fading"]["curves"][0]["weights"], nlohmann::json(forms.fading[0].weights));
  EXPECT_EQ(read["fading"]["curves"][0]["factors"], nlohmann::json(forms.fading[0].factors));
  EXPECT_EQ(read["focus"]["spread_below"], 2.0);
  EXPECT_EQ(read["focus"]["focused_above"], 3.0);
  EXPECT_EQ(read["focus"]["curves"][0]["n"], 10);
  EXPECT_EQ(read["focus"]["curves"][0]["weights"], nlohmann::json({0.125, 0.5, 0.75}));
}

TEST(ClosedFormsReport, TheCsvHasALineForEachPlace) {
  const std::string csv = to_csv(some_forms());
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 13 + 3);
  EXPECT_THAT(csv, HasSubstr("\nfading,ssmax,2,3,0.1,0.5\n"));
  EXPECT_THAT(csv, HasSubstr("\nfocus,softmax,10,2.5,1,0.5\n"));
}

TEST(ClosedFormsReport, WritingRemovesWhatWasDrawnFromEarlierNumbers) {
  const TemporaryDirectory directory;
  core::write_text_atomically(directory.path() / "closed_forms.png", "earlier");
  write_files(some_forms(), directory.path());
  EXPECT_FALSE(std::filesystem::exists(directory.path() / "closed_forms.png"));
  for (const char* name : {"closed_forms.json", "closed_forms.csv", "table.txt"})
    EXPECT_TRUE(std::filesystem::exists(directory.path() / name)) << name;
}

}  // namespace
}  // namespace ssgpt::report
