#include "config/config.h"
#include "config/minimal_config.h"
#include "config/schema.h"

#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using testing::ElementsAre;

TEST(Differences, NameTheKeysTheirValuesAndWhetherAResumeMayChangeThem) {
  const Config before = minimal_with({});
  const Config after = minimal_with({"optimizer.lr=1e-3", "train.max_steps=2000", "data.tokenizer=t.model",
                                     "train.swap_attention={at_step: 5, kind: ssmax}", "log.every=10"});
  std::vector<std::string> lines;
  for (const Difference& each : differences(before, after)) {
    lines.push_back(each.key + " " + each.before + " " + each.after +
                    (each.rule == ResumeRule::kFixed ? " fixed" : ""));
  }
  EXPECT_THAT(lines, ElementsAre("data.tokenizer null \"t.model\" fixed", "train.max_steps 1000 2000",
                                 "train.swap_attention [] [{at_step: 5, kind: ssmax}]",
                                 "optimizer.lr 0.0006 0.001 fixed"));
  EXPECT_THAT(differences(after, after), ElementsAre());
}

// A resume keeps what a step computes: the model, the data and their order, the optimizer, the precision.
TEST(ResumeRule, FixesWhatAStepComputesAndNothingElse) {
  const std::set<std::string> fixed_beside_model_and_optimizer = {"run.seed",
                                                                  "data.tokenizer",
                                                                  "data.train",
                                                                  "data.sequence_length",
                                                                  "data.reset_at_document",
                                                                  "data.document_token_id",
                                                                  "data.format",
                                                                  "data.on_long_example",
                                                                  "train.dtype",
                                                                  "train.global_batch_size",
                                                                  "train.clip_grad_norm"};
  for (const Key& key : schema()) {
    const bool end_of_schedule = key.name.ends_with("total_steps");
    const bool fixed = key.name.starts_with("model.") ||
                       (key.name.starts_with("optimizer.") && !end_of_schedule) ||
                       fixed_beside_model_and_optimizer.contains(key.name);
    EXPECT_EQ(key.resume == ResumeRule::kFixed, fixed) << key.name;
  }
}

}  // namespace
}  // namespace ssgpt::config
