#include "evaluation/trials.h"

#include "core/check.h"
#include "report/statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ssgpt::evaluation {

report::PointValue value_of_trials(std::vector<double> trials, int64_t tokens_of_each) {
  SSGPT_CHECK(!trials.empty() && tokens_of_each > 0, "{} trials of {} tokens", trials.size(), tokens_of_each);
  report::PointValue value;
  value.mean = report::mean_of(trials);
  if (trials.size() > 1) {
    value.standard_error =
        std::sqrt(report::variance_of(trials, value.mean) / static_cast<double>(trials.size()));
  }
  value.tokens = static_cast<int64_t>(trials.size()) * tokens_of_each;
  value.trials = std::move(trials);
  return value;
}

int64_t batch_size_of(int64_t asked, int64_t length) {
  constexpr int64_t kTokensAtATime = 8192;
  SSGPT_CHECK(asked >= 0 && length > 0, "batches of {}, of {} tokens each", asked, length);
  return asked > 0 ? asked : std::max<int64_t>(1, kTokensAtATime / length);
}

}  // namespace ssgpt::evaluation
