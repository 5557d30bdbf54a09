// ssgpt evaluate closed-forms

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "cli/number_checks.h"
#include "cli/print.h"
#include "evaluation/closed_forms.h"
#include "report/draw_command.h"

#include <memory>
#include <string>

#include <fmt/format.h>

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
    "No checkpoint is read. Each kind multiplies given vectors of n logits by its row scale c(n), computed "
    "by the same\n"
    "code that scales the queries of a model, and a softmax turns them into weights. Figures 1 and 3 of the "
    "paper\n"
    "(arXiv 2501.19399):\n"
    "  fading   one logit at --high among n - 1 at --low, for each n: its weight falls towards 0 under "
    "Softmax, and under\n"
    "           SSMax only where --high - --low is below 1/s\n"
    "  focus    one logit at z among n - 1 spread evenly from 0 to 1, for z from 0 to 1 + 2/s: as n grows, "
    "its weight\n"
    "           under SSMax approaches 1 where z is above 1 + 1/s, and 0 where it is below\n\n"
    "Examples:\n"
    "  ssgpt evaluate closed-forms --out runs/closed-forms\n"
    "  ssgpt evaluate closed-forms --kinds softmax,softmax_temperature,ssmax,ssmax_bias --scale 0.3 --bias "
    "0.5\n";

}  // namespace

void add_evaluate_closed_forms(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand(
      "closed-forms",
      "Compute the attention weights that each row scale gives to fixed logits, without a checkpoint");
  const auto arguments = std::make_shared<ClosedFormArguments>();
  evaluation::ClosedFormOptions& options = arguments->options;
  const auto add_number = [&](const char* name, double& value, const char* text) {
    command->add_option(name, value, text)->transform(number())->capture_default_str()->type_name("X");
  };
  command->add_option("--kinds", arguments->kinds, "Kinds of attention, none with a learned p_n")
      ->capture_default_str()
      ->type_name("KIND,KIND");
  add_number("--scale", options.scale, "Value of s for kinds that have it, from 1e-6 to 1e6");
  add_number("--bias", options.bias, "Value of b for kinds that have it, from -1e6 to 1e6");
  add_number("--attn-scale", options.constants.attn_scale, "Constant a for kinds that use it");
  command->add_option("--floor-scale", options.constants.floor_scale, "Constant f for kinds that use it")
      ->transform(whole_number(1, config::kMaxFloorScale))
      ->capture_default_str()
      ->type_name("N");
  command
      ->add_option("--trained-length", options.constants.trained_length,
                   "Trained length T for kinds that use it, in tokens")
      ->transform(whole_number(2))
      ->capture_default_str()
      ->type_name("N");
  add_number("--high", options.high, "Largest logit of the fading form, from -1e6 to 1e6");
  add_number("--low", options.low, "All other logits of the fading form");
  arguments->lengths_option =
      command
          ->add_option("--lengths", arguments->lengths,
                       "Values of n in the fading form, ascending, 1 or more [default: 1 to 100,000, twelve "
                       "per decade]")
          ->type_name("LIST");
  command->add_option("--sizes", arguments->sizes, "Values of n in the focus form, ascending, 3 or more")
      ->capture_default_str()
      ->type_name("LIST");
  command->add_flag("--json", arguments->json,
                    "Print the contents of closed_forms.json instead of the tables");
  command
      ->add_option("--out", arguments->out,
                   "Also write closed_forms.json, closed_forms.csv and table.txt into this directory")
      ->type_name("DIR");
  command->footer(fmt::format("{}  {}   # closed_forms.png from it", kClosedFormFooter,
                              report::draw_command("runs/closed-forms")));
  command->callback([arguments] { print_closed_forms(*arguments); });
}

}  // namespace ssgpt::cli
