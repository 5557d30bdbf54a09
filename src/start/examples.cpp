#include "start/examples.h"

#include "config/soundness.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <filesystem>

#include <fmt/format.h>

namespace ssgpt::start {
namespace {

bool holds_the_same(const std::filesystem::path& one, const std::filesystem::path& other) {
  if (std::filesystem::equivalent(one, other)) return true;
  return core::InputFile(one).size() == core::InputFile(other).size() &&
         core::checksum_of_file(one) == core::checksum_of_file(other);
}

std::vector<std::filesystem::path> files_that_exist(const std::vector<std::string>& globs) {
  try {
    return globs.empty() ? std::vector<std::filesystem::path>() : core::expand_globs(globs);
  } catch (const core::InputError&) {
    return {};
  }
}

}  // namespace

std::shared_ptr<const tokenizer::Tokenizer> open_tokenizer(const config::Config& config) {
  auto tokenizer = std::make_shared<const tokenizer::Tokenizer>(*config.data.tokenizer);
  if (tokenizer->vocab_size() <= config.model.vocab_size) return tokenizer;
  throw core::InputError(
      "The tokenizer {} has {} pieces and model.vocab_size is {}: the model must hold them all.",
      config.data.tokenizer->string(), tokenizer->vocab_size(), config.model.vocab_size);
}

std::shared_ptr<const data::PackedExamples> read_examples(const config::Config& config,
                                                          const std::vector<std::string>& globs,
                                                          const tokenizer::Tokenizer& tokenizer) {
  auto examples = std::make_shared<const data::PackedExamples>(
      core::expand_globs(globs), tokenizer, config.data.sequence_length, config.data.on_long_example);
  if (const int64_t left_out = examples->num_left_out(); left_out > 0) {
    core::log::warning("{} of {} examples in {} do not fit into data.sequence_length = {} and are left out.",
                       left_out, left_out + examples->num_examples(), globs.front(),
                       config.data.sequence_length);
  }
  return examples;
}

void refuse_shared_examples(const config::Config& config) {
  const std::vector<std::filesystem::path> held_out = files_that_exist(config.data.validation);
  for (const std::filesystem::path& file : core::expand_globs(config.data.train)) {
    for (const std::filesystem::path& other : held_out) {
      if (!holds_the_same(file, other)) continue;
      throw core::UsageError(
          "data.train and data.validation share examples: {} holds the same as {}. A loss on training "
          "data says nothing about other examples; name files or patterns that separate them.",
          file.string(), other.string());
    }
  }
}

int64_t steps_per_epoch(const config::Config& config, const data::PackedExamples& examples) {
  return data::EpochOrder(config.run.seed, examples.num_windows(), config.train.global_batch_size)
      .steps_per_epoch();
}

std::shared_ptr<const data::PackedExamples> resolve_epochs(config::Config& config, int64_t known_steps) {
  config::ScheduleConfig& schedule = config.optimizer.schedule;
  if (!config.train.epochs && !schedule.warmup_epochs) return nullptr;
  std::shared_ptr<const data::PackedExamples> examples;
  int64_t steps = known_steps;
  if (steps == 0) {
    examples = read_examples(config, config.data.train, *open_tokenizer(config));
    steps = steps_per_epoch(config, *examples);
    core::log::info("{} windows of examples make {} steps per epoch.", examples->num_windows(), steps);
  }
  if (config.train.epochs) config.train.max_steps = *config.train.epochs * steps;
  if (schedule.warmup_epochs) schedule.warmup_steps = *schedule.warmup_epochs * steps;
  config.train.epochs.reset();
  schedule.warmup_epochs.reset();
  config::require_sound(config, fmt::format("the config, whose epochs are {} steps each", steps));
  return examples;
}

double predicted_tokens(const config::Config& config, const data::PackedExamples& examples) {
  const data::EpochOrder order(config.run.seed, examples.num_windows(), config.train.global_batch_size);
  const int64_t epochs = config.train.max_steps / order.steps_per_epoch();
  double tokens = static_cast<double>(epochs) * static_cast<double>(examples.num_answer_tokens());
  for (int64_t step = epochs * order.steps_per_epoch(); step < config.train.max_steps; ++step) {
    for (int64_t row = 0; row < order.rows(); ++row) {
      const int64_t window = order.window(step, row);
      if (window >= 0) tokens += static_cast<double>(examples.answer_tokens(window));
    }
  }
  return tokens;
}

std::string examples_text(const data::PackedExamples& examples) {
  const double tokens = static_cast<double>(examples.num_windows() * examples.sequence_length());
  std::string text = fmt::format(
      "{} examples in {} windows of {}: {} tokens of answers, {} of prompts, {} of padding ({:.1f} %)",
      examples.num_examples(), examples.num_windows(), examples.sequence_length(),
      examples.num_answer_tokens(), examples.num_prompt_tokens(), examples.num_padding_tokens(),
      100.0 * static_cast<double>(examples.num_padding_tokens()) / tokens);
  if (examples.num_left_out() > 0) text += fmt::format("; {} longer ones left out", examples.num_left_out());
  return text;
}

}  // namespace ssgpt::start
