#include "run/sweep_record.h"

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/temporary_directory.h"
#include "run/metrics_line.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

config::SweepRun run_of(const std::string& variant, const std::string& point, uint64_t seed) {
  config::SweepRun run;
  run.name = fmt::format("{}-{}-seed{}", variant, point, seed);
  run.variant = variant;
  run.point = point;
  run.grid = {{"optimizer.lr", "1e-3"}, {"model.attention.kind", "ssmax"}};
  run.seed = seed;
  return run;
}

config::Sweep sweep_of_two() {
  config::Sweep sweep;
  sweep.variants = {"b", "a"};
  sweep.runs = {run_of("b", "lr1e-3", 18446744073709551615U), run_of("a", "lr1e-3", 2)};
  return sweep;
}

TEST(SweepRecord, HoldsTheRunsInTheirOrder) {
  const TemporaryDirectory root;
  EXPECT_FALSE(holds_sweep(root.path()));
  write_sweep_record(root.path(), sweep_of_two());
  EXPECT_TRUE(holds_sweep(root.path()));
  const SweepRecord record = read_sweep_record(root.path());
  EXPECT_EQ(record.baseline, "b");
  ASSERT_EQ(record.runs.size(), 2U);
  EXPECT_EQ(record.runs[0].name, "b-lr1e-3-seed18446744073709551615");
  EXPECT_EQ(record.runs[0].variant, "b");
  EXPECT_EQ(record.runs[0].point, "lr1e-3");
  EXPECT_EQ(record.runs[1].name, "a-lr1e-3-seed2");
  const auto json = nlohmann::json::parse(core::read_text(root / "sweep.json"));
  EXPECT_EQ(json["format"], "ssgpt-sweep");
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["baseline"], "b");
  EXPECT_EQ(json["runs"][0]["seed"], 18446744073709551615U);
  EXPECT_EQ(json["runs"][1]["variant"], "a");
  EXPECT_EQ(json["runs"][1]["point"], "lr1e-3");
  EXPECT_EQ(json["runs"][1]["grid"]["optimizer.lr"], 1e-3);
  EXPECT_EQ(json["runs"][1]["grid"]["model.attention.kind"], "ssmax");
}

