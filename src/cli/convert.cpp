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
  std::optional<double> attn_scale;
  std::optional<int64_t> floor_scale;
};

// Sets the requested constants a and f, within what a config allows. `before` is the checkpoint's kind, whose
// constants cannot change.
void set_floor(const ConvertArguments& arguments, config::AttentionKind before,
               config::AttentionConfig& attention) {
  if (!arguments.attn_scale && !arguments.floor_scale) return;
  const std::string given = arguments.attn_scale ? fmt::format("--attn-scale {}", *arguments.attn_scale)
                                                 : fmt::format("--floor-scale {}", *arguments.floor_scale);
  if (!config::has_floor(attention.kind)) {
    throw core::UsageError("{} has no effect with --attention {}; it is for {}", given,
                           config::to_string(attention.kind), config::names_with_floor());
  }
  if (attention.kind == before) {
    throw core::UsageError("{}: the checkpoint has been trained as {} already, with its own", given,
                           config::to_string(before));
  }
  if (arguments.attn_scale && !config::is_attn_scale(*arguments.attn_scale)) {
    throw core::UsageError("{}: it must be above 0 and at most {}", given, config::kMaxAttnScale);
  }
  if (arguments.attn_scale) attention.attn_scale = arguments.attn_scale;
  if (arguments.floor_scale) attention.floor_scale = arguments.floor_scale;
}

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
  set_floor(arguments, before.kind, attention);
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
  const std::string origin = (arguments.checkpoint / "trainer/state.json").string();
  config::AttentionConfig known = before.spec.config.attention;
  const auto asked = config::parse_attention_kind(arguments.attention);
  if (before.trainer && asked && config::has_floor(*asked) && !config::has_floor(old_kind)) {
    // The run's config may have set them for a later swap.
    const config::AttentionConfig of_run = config::parse(before.trainer->config, origin).model.attention;
    known.attn_scale = of_run.attn_scale;
    known.floor_scale = of_run.floor_scale;
  }
  const config::AttentionConfig attention = requested_attention(arguments, known);
  if (attention.kind == old_kind) {
    core::log::warning("{} has attention kind {} already: the result is a copy",
                       arguments.checkpoint.string(), config::to_string(old_kind));
  }
  checkpoint::Snapshot after = checkpoint::with_attention(before, attention);
  if (after.trainer && attention.kind != old_kind) {
    // Records the swap, so that a resume accepts the new kind as intended.
    config::Config config = config::parse(after.trainer->config, origin);
    if (config::has_floor(attention.kind)) {
      config.model.attention.attn_scale = attention.attn_scale;
      config.model.attention.floor_scale = attention.floor_scale;
    }
    config::add_swap(config, {.at_step = after.trainer->step, .kind = attention.kind});
    after.trainer->config = config::dump(config);
    config::parse(after.trainer->config, origin);  // throws where the swap conflicts with the rest
  }
  checkpoint::write(out, after);
  fmt::print("{}: {} -> {}\n", out.string(), config::to_string(old_kind), config::to_string(attention.kind));
}

}  // namespace

void add_convert(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "convert",
      "Swap the attention of a checkpoint without training. Tensors common to both kinds are kept bit for "
      "bit, with\n"
      "their optimizer moments, except that s is converted where it now multiplies another function of n, as "
      "between\n"
      "softmax_temperature and ssmax, so that each head keeps its mean row scale. New tensors get their "
      "initial values\n"
      "and zero moments.");
  const auto arguments = std::make_shared<ConvertArguments>();
  command
      ->add_option("--checkpoint", arguments->checkpoint,
                   "Checkpoint, or a Hugging Face directory of a Llama or Qwen 3 model")
      ->type_name("DIR")
      ->required();
  command
      ->add_option("--attention", arguments->attention,
                   fmt::format("New kind of attention: {}", fmt::join(config::attention_kind_names(), ", ")))
      ->type_name("KIND")
      ->required();
  command->add_option("--out", arguments->out, "Directory to write, which must not exist")
      ->type_name("DIR")
      ->required();
  command
      ->add_option(
          "--scale-init", arguments->scale_init,
          "Initial value of a new s, as model.attention.scale_init [default: the checkpoint's, else auto: "
          "the mean row scale is 1]")
      ->transform(number())
      ->type_name("X");
  command
      ->add_option("--bias-init", arguments->bias_init,
                   "Initial value of a new b [default: the checkpoint's, else 0]")
      ->transform(number())
      ->type_name("X");
  command
      ->add_option("--attn-scale", arguments->attn_scale,
                   fmt::format("Constant a of {}, as model.attention.attn_scale [default: the checkpoint's, "
                               "else {}]",
                               config::names_with_floor(), config::PositionConstants().attn_scale))
      ->transform(number())
      ->type_name("X");
  command
      ->add_option("--floor-scale", arguments->floor_scale,
                   fmt::format("Constant f of {}, as model.attention.floor_scale [default: the checkpoint's, "
                               "else {}]",
                               config::names_with_floor(), config::PositionConstants().floor_scale))
      ->transform(whole_number(1, config::kMaxFloorScale))
      ->type_name("N");
  command->footer(
      "Examples:\n"
      "  ssgpt convert --checkpoint runs/softmax/checkpoints/step-00000200 --attention ssmax --out "
      "ssmax-200\n"
      "  ssgpt train --config softmax.yaml --resume ssmax-200 --run-dir runs/swapped");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace ssgpt::cli
