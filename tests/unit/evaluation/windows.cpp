#include "evaluation/windows.h"

#include <cmath>

#include <ATen/ops/empty.h>

namespace ssgpt::evaluation {

model::Batch windows_at(const std::vector<uint16_t>& tokens, const std::vector<int64_t>& starts,
                        int64_t length) {
  const auto rows = static_cast<int64_t>(starts.size());
  model::Batch batch{at::empty({rows, length}, at::kLong), at::empty({rows, length}, at::kLong)};
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t t = 0; t < length; ++t) {
      const auto first = static_cast<size_t>(starts[static_cast<size_t>(row)] + t);
      batch.tokens.mutable_data_ptr<int64_t>()[row * length + t] = tokens[first];
      batch.targets.mutable_data_ptr<int64_t>()[row * length + t] = tokens[first + 1];
    }
  }
  return batch;
}

std::vector<int64_t> windows_for(const model::GPT& gpt, const data::TokenSource& source,
                                 const PositionRequest& request) {
  return choose_windows(source, request, gpt.spec().config.vocab_size);
}

void expect_bins(const std::vector<report::PointValue>& values, const at::Tensor& of_positions,
                 const std::vector<int64_t>& ends, double tolerance) {
  ASSERT_EQ(values.size(), ends.size());
  const int64_t windows = of_positions.size(0);
  int64_t begin = 0;
  for (size_t bin = 0; bin < ends.size(); ++bin) {
    const at::Tensor part = of_positions.narrow(1, begin, ends[bin] - begin);
    const report::PointValue& value = values[bin];
    EXPECT_NEAR(value.mean, part.mean().item<double>(), tolerance) << bin;
    EXPECT_EQ(value.tokens, part.numel());
    ASSERT_EQ(static_cast<int64_t>(value.trials.size()), windows);
    double squares = 0.0;
    for (int64_t window = 0; window < windows; ++window) {
      const double trial = part[window].mean().item<double>();
      EXPECT_NEAR(value.trials[static_cast<size_t>(window)], trial, tolerance) << bin << " " << window;
      squares += std::pow(trial - part.mean().item<double>(), 2);
    }
    const auto count = static_cast<double>(windows);
    if (windows > 1) {
      EXPECT_NEAR(value.standard_error, std::sqrt(squares / (count - 1.0) / count), tolerance) << bin;
    } else {
      EXPECT_TRUE(std::isnan(value.standard_error));
    }
    begin = ends[bin];
  }
}

}  // namespace ssgpt::evaluation
