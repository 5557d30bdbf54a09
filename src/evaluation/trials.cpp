#include "evaluation/trials.h"

#include "core/check.h"
#include "report/statistics.h"

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

}  // namespace ssgpt::evaluation
