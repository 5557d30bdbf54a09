#include "config/sweep_file.h"

#include "config/minimal_config.h"
#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;

const std::string kVariants =
    "variants:\n  softmax: {}\n  ssmax: {model.attention.kind: ssmax}\n";  // lines 2 to 4 of a file

class SweepFileTest : public testing::Test {
 protected:
  SweepFileTest() { core::write_text_atomically(directory_ / "base.yaml", kMinimal); }

  Sweep load(const std::string& text) {
    core::write_text_atomically(directory_ / "sweep.yaml", text);
    return load_sweep(directory_ / "sweep.yaml");
  }

  // The error for the file; empty if it is accepted.
  template <typename Error = core::UsageError>
  std::string message(const std::string& text) {
    try {
      load(text);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  const TemporaryDirectory directory_;
};

std::vector<std::string> names_of(const Sweep& sweep) {
  std::vector<std::string> names;
  for (const SweepRun& run : sweep.runs) names.push_back(run.name);
  return names;
}

TEST_F(SweepFileTest, GoesSeedBySeedOverTheVariantsTheBaselineFirst) {
  const Sweep sweep = load("base: base.yaml\n" + kVariants + "seeds: [7, 3]\nbaseline: ssmax\n");
  EXPECT_THAT(names_of(sweep), ElementsAre("ssmax-seed7", "softmax-seed7", "ssmax-seed3", "softmax-seed3"));
  EXPECT_THAT(sweep.variants, ElementsAre("ssmax", "softmax"));
  EXPECT_THAT(sweep.points, ElementsAre(""));
  EXPECT_EQ(sweep.jobs, std::nullopt);
  const Config& config = sweep.runs[0].config;
  EXPECT_EQ(config.run.name, "ssmax");
  EXPECT_EQ(config.run.seed, 7U);
  EXPECT_EQ(config.model.attention.kind, AttentionKind::kSsmax);
  EXPECT_EQ(sweep.runs[3].config.model.attention.kind, AttentionKind::kSoftmax);
  EXPECT_EQ(sweep.runs[3].config.run.seed, 3U);
}

TEST_F(SweepFileTest, AVariantMayHaveSeedsAndABeginningOfItsOwn) {
  const Sweep sweep = load(
      "base: base.yaml\nseeds: 2\ninit_from: 'pre/{variant}-seed{seed}'\nvariants:\n"
      "  softmax: {seeds: [2, 5]}\n"
      "  ssmax: {model.attention.kind: ssmax}\n"
      "  other: {model.attention.kind: ssmax, init_from: 'pre/x-{seed}', seeds: 1}\n");
  EXPECT_THAT(names_of(sweep),
              ElementsAre("ssmax-seed1", "other-seed1", "softmax-seed2", "ssmax-seed2", "softmax-seed5"));
  EXPECT_EQ(sweep.runs[0].init_from, "pre/ssmax-seed1");
  EXPECT_EQ(sweep.runs[1].init_from, "pre/x-1");
  EXPECT_EQ(sweep.runs[4].init_from, "pre/softmax-seed5");
}

TEST_F(SweepFileTest, ARunIsTheConfigThatTrainWouldRead) {
  const Sweep sweep = load("base: base.yaml\n" + kVariants + "seeds: 1\n");
  const Config wanted =
      config::load(directory_ / "base.yaml", {"model.attention.kind=ssmax", "run.name=ssmax", "run.seed=1"});
  EXPECT_THAT(differences(wanted, sweep.runs[1].config), IsEmpty());
}

TEST_F(SweepFileTest, AGridMultipliesTheVariants) {
  const Sweep sweep = load(
      "base: base.yaml\n" + kVariants +
      "seeds: 1\ngrid: {optimizer.lr: [1e-3, 2e-3], optimizer.schedule.warmup_steps: [0, 5]}\njobs: 3\n");
  EXPECT_THAT(sweep.points, ElementsAre("lr1e-3-warmup_steps0", "lr1e-3-warmup_steps5",
                                        "lr2e-3-warmup_steps0", "lr2e-3-warmup_steps5"));
  EXPECT_EQ(sweep.jobs, 3);
  ASSERT_EQ(sweep.runs.size(), 8U);
  const SweepRun& run = sweep.runs[3];
  EXPECT_EQ(run.name, "ssmax-lr1e-3-warmup_steps5-seed1");
  EXPECT_EQ(run.config.run.name, "ssmax-lr1e-3-warmup_steps5");
  EXPECT_EQ(run.variant, "ssmax");
  EXPECT_THAT(run.grid,
              ElementsAre(Pair("optimizer.lr", "1e-3"), Pair("optimizer.schedule.warmup_steps", "5")));
  EXPECT_EQ(run.config.optimizer.lr, 1e-3);
  EXPECT_EQ(run.config.optimizer.schedule.warmup_steps, 5);
}

TEST_F(SweepFileTest, TakesNestedKeysIncludesAndAnInlineBase) {
  core::write_text_atomically(directory_ / "fast.yaml", "optimizer: {lr: 4e-3}\n");
  const Sweep sweep = load(
      "base:\n  include: base.yaml\n  optimizer: {lr: 3e-3}\nseeds: [0]\nvariants:\n"
      "  plain:\n  nested: {model: {attention: {kind: ssmax}}}\n  fast: {include: fast.yaml}\n");
  EXPECT_EQ(sweep.runs[0].config.optimizer.lr, 3e-3);
  EXPECT_EQ(sweep.runs[1].config.model.attention.kind, AttentionKind::kSsmax);
  EXPECT_EQ(sweep.runs[2].config.optimizer.lr, 4e-3);
}

TEST_F(SweepFileTest, FaultsOfTheFileAndOfEachVariantAreToldAtOnceWithTheirLines) {
  const std::string text =
      "base: base.yaml\nvariants:\n  a: {model.attention.kind: softermax}\n  b: {optimizer.rl: 1}\n"
      "seeds: [1, 1]\nbaselin: a\n";
  const std::string told = message(text);
  EXPECT_THAT(told, HasSubstr("4 faults"));
  EXPECT_THAT(told, HasSubstr("sweep.yaml:3: model.attention.kind = softermax"));
  EXPECT_THAT(told, HasSubstr("sweep.yaml:4: unknown key optimizer.rl = 1; did you mean optimizer.lr?"));
  EXPECT_THAT(told, HasSubstr("sweep.yaml:5: seeds: 1 is listed twice"));
  EXPECT_THAT(told, HasSubstr("sweep.yaml:6: unknown key baselin = a; did you mean baseline?"));
}

TEST_F(SweepFileTest, OfManyFaultsTheFirstHundredAreListed) {
  std::string text = "base: base.yaml\nseeds: 1\nvariants:\n  softmax: {}\ngrid:\n";
  for (int i = 0; i < 20'000; ++i) text += "  optimizer.zz" + std::to_string(i) + ": [1]\n";
  const std::string told = message(text);
  EXPECT_THAT(told, testing::StartsWith("more than 100 faults"));
  EXPECT_THAT(told, HasSubstr("grid: unknown key optimizer.zz0; did you mean optimizer.lr?"));
  EXPECT_THAT(told, testing::EndsWith("\n  and more"));
}

TEST_F(SweepFileTest, MissingPartsAreNamed) {
  const std::string told = message("jobs: auto\n");
  EXPECT_THAT(told, HasSubstr("base is missing"));
  EXPECT_THAT(told, HasSubstr("variants is missing"));
  EXPECT_THAT(told, HasSubstr("seeds is missing"));
  EXPECT_THAT(message("- 1\n"), HasSubstr("a sweep is a mapping"));
  EXPECT_THAT(message(""), HasSubstr("this file is empty"));
  EXPECT_THAT(message<core::InputError>("base: nowhere.yaml\nseeds: 1\n" + kVariants),
              HasSubstr("sweep.yaml:1: base = nowhere.yaml"));
}

TEST_F(SweepFileTest, OfAFaultyBaseNothingIsCalledMissing) {
  const std::string told = message("base: [1]\nseeds: 1\n" + kVariants);
  EXPECT_THAT(told, HasSubstr("base = [1]: expected a config file"));
  EXPECT_THAT(told, Not(HasSubstr("is missing")));
  core::write_text_atomically(directory_ / "list.yaml", "- 1\n");
  const std::string of_file = message("base: list.yaml\nseeds: 1\n" + kVariants);
  EXPECT_THAT(of_file, HasSubstr("list.yaml:1: a config is a mapping of sections"));
  EXPECT_THAT(of_file, Not(HasSubstr("is missing")));
}

struct BadSweep {
  const char* name;
  std::string text;  // after the base
  const char* told;
};

class BadSweepFile : public SweepFileTest, public testing::WithParamInterface<BadSweep> {};

TEST_P(BadSweepFile, IsRefused) {
  EXPECT_THAT(message("base: base.yaml\n" + GetParam().text), HasSubstr(GetParam().told));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadSweepFile,
    testing::Values(
        BadSweep{"empty_variants", "variants: {}\nseeds: 1\n", "variants = {}: expected a mapping"},
        BadSweep{"variant_of_another_type", "variants: {a: 3}\nseeds: 1\n",
                 "variants.a = 3: expected a mapping"},
        BadSweep{"unknown_placeholder", "variants: {a: {}}\nseeds: 1\ninit_from: 'runs/{name}-seed{seed}'\n",
                 "expected a run or a checkpoint, in whose path {variant} and {seed} may stand"},
        BadSweep{"nested_placeholder", "variants: {a: {}}\nseeds: 1\ninit_from: 'runs/{va{variant}riant}'\n",
                 "expected a run or a checkpoint"},
        BadSweep{"init_from_a_list", "variants: {a: {}}\nseeds: 1\ninit_from: [a, b]\n",
                 "expected a run or a checkpoint"},
        BadSweep{"variant_twice", "variants:\n  a: {}\n  a: {optimizer.lr: 1}\nseeds: 1\n",
                 "a is listed twice (first in line 3)"},
        BadSweep{"equal_variants", "variants: {a: {}, b: {model.attention.kind: softmax}}\nseeds: 1\n",
                 "variants.b equals variants.a"},
        BadSweep{"variants_that_learn_the_same",
                 "variants:\n  a: {}\n  b: {train.micro_batch_size: 2, log.every: 3, train.device: cpu}\n"
                 "seeds: 1\n",
                 "sweep.yaml:4: variants.b equals variants.a: what differs (train.device, "
                 "train.micro_batch_size, log.every) changes nothing that is learnt"},
        BadSweep{"scale_of_a_kind_without_one",
                 "variants: {a: {}, b: {model.attention.scale_init: 1, optimizer.scale_lr_multiplier: 10}}\n"
                 "seeds: 1\n",
                 "variants.b equals variants.a: what differs (model.attention.scale_init, "
                 "optimizer.scale_lr_multiplier)"},
        BadSweep{"constants_that_are_the_defaults",
                 "variants:\n  a: {model.attention.kind: llama4_temperature}\n"
                 "  b: {model.attention.kind: llama4_temperature, model.attention.floor_scale: 8192}\n"
                 "seeds: 1\n",
                 "variants.b equals variants.a: what differs (model.attention.floor_scale)"},
        BadSweep{"grid_that_changes_nothing", "variants: {a: {}}\nseeds: 1\ngrid: {log.every: [1, 2]}\n",
                 "grid: every2 equals every1: what differs (log.every)"},
        BadSweep{"steps_at_a_constant_rate",
                 "variants: {a: {train.max_steps: 5}, b: {train.max_steps: 6}}\nseeds: 1\n",
                 "variants.b equals variants.a: what differs (train.max_steps)"},
        BadSweep{"key_twice_in_two_forms",
                 "variants:\n  a: {}\n  b:\n    model.attention.kind: ssmax\n"
                 "    model: {attention: {kind: softmax}}\nseeds: 1\n",
                 "sweep.yaml:6: model.attention.kind is listed twice in this file (first in line 5)"},
        BadSweep{"seed_of_a_variant", "variants: {a: {run.seed: 3}}\nseeds: 1\n",
                 "run.seed is what the sweep itself sets"},
        BadSweep{"name_of_a_variant", "variants: {a: {run: {name: x}}}\nseeds: 1\n",
                 "run.name is what the sweep itself sets"},
        BadSweep{"data_of_a_variant", "variants: {a: {}, b: {data.sequence_length: 16}}\nseeds: 1\n",
                 "allow_other_data: true"},
        BadSweep{"name_of_no_folder", "variants: {a/b: {}}\nseeds: 1\n", "the run's name \"a/b\" must be"},
        BadSweep{"grid_makes_no_folder",
                 "variants: {a: {}}\nseeds: 1\ngrid: {data.tokenizer: [x/y]}\nallow_other_data: true\n",
                 "must be 1 to 100 letters"},
        BadSweep{"no_seeds", "variants: {a: {}}\nseeds: 0\n", "seeds = 0: expected a list of seeds"},
        BadSweep{"empty_seeds", "variants: {a: {}}\nseeds: []\n", "seeds = []: expected a list of seeds"},
        BadSweep{"negative_seed", "variants: {a: {}}\nseeds: [-1]\n", "seeds: -1: expected an integer"},
        BadSweep{"bad_seeds_of_a_variant", "variants: {a: {seeds: [1, 1]}}\nseeds: 1\n",
                 "variants.a: seeds: 1 is listed twice"},
        BadSweep{"bad_beginning_of_a_variant", "variants: {a: {init_from: 'runs/{name}'}}\nseeds: 1\n",
                 "variants.a: init_from = \"runs/{name}\": expected a run or a checkpoint"},
        BadSweep{"baseline_elsewhere", "variants: {a: {}}\nseeds: 1\nbaseline: b\n",
                 "baseline = b: no such variant; there are a"},
        BadSweep{"grid_over_the_seed", "variants: {a: {}}\nseeds: 1\ngrid: {run.seed: [1, 2]}\n",
                 "grid: run.seed is what the sweep itself sets"},
        BadSweep{"grid_over_data", "variants: {a: {}}\nseeds: 1\ngrid: {data.sequence_length: [8, 16]}\n",
                 "allow_other_data: true"},
        BadSweep{"grid_of_an_unknown_key", "variants: {a: {}}\nseeds: 1\ngrid: {optimizer.rl: [1]}\n",
                 "did you mean optimizer.lr?"},
        BadSweep{"grid_without_values", "variants: {a: {}}\nseeds: 1\ngrid: {optimizer.lr: []}\n",
                 "expected a list of single values"},
        BadSweep{"grid_of_lists", "variants: {a: {}}\nseeds: 1\ngrid: {model.nope_layers: [[0], [1]]}\n",
                 "expected a list of single values, one at least; a list or a mapping is set in variants"},
        BadSweep{"grid_value_of_another_type",
                 "variants: {a: {}}\nseeds: 1\ngrid: {optimizer.lr: [1e-3, -1]}\n",
                 "sweep.yaml:4: optimizer.lr = -1"},
        BadSweep{"grid_value_twice", "variants: {a: {}}\nseeds: 1\ngrid: {optimizer.lr: [1e-3, 0.001]}\n",
                 "lr0.001 equals lr1e-3"},
        BadSweep{"grid_over_a_variants_key",
                 "variants: {a: {}, b: {optimizer.lr: 1e-3}}\nseeds: 1\ngrid: {optimizer.lr: [1e-3]}\n",
                 "is set by the variant b too"},
        BadSweep{"too_many_runs",
                 "variants: {a: {}}\nseeds: 10000\ngrid: {log.every: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]}\n",
                 "more than 100000 runs"},
        BadSweep{"jobs", "variants: {a: {}}\nseeds: 1\njobs: 0\n",
                 "jobs = 0: expected auto or an integer from 1"},
        BadSweep{"flag", "variants: {a: {}}\nseeds: 1\nallow_other_data: yes\n",
                 "allow_other_data = yes: expected true | false"},
        BadSweep{"key_of_a_config", "variants: {a: {}}\nseeds: 1\noptimizer: {lr: 1}\n", "belongs in base"}),
    [](const auto& bad) { return std::string(bad.param.name); });

// Softmax has no s, but the other variant does, and then the points are two.
TEST_F(SweepFileTest, WhatOneVariantUsesMakesAPointAndWhatASwapUsesAVariant) {
  EXPECT_EQ(
      message("base: base.yaml\n" + kVariants + "seeds: 1\ngrid: {optimizer.scale_lr_multiplier: [1, 10]}\n"),
      "");
  const std::string swap = "train.swap_attention: [{at_step: 5, kind: ssmax}]";
  EXPECT_EQ(message("base: base.yaml\nseeds: 1\nvariants:\n  a: {" + swap + "}\n  b: {" + swap +
                    ", model.attention.scale_init: 2}\n"),
            "");
  EXPECT_EQ(message("base: base.yaml\nseeds: 1\nvariants:\n  a: {optimizer.schedule.kind: cosine}\n"
                    "  b: {optimizer.schedule.kind: cosine, train.max_steps: 2000}\n"),
            "");
}

TEST_F(SweepFileTest, EachRunBeginsFromThePathOfItsVariantAndSeed) {
  const std::string text = "base: base.yaml\n" + kVariants + "seeds: [3, 12]\n";
  EXPECT_EQ(load(text).runs[0].init_from, "");
  const Sweep sweep = load(text + "init_from: 'runs/{variant}/seed{seed}-{seed}'\n");
  std::vector<std::string> parents;
  for (const SweepRun& run : sweep.runs) parents.push_back(run.init_from.string());
  EXPECT_THAT(parents, ElementsAre("runs/softmax/seed3-3", "runs/ssmax/seed3-3", "runs/softmax/seed12-12",
                                   "runs/ssmax/seed12-12"));
  EXPECT_EQ(load(text + "init_from: runs/one\n").runs[3].init_from, "runs/one");
}

TEST_F(SweepFileTest, EpochsStayAsTheyAre) {
  const Sweep sweep = load(
      "variants: {a: {}}\nseeds: 1\nbase:\n"
      "  model: {vocab_size: 4096, hidden_size: 256, num_hidden_layers: 6, num_attention_heads: 4,\n"
      "          intermediate_size: 688}\n"
      "  data: {format: sft, train: [e.jsonl], tokenizer: t.model}\n"
      "  train: {epochs: 2, global_batch_size: 32, micro_batch_size: 8}\n");
  EXPECT_EQ(sweep.runs.at(0).config.train.epochs, 2);
}

TEST_F(SweepFileTest, OtherDataAreAllowedWhereAskedFor) {
  const Sweep sweep = load(
      "base: base.yaml\nvariants: {a: {}, b: {data.sequence_length: 16}}\nseeds: 1\n"
      "allow_other_data: true\n");
  EXPECT_EQ(sweep.runs[1].config.data.sequence_length, 16);
}

}  // namespace
}  // namespace ssgpt::config
