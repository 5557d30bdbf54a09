#include "evaluation/needle.h"

#include "core/check.h"
#include "evaluation/trials.h"
#include "model/decoder.h"
#include "tokenizer/text_stream.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

namespace ssgpt::evaluation {
namespace {

using Row = std::span<const float>;

Row row_of(const at::Tensor& logits, int64_t row) {
  const int64_t width = logits.size(-1);
  return {logits.const_data_ptr<float>() + row * width, static_cast<size_t>(width)};
}

// In fp64. NaN if a logit is NaN or the largest is infinite.
double log_probability(Row logits, int64_t token) {
  const auto largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return static_cast<double>(logits[static_cast<size_t>(token)]) - largest - std::log(sum);
}

int64_t largest_of(Row logits) {
  return std::max_element(logits.begin(), logits.end()) - logits.begin();
}

// Some trials of one length, in one decoder.
class NeedleBatch {
 public:
  NeedleBatch(const model::GPT& model, std::vector<NeedlePrompt> prompts, int64_t answer_tokens,
              bool attention)
      : prompts_(std::move(prompts)),
        rows_(static_cast<int64_t>(prompts_.size())),
        answer_tokens_(answer_tokens),
        decoder_(model, rows_, static_cast<int64_t>(prompts_.front().tokens.size()) + answer_tokens - 1) {
    std::vector<int64_t> tokens;
    for (const NeedlePrompt& prompt : prompts_) {
      tokens.insert(tokens.end(), prompt.tokens.begin(), prompt.tokens.end());
      watch_.tokens.push_back({.first = prompt.needle_first, .count = prompt.needle_tokens});
    }
    first_ = decoder_.prefill_each(tokens, attention ? &watch_ : nullptr).cpu().clone();
    prompt_end_ = decoder_.mark();
  }

  std::vector<NeedleOutcome> outcomes(const tokenizer::Tokenizer& tokenizer,
                                      std::optional<int64_t> stop_token) {
    std::vector<NeedleOutcome> outcomes(prompts_.size());
    generate(stop_token, outcomes);
    const std::vector<double> right = score([](const NeedlePrompt& prompt) { return &prompt.answer; });
    for (size_t i = 0; i < outcomes.size(); ++i) outcomes[i].log_probability = right[i];
    for (size_t k = 0; k < prompts_.front().wrong.size(); ++k) {
      const std::vector<double> wrong = score([k](const NeedlePrompt& prompt) { return &prompt.wrong[k]; });
      for (size_t i = 0; i < outcomes.size(); ++i) outcomes[i].wrong.push_back(wrong[i]);
    }
    for (size_t i = 0; i < outcomes.size(); ++i) {
      judge(tokenizer, prompts_[i], outcomes[i]);
      if (watch_.masses.defined()) outcomes[i].attention = attention_of(static_cast<int64_t>(i));
    }
    return outcomes;
  }

 private:
  // Attention of each head, layer by layer.
  std::vector<float> attention_of(int64_t trial) const {
    const at::Tensor masses = watch_.masses.select(1, trial).contiguous();
    return {masses.const_data_ptr<float>(), masses.const_data_ptr<float>() + masses.numel()};
  }

  void generate(std::optional<int64_t> stop_token, std::vector<NeedleOutcome>& outcomes) {
    decoder_.return_to(prompt_end_);
    std::vector<int64_t> last(prompts_.size(), 0);
    std::vector<bool> stopped(prompts_.size(), false);
    at::Tensor logits = first_;
    for (int64_t made = 0; made < answer_tokens_; ++made) {
      if (made > 0) logits = decoder_.step(last).cpu();
      for (size_t i = 0; i < outcomes.size(); ++i) {
        last[i] = largest_of(row_of(logits, static_cast<int64_t>(i)));
        stopped[i] = stopped[i] || last[i] == stop_token;
        if (!stopped[i]) outcomes[i].generated_tokens.push_back(last[i]);
      }
      if (std::find(stopped.begin(), stopped.end(), false) == stopped.end()) break;
    }
  }

  // Log-probability of one number per trial, after its prompt. Shorter numbers are padded with tokens on
  // which nothing before them depends.
  template <typename Number>
  std::vector<double> score(const Number& number_of) {
    size_t width = 0;
    for (const NeedlePrompt& prompt : prompts_) width = std::max(width, number_of(prompt)->size());
    std::vector<int64_t> tokens(prompts_.size() * (width - 1), 0);
    std::vector<double> result;
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const std::vector<int64_t>& number = *number_of(prompts_[i]);
      std::copy(number.begin(), number.end() - 1, tokens.begin() + static_cast<int64_t>(i * (width - 1)));
      result.push_back(log_probability(row_of(first_, static_cast<int64_t>(i)), number.front()));
    }
    if (width == 1) return result;
    decoder_.return_to(prompt_end_);
    const at::Tensor logits = decoder_.score_each(tokens).cpu();
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const std::vector<int64_t>& number = *number_of(prompts_[i]);
      for (size_t t = 1; t < number.size(); ++t)
        result[i] +=
            log_probability(row_of(logits, static_cast<int64_t>(i * (width - 1) + t - 1)), number[t]);
    }
    return result;
  }

