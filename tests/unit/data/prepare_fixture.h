// A folder with a tokenizer, in which the tests of `prepare` make their shards.
#pragma once

#include "core/temporary_directory.h"
#include "data/fixtures.h"
#include "data/prepare.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include <gtest/gtest.h>

namespace ssgpt::data::testing {

class PrepareFixture : public ::testing::Test {
 protected:
  // From the file `input` into the folder `output`, both in folder_; a tenth for validation, two threads.
  PrepareOptions options_for(const std::string& input, const std::string& output,
                             int64_t shard_tokens) const {
    PrepareOptions options;
    options.inputs = {folder_ / input};
    options.tokenizer = tokenizer_;
    options.output = folder_ / output;
    options.validation_fraction = 0.1;
    options.shard_tokens = shard_tokens;
    options.num_threads = 2;
    return options;
  }

  std::map<std::string, std::string> files_of(const std::string& output) const {
    return testing::files_of(folder_ / output);
  }

  const TemporaryDirectory folder_;
  const std::filesystem::path tokenizer_ = write_tokenizer(folder_);
};

}  // namespace ssgpt::data::testing
