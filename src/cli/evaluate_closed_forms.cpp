// ssgpt evaluate closed-forms

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "cli/print.h"
#include "evaluation/closed_forms.h"

#include <memory>
#include <string>

namespace ssgpt::cli {
namespace {

struct ClosedFormArguments {
  evaluation::ClosedFormOptions options;
  std::string kinds = "softmax,ssmax";
  std::string lengths;
  std::string sizes = "10,100,1000,10000";
  const CLI::Option* lengths_option = nullptr;
  bool json = false;
  std::string out;
};

void print_closed_forms(const ClosedFormArguments& arguments) {
  evaluation::ClosedFormOptions options = arguments.options;
  options.kinds = parse_kinds("--kinds", arguments.kinds);
  if (arguments.lengths_option->count() > 0) options.lengths = parse_counts("--lengths", arguments.lengths);
  options.sizes = parse_counts("--sizes", arguments.sizes);
  const report::ClosedForms forms = evaluation::compute_closed_forms(options);
  if (!arguments.out.empty()) report::write_files(forms, arguments.out);
  if (arguments.json) {
    print_raw(report::to_json(forms));
  } else {
    print_text(report::to_table(forms));
  }
}

constexpr const char* kClosedFormFooter =
    "No checkpoint is read: vectors of n logits are given, each kind multiplies them by its row scale c(n), "
    "which "
    "the code\n"
    "that scales the queries of a model computes, and a softmax makes weights of them. Figures 1 and 3 of "
    "the paper\n"
    "(arXiv 2501.19399):\n"
    "  fading   one logit at --high among n - 1 at --low, for each n: its weight falls towards 0 under "
    "Softmax, and "
    "under\n"
    "           SSMax only where --high - --low is below 1/s\n"
    "  focus    one logit at z among n - 1 spread evenly from 0 to 1, for z from 0 to 1 + 2/s: as n grows, "
    "under "
    "SSMax it\n"
    "           nears 1 where z is above 1 + 1/s, and 0 where it is below\n\n"
    "Example:\n"
    "  ssgpt evaluate closed-forms --out runs/closed-forms\n"
    "  ssgpt evaluate closed-forms --kinds softmax,softmax_temperature,ssmax,ssmax_bias --scale 0.3 --bias "
    "0.5\n"
    "  .venv/bin/python scripts/report.py runs/closed-forms     # closed_forms.png from it";

}  // namespace

void add_evaluate_closed_forms(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "closed-forms", "What each row scale makes of vectors of logits that are given, without a checkpoint");
  const auto arguments = std::make_shared<ClosedFormArguments>();
  evaluation::ClosedFormOptions& options = arguments->options;
  const auto add_number = [&](const char* name, double& value, const char* text) {
    command->add_option(name, value, text)->transform(number())->capture_default_str()->type_name("X");
  };
  command->add_option("--kinds", arguments->kinds, "Kinds of attention whose p_n is not learned")
      ->capture_default_str()
      ->type_name("LIST");
  add_number("--scale", options.scale, "s of the kinds that have one, 1e-6 to 1e6");
  add_number("--bias", options.bias, "b of the kinds that have one, up to 1e6 either way");
  add_number("--attn-scale", options.constants.attn_scale, "a of the kinds that have one");
  command->add_option("--floor-scale", options.constants.floor_scale, "f of the kinds that have one")
      ->transform(whole_number(1, config::kMaxFloorScale))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--trained-length", options.constants.trained_length,
                   "T of the kinds that have one, in tokens")
      ->transform(whole_number(2))
      ->capture_default_str()
      ->type_name("N");
  add_number("--high", options.high, "The largest logit of the first form, up to 1e6 either way");
  add_number("--low", options.low, "All others of it");
  arguments->lengths_option =
      command
          ->add_option("--lengths", arguments->lengths,
                       "n of the first form, rising, 1 or more [default: 1 to 100,000, twelve a decade]")
          ->type_name("LIST");
  command->add_option("--sizes", arguments->sizes, "n of the second form, rising, 3 or more")
      ->capture_default_str()
      ->type_name("LIST");
  command->add_flag("--json", arguments->json, "Print what closed_forms.json holds in place of the tables");
  command
      ->add_option("--out", arguments->out,
                   "Also write closed_forms.json, closed_forms.csv and table.txt into this directory")
      ->type_name("DIR");
  command->footer(kClosedFormFooter);
  command->callback([arguments] { print_closed_forms(*arguments); });
}

}  // namespace ssgpt::cli
