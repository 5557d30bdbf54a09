// ssgpt convert: swaps the attention of a checkpoint without training.

#include "checkpoint/checkpoint.h"
#include "cli/commands.h"
#include "cli/number_checks.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <fmt/ranges.h>

namespace ssgpt::cli {
namespace {

struct ConvertArguments {
  std::filesystem::path checkpoint;
  std::string attention;
  std::filesystem::path out;
  std::optional<double> scale_init;
  std::optional<double> bias_init;
};

config::AttentionConfig requested_attention(const ConvertArguments& arguments,
                                            const config::AttentionConfig& before) {
  const auto kind = config::parse_attention_kind(arguments.attention);
  if (!kind) {
    throw core::UsageError("--attention {}: it must be one of {}", arguments.attention,
                           fmt::join(config::attention_kind_names(), ", "));
  }
  for (const auto& value : {arguments.scale_init, arguments.bias_init}) {
    if (value && !std::isfinite(*value)) {
      throw core::UsageError("--scale-init and --bias-init must be finite numbers, not {}", *value);
    }
  }
  config::AttentionConfig attention = before;
  attention.kind = *kind;
  if (arguments.scale_init) attention.scale_init = arguments.scale_init;
  if (arguments.bias_init) attention.bias_init = *arguments.bias_init;
  return attention;
}

void run(const ConvertArguments& arguments) {
  std::filesystem::path out = arguments.out;
  if (!out.has_filename()) out = out.parent_path();
  if (core::exists(out)) {
    throw core::UsageError("--out {}: exists already; name a new directory", out.string());
  }
  const checkpoint::Snapshot before = checkpoint::read(arguments.checkpoint, /*with_optimizer=*/true);
  const config::AttentionKind old_kind = before.spec.config.attention.kind;
  const config::AttentionConfig attention = requested_attention(arguments, before.spec.config.attention);
  if (attention.kind == old_kind) {
    core::log::warning("{} has attention kind {} already: the result is a copy",
                       arguments.checkpoint.string(), config::to_string(old_kind));
  }
  checkpoint::Snapshot after = checkpoint::with_attention(before, attention);
  if (after.trainer && attention.kind != old_kind) {
    // So that a resume takes the new kind for what was asked for, and not for a mistake.
    const std::string origin = (arguments.checkpoint / "trainer/state.json").string();
    config::Config config = config::parse(after.trainer->config, origin);
    config::add_swap(config, {.at_step = after.trainer->step, .kind = attention.kind});
    after.trainer->config = config::dump(config);
    config::parse(after.trainer->config, origin);  // the swap may ask for what the rest does not allow
  }
  checkpoint::write(out, after);
  fmt::print("{}: {} -> {}\n", out.string(), config::to_string(old_kind), config::to_string(attention.kind));
}

}  // namespace

void add_convert(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "convert",
      "Swap the attention of a checkpoint without training. Every tensor that both kinds have stays bit for\n"
      "bit, with its moments, except that between softmax_temperature and another kind s is converted, "
      "by\n"
      "mean(log n), which keeps a head's mean row scale where the other kind is ssmax. New tensors get "
      "their\n"
      "initial values and zero moments.");
  const auto arguments = std::make_shared<ConvertArguments>();
  command
      ->add_option("--checkpoint", arguments->checkpoint, "Checkpoint, or a Llama directory of Hugging Face")
      ->type_name("DIR")
      ->required();
  command
      ->add_option("--attention", arguments->attention,
                   fmt::format("New kind: {}", fmt::join(config::attention_kind_names(), ", ")))
      ->type_name("KIND")
      ->required();
  command->add_option("--out", arguments->out, "Directory to write; must not exist")
      ->type_name("DIR")
      ->required();
  command
      ->add_option(
          "--scale-init", arguments->scale_init,
          "Where a new s starts, as model.attention.scale_init [default: the checkpoint's, else auto: the "
          "mean row scale is 1]")
      ->transform(number())
      ->type_name("X");
  command
      ->add_option("--bias-init", arguments->bias_init,
                   "Where a new b starts [default: the checkpoint's, else 0]")
      ->transform(number())
      ->type_name("X");
  command->footer(
      "Example:\n"
      "  ssgpt convert --checkpoint runs/softmax/checkpoints/step-00000200 --attention ssmax --out "
      "ssmax-200\n"
      "  ssgpt train --config softmax.yaml --resume ssmax-200 --run-dir runs/swapped");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
