#include "config/attention_kind.h"
#include "config/config.h"
#include "config/minimal_config.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::config {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

KeyDescription of(const std::string& name) {
  const std::vector<KeyDescription> all = key_descriptions();
  return *std::find_if(all.begin(), all.end(), [&](const KeyDescription& key) { return key.name == name; });
}

TEST(KeyDescriptions, EveryWordIsAValueOfItsKey) {
  for (const KeyDescription& key : key_descriptions()) {
    for (const std::string& value : key.words) {
      const std::string fault = fmt::format("{} = {}: expected", key.name, value);
      EXPECT_THAT(message_with("", {fmt::format("{}={}", key.name, value)}), Not(HasSubstr(fault)));
    }
  }
}

TEST(KeyDescriptions, AreTheNamesOfAnEnumerationAndWhatStandsForNoValue) {
  EXPECT_EQ(of("model.attention.kind").words, attention_kind_names());
  EXPECT_THAT(of("train.deterministic").words, ElementsAre("true", "false"));
  EXPECT_THAT(of("model.attention.scale_init").words, ElementsAre("auto"));
  EXPECT_THAT(of("train.epochs").words, ElementsAre("null"));
  EXPECT_THAT(of("optimizer.lr").words, IsEmpty());
}

TEST(KeyDescriptions, ThreeKeysTakePaths) {
  std::vector<std::string> paths;
  for (const KeyDescription& key : key_descriptions()) {
    if (key.takes_path) paths.push_back(key.name);
  }
  EXPECT_THAT(paths, ElementsAre("data.tokenizer", "data.train", "data.validation"));
}

}  // namespace
}  // namespace ssgpt::config
