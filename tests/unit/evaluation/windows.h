// Windows of text, and values by position beside plain formulas, for the tests of what is measured by
// position.
#pragma once

#include "core/temporary_directory.h"
#include "data/token_source.h"
#include "evaluation/models.h"
#include "evaluation/position.h"
#include "model/gpt.h"
#include "model/support.h"
#include "report/measured.h"

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace ssgpt::evaluation {

// The tokens of four windows of kLong, and some more that do not fill a fifth.
class LongText : public testing::Test {
 protected:
  const std::vector<uint16_t> tokens_ = some_tokens(4 * kLong + 30);
  const TemporaryDirectory directory_;
  const data::TokenSource source_{{write_tokens(directory_.path(), tokens_)}};
};

// Rows of `length` inputs and targets, from these tokens on.
model::Batch windows_at(const std::vector<uint16_t>& tokens, const std::vector<int64_t>& starts,
                        int64_t length);

// The starts of the windows that a model is given for a request.
std::vector<int64_t> windows_for(const model::GPT& gpt, const data::TokenSource& source,
                                 const PositionRequest& request);

// Against the value of each position, fp64 (windows, length): means, trials and their error by the plain
// formulas.
void expect_bins(const std::vector<report::PointValue>& values, const at::Tensor& of_positions,
                 const std::vector<int64_t>& ends, double tolerance);

}  // namespace ssgpt::evaluation
