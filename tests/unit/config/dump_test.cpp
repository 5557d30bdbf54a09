// Everything here goes over the schema: a new key is covered without being named.
#include "config/config.h"
#include "config/minimal_config.h"
#include "config/schema.h"
#include "config/source.h"
#include "core/random.h"

#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

namespace ssgpt::config {
namespace {

// Gives `key` a value other than its default, out of values that are hard to write; false where none of them
// fits.
bool make_unusual(const Key& key, Config& config) {
  std::vector<std::string> samples = {
      "[\"a \\\"b\\\" \\\\ \\t\\n\\u0001\\u007f \xC3\xA9\", '# : - [x]', ' null ', 'true', '1e3', '*.bin']",
      "[0.1, 0.30000000000000004]",
      "' a: \"b\" #\n\n \xE2\x82\xAC'",
      "18446744073709551615",
      "0.1234567890123456789",
      "4.9406564584124654e-320",
      "1.0000000000000002",
      "7",
      "1",
      "true",
      "false",
      "_1.5-e3",
      "[3, 1]",
      "[{at_step: 3, kind: ssmax}, {at_step: 5, kind: learned_pn}]",
      "[{until_step: 3, total_steps: 8}, {until_step: 5, total_steps: 4}]"};
  samples.insert(samples.end(), key.choices.begin(), key.choices.end());
  const std::string standard = key.write(Config{});
  for (const std::string& sample : samples) {
    Config changed = config;
    if (key.read(YAML::Load(sample), changed) && key.write(changed) != standard) {
      config = changed;
      return true;
    }
  }
  return false;
}

Config read_without_rules(const std::string& text) {
  Source source;
  source.add_text(text, "dump", "");
  EXPECT_TRUE(source.faults().empty()) << text;
  Config config;
  for (const Key& key : schema()) {
    const auto entry = source.entries().find(key.name);
    EXPECT_NE(entry, source.entries().end()) << key.name << " is not in the dump";
    if (entry != source.entries().end()) {
      EXPECT_TRUE(key.read(entry->second.value, config) || key.write(config) == "null") << key.name;
    }
  }
  return config;
}

TEST(Dump, HoldsEveryKeyAndReadsBackToTheSameValues) {
  Config config;
  for (const Key& key : schema()) {
    EXPECT_TRUE(make_unusual(key, config)) << key.name << " needs a sample in this test";
  }
  const std::string text = dump(config);
  const Config again = read_without_rules(text);
  for (const Key& key : schema()) {
    EXPECT_EQ(key.write(again), key.write(config)) << key.name;
    EXPECT_NE(key.write(again), key.write(Config{})) << key.name;
  }
  EXPECT_EQ(dump(again), text);
  EXPECT_EQ(again.data.train, config.data.train);  // past the quotes that writing adds
  EXPECT_EQ(again.data.tokenizer, config.data.tokenizer);
  EXPECT_THAT(differences(config, again), testing::IsEmpty());
}

TEST(Dump, EachKeyAloneReadsBackWhileTheOthersKeepTheirDefaults) {
  for (const Key& key : schema()) {
    Config config = minimal_with({});
    ASSERT_TRUE(make_unusual(key, config)) << key.name;
    EXPECT_EQ(dump(read_without_rules(dump(config))), dump(config)) << key.name;
  }
}

TEST(Dump, OfALoadedConfigLoadsToTheSame) {
  const Config config =
      parse(kMinimal + R"(  swap_attention: [{at_step: 100, kind: learned_pn}, {at_step: 200, kind: ssmax}]
  dtype: bfloat16
run: {name: _7, seed: 9223372036854775809}
optimizer: {lr: 0.1, betas: [0.7, 0.99], schedule: {kind: wsd, warmup_steps: 3, decay_steps: 4, min_lr: 0.01}}
evaluate: {every: 3}
)",
            "c.yaml", {"data.validation=['a \"b\".bin', \"\\u00e9\\n\"]"});
  EXPECT_EQ(dump(parse(dump(config), "dump")), dump(config));
  const Config plain = minimal_with({});
  EXPECT_EQ(dump(parse(dump(plain), "dump")), dump(plain));
  EXPECT_THAT(differences(plain, config), testing::Not(testing::IsEmpty()));
}

TEST(Dump, NumbersReadBackBitForBit) {
  Config config = minimal_with({});
  int tried = 0;
  for (uint64_t i = 0; tried < 2000; ++i) {
    const double value = std::abs(std::bit_cast<double>(core::random_bits(/*key=*/1, i)));
    if (!(value > 0 && value <= 1)) {  // the range of eps
      continue;
    }
    config.optimizer.eps = value;
    const Config again = parse(dump(config), "dump");
    ASSERT_EQ(std::bit_cast<uint64_t>(again.optimizer.eps), std::bit_cast<uint64_t>(value)) << value;
    ++tried;
  }
}

TEST(Schema, NamesAreUniqueDescribedAndGroupedBySection) {
  std::set<std::string> names;
  const std::string text = describe_keys();
  for (const Key& key : schema()) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_FALSE(key.meaning.empty()) << key.name;
    EXPECT_THAT(text, testing::HasSubstr("  " + key.name + ": " + key.meaning));
    EXPECT_FALSE(is_section(key.name)) << key.name;
  }
  EXPECT_THAT(text, testing::HasSubstr("default 0.0006"));
}

TEST(Schema, DefaultsAreAllowed) {
  for (const Key& key : schema()) {
    if (!key.required) {
      Config config;
      EXPECT_TRUE(key.read(YAML::Load(key.write(config)), config)) << key.name;
      EXPECT_EQ(dump(config), dump(Config{})) << key.name;
    }
  }
}

}  // namespace
}  // namespace ssgpt::config