TEST(SweepRecord, AForeignFileUnderItsNameIsNeitherWrittenOverNorReadWithoutEnd) {
  const TemporaryDirectory root;
  const std::string deep(100'000, '[');
  for (const std::string& text :
       {std::string("{}"), std::string("text"), deep + std::string(deep.size(), ']')}) {
    std::ofstream(root / "sweep.json") << text;
    EXPECT_THROW(require_own_files(root.path(), sweep_of_two(), {}), core::UsageError);
  }
  fs::resize_file(root / "sweep.json", core::kMaxJsonBytes + 1);
  EXPECT_THROW(require_own_files(root.path(), sweep_of_two(), {}), core::InputError);
  fs::remove(root / "sweep.json");
  write_sweep_record(root.path(), sweep_of_two());
  EXPECT_NO_THROW(require_own_files(root.path(), sweep_of_two(), {}));
}

TEST(SweepRecord, AValueThatNestsDeepIsText) {
  const TemporaryDirectory root;
  config::Sweep sweep = sweep_of_two();
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  sweep.runs[0].grid = {{"optimizer.lr", deep}};
  write_sweep_record(root.path(), sweep);
  const auto json = nlohmann::json::parse(core::read_text(root / "sweep.json"));
  EXPECT_EQ(json["runs"][0]["grid"]["optimizer.lr"], deep);
}

TEST(SweepRecord, ManyPointsAreAGrid) {
  const TemporaryDirectory root;
  config::Sweep sweep = sweep_of_two();
  write_sweep_record(root.path(), sweep);
  EXPECT_FALSE(has_grid(read_sweep_record(root.path())));
  sweep.runs.push_back(run_of("b", "lr2e-3", 2));
  write_sweep_record(root.path(), sweep);
  EXPECT_TRUE(has_grid(read_sweep_record(root.path())));
}

TEST(SweepRecord, AFileThatSaysTheSameIsLeftAlone) {
  const TemporaryDirectory root;
  write_sweep_record(root.path(), sweep_of_two());
  const auto earlier = fs::file_time_type::clock::now() - std::chrono::hours(1);
  fs::last_write_time(root / "sweep.json", earlier);
  const auto before = fs::last_write_time(root / "sweep.json");
  write_sweep_record(root.path(), sweep_of_two());
  EXPECT_EQ(fs::last_write_time(root / "sweep.json"), before);
}

TEST(SweepRecord, ExpandsAFolderToTheRunsThatHaveALoss) {
  const TemporaryDirectory root;
  write_sweep_record(root.path(), sweep_of_two());
  const fs::path begun = root / "a-lr1e-3-seed2";
  fs::create_directories(begun);
  std::ofstream(begun / "metrics.jsonl")
      << "{\"step\":1,\"tokens\":8,\"steps\":[1,1],\"train/loss\":2.5,\"time\":1}\n";
  const Expansion expansion = expand_sweeps({root / "other", root.path()});
  EXPECT_THAT(expansion.runs, ElementsAre(root / "other", begun));
  EXPECT_THAT(expansion.not_begun, ElementsAre(root / "b-lr1e-3-seed18446744073709551615"));
  EXPECT_EQ(expansion.sweep_baseline, "");  // the first of the paths is a run
}

// The first run of the baseline may have failed before its first line.
TEST(SweepRecord, TheBaselineIsARunOfItsVariantThatHasALoss) {
  const TemporaryDirectory root;
  config::Sweep sweep = sweep_of_two();
  sweep.runs.push_back(run_of("b", "lr1e-3", 2));
  write_sweep_record(root.path(), sweep);
  const auto begin = [&](const fs::path& run) {
    fs::create_directories(run);
    std::ofstream(run / "metrics.jsonl")
        << "{\"step\":1,\"tokens\":8,\"steps\":[1,1],\"train/loss\":2.5,\"time\":1}\n";
  };
  begin(root / "a-lr1e-3-seed2");
  const Expansion without = expand_sweeps({root.path()});
  EXPECT_EQ(without.sweep_baseline, "b");
  EXPECT_FALSE(without.baseline);
  begin(root / "b-lr1e-3-seed2");
  EXPECT_EQ(expand_sweeps({root.path()}).baseline, root / "b-lr1e-3-seed2");
}

TEST(SweepRecord, WhatIsNoRecordIsRefused) {
  const TemporaryDirectory root;
  const auto says = [&](const std::string& text) {
    core::write_text_atomically(root / "sweep.json", text);
    return [&] {
      read_sweep_record(root.path());
    };
  };
  EXPECT_THROW(says("{\"format\": \"other\", \"version\": 1}")(), core::InputError);
  EXPECT_THROW(says("{\"format\": \"ssgpt-sweep\", \"version\": 2}")(), core::InputError);
  const auto with_run = [&](const std::string& name) {
    return says(fmt::format(R"({{"format": "ssgpt-sweep", "version": 1, "baseline": "a",)"
                            R"( "runs": [{{"name": "{}", "variant": "a", "point": ""}}]}})",
                            name));
  };
  EXPECT_NO_THROW(with_run("x")());
  for (const char* name : {"../x", "..", ".", "", "/x", "a/b", "x\\u0000y"}) {
    EXPECT_THROW(with_run(name)(), core::InputError) << name;
  }
  EXPECT_THROW(says("[")(), core::InputError);
}

TEST(ReadLastLoss, TakesTheLastWholeLineWithALossWhateverStandsBefore) {
  const TemporaryDirectory root;
  const fs::path path = root / "metrics.jsonl";
  EXPECT_FALSE(read_last_loss(path));
  std::ofstream file(path);
  for (int step = 1; step <= 3000; ++step) {  // more than is read of it
    file << "{\"step\":" << step << ",\"tokens\":8,\"steps\":[" << step << ',' << step
         << "],\"train/loss\":" << 5000 - step << ",\"time\":1}\n";
  }
  file << "{\"step\":3001,\"tokens\":8,\"validation/loss\":1.5,\"time\":1}\n{\"step\":3002,\"tok"
       << std::flush;
  const auto line = read_last_loss(path);
  ASSERT_TRUE(line);
  EXPECT_EQ(line->step, 3000);
  EXPECT_EQ(line->value("train/loss"), 2000.0);
}

}  // namespace
}  // namespace ssgpt::run