  static void judge(const tokenizer::Tokenizer& tokenizer, const NeedlePrompt& prompt,
                    NeedleOutcome& outcome) {
    // The text of a token depends on a few preceding tokens at most.
    constexpr size_t kContext = 8;
    const size_t known = std::min(kContext, prompt.tokens.size());
    tokenizer::TextStream stream(tokenizer, std::span(prompt.tokens).last(known));
    for (const int64_t token : outcome.generated_tokens) outcome.generated += stream.push(token);
    outcome.generated += stream.finish();
    const auto is_nan = [](double value) {
      return std::isnan(value);
    };
    outcome.finite =
        !is_nan(outcome.log_probability) && std::none_of(outcome.wrong.begin(), outcome.wrong.end(), is_nan);
    const NeedleAnswer answer = judge_answer(outcome.generated, prompt.number);
    outcome.right = answer.right;
    outcome.leading_digits = answer.leading_digits;
  }

  const std::vector<NeedlePrompt> prompts_;
  const int64_t rows_;
  const int64_t answer_tokens_;
  model::Decoder decoder_;
  model::Decoder::Mark prompt_end_;
  model::AttentionWatch watch_;
  at::Tensor first_;  // fp32 (B, V): logits after the prompts, on the host
};

std::optional<report::TrialOutcome> outcome_of_trial(const NeedleOutcome& outcome) {
  if (!outcome.finite) return std::nullopt;
  if (outcome.right) return report::TrialOutcome::kRight;
  return outcome.leading_digits > 0 ? report::TrialOutcome::kFirstDigit : report::TrialOutcome::kWrong;
}

}  // namespace

double NeedleOutcome::margin() const {
  return log_probability - *std::max_element(wrong.begin(), wrong.end());
}

std::vector<NeedleOutcome> find_needles(const model::GPT& model, const NeedlePrompts& prompts,
                                        const tokenizer::Tokenizer& tokenizer, int64_t length, int64_t depth,
                                        const NeedleRequest& request) {
  const NeedleSettings& settings = prompts.settings();
  SSGPT_CHECK(length - 1 <= model.spec().sequence_length, "trials of {} tokens, windows of up to {}", length,
              model.spec().sequence_length);
  const int64_t batch_size = batch_size_of(request.batch_size, length);
  std::vector<NeedleOutcome> outcomes;
  for (int64_t first = 0; first < settings.trials; first += batch_size) {
    const int64_t rows = std::min(batch_size, settings.trials - first);
    std::vector<NeedlePrompt> batch;
    for (int64_t row = 0; row < rows; ++row) batch.push_back(prompts.make(length, depth, first + row));
    NeedleBatch decoded(model, std::move(batch), settings.answer_tokens, request.attention);
    for (NeedleOutcome& outcome : decoded.outcomes(tokenizer, request.stop_token))
      outcomes.push_back(std::move(outcome));
    if (request.on_progress) request.on_progress((first + rows) * length, settings.trials * length);
  }
  return outcomes;
}

report::NeedleAttention attention_on_needles(const std::vector<NeedleOutcome>& outcomes, int64_t num_heads) {
  constexpr size_t kHeadsShown = 25;
  report::NeedleAttention result;
  std::vector<double> means(outcomes.front().attention.size(), 0.0);
  for (const NeedleOutcome& outcome : outcomes) {
    const std::vector<float>& weights = outcome.attention;
    for (size_t i = 0; i < means.size(); ++i)
      means[i] += static_cast<double>(weights[i]) / static_cast<double>(outcomes.size());
    const auto top = std::max_element(weights.begin(), weights.end()) - weights.begin();
    result.trials.push_back({.layer = top / num_heads,
                             .head = top % num_heads,
                             .weight = static_cast<double>(weights[static_cast<size_t>(top)]),
                             .outcome = outcome_of_trial(outcome)});
  }
  std::vector<int64_t> order(means.size());
  std::iota(order.begin(), order.end(), 0);
  const auto mean = [&](int64_t i) {
    return means[static_cast<size_t>(i)];
  };
  // NaN means go last: NaN has no order, and would break that of the others.
  const auto rank = [&](int64_t i) {
    return std::isnan(mean(i)) ? -1.0 : mean(i);
  };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  order.resize(std::min(order.size(), kHeadsShown));
  for (const int64_t i : order)
    result.heads.push_back({.layer = i / num_heads, .head = i % num_heads, .mean = mean(i)});
  return result;
}

NeedleValues values_of_outcomes(const std::vector<NeedleOutcome>& outcomes) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> right;
  std::vector<double> margins;
  NeedleValues values;
  for (const NeedleOutcome& outcome : outcomes) {
    right.push_back(!outcome.finite ? kNone : outcome.right ? 1.0 : 0.0);
    margins.push_back(outcome.finite ? outcome.margin() : kNone);
    values.first_digit_right += outcome.finite && outcome.leading_digits > 0 ? 1 : 0;
  }
  values.share_right = value_of_trials(std::move(right), /*tokens_of_each=*/1);
  values.margin = value_of_trials(std::move(margins), /*tokens_of_each=*/1);
  return values;
}

}  // namespace ssgpt::evaluation
