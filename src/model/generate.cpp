#include "model/generate.h"

#include "core/check.h"
#include "core/random.h"
#include "model/decoder.h"
#include "model/device_timing.h"

#include <algorithm>
#include <chrono>

#include <fmt/format.h>

namespace ssgpt::model {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Chooses the next token of each sample that has not ended.
class Batch {
 public:
  Batch(const GenerationOptions& options, const OnToken& on_token)
      : options_(options),
        on_token_(on_token),
        sampler_(options.sampling),
        samples_(static_cast<size_t>(options.num_samples)),
        last_(samples_.size(), 0) {
    for (size_t i = 0; i < samples_.size(); ++i) {
      keys_.push_back(core::stream_key(options.seed, fmt::format("generate/{}", i)));
    }
  }

  // on_device: fp32 (B, V).
  void choose(const at::Tensor& on_device) {
    const at::Tensor logits = on_device.cpu();
    const auto width = static_cast<size_t>(logits.size(1));
    for (size_t i = 0; i < samples_.size(); ++i) {
      GeneratedSample& sample = samples_[i];
      if (sample.stopped) continue;
      const std::span<const float> row(logits.const_data_ptr<float>() + i * width, width);
      const int64_t token = sampler_.choose(row, core::random_uniform(keys_[i], sample.tokens.size()));
      sample.tokens.push_back(token);
      sample.stopped = token == options_.stop_token;
      last_[i] = token;
      if (on_token_) on_token_(i, token);
    }
  }

  bool all_stopped() const {
    return std::all_of(samples_.begin(), samples_.end(), [](const auto& sample) { return sample.stopped; });
  }
  const std::vector<int64_t>& last_tokens() const { return last_; }
  std::vector<GeneratedSample> take_samples() { return std::move(samples_); }

 private:
  const GenerationOptions& options_;
  const OnToken& on_token_;
  TokenSampler sampler_;
  std::vector<GeneratedSample> samples_;
  std::vector<int64_t> last_;  // input of the next step; unused for a stopped sample
  std::vector<uint64_t> keys_;
};

}  // namespace

std::optional<int64_t> most_new_tokens(const GPTSpec& spec, int64_t prompt_length) {
  if (!has_learned_position(spec.config.attention.kind)) return std::nullopt;
  return std::max<int64_t>(0, spec.sequence_length - prompt_length + 1);
}

Generation generate(const GPT& gpt, std::span<const int64_t> prompt, const GenerationOptions& options,
                    const OnToken& on_token) {
  SSGPT_CHECK(!prompt.empty() && options.max_tokens > 0 && options.num_samples > 0,
              "{} samples of {} tokens after a prompt of {}", options.num_samples, options.max_tokens,
              prompt.size());
  const auto positions = static_cast<int64_t>(prompt.size()) + options.max_tokens - 1;
  Decoder decoder(gpt, options.num_samples, positions);
  Batch batch(options, on_token);
  Generation generation;
  Clock::time_point begin = Clock::now();
  at::Tensor logits = decoder.prefill(prompt);
  synchronize(gpt.execution().device);  // a GPU has only queued it
  generation.prompt_seconds = seconds_since(begin);
  begin = Clock::now();
  batch.choose(logits);
  for (int64_t i = 1; i < options.max_tokens && !batch.all_stopped(); ++i) {
    logits = decoder.step(batch.last_tokens());
    batch.choose(logits);
  }
  generation.decode_seconds = seconds_since(begin);
  generation.samples = batch.take_samples();
  return generation;
}

}  // namespace ssgpt::model
