// ssgpt evaluate attention

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"
#include "report/draw_command.h"

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

constexpr const char* kAttentionFooter =
    "For each query, layer and head:\n"
    "  entropy           - sum of a log a over the n keys attended to, in nats; log n if all have the same "
    "weight a\n"
    "  largest weight    the largest a: where attention fades, it falls as the context grows\n"
    "  first token       weight of the first token of the window (with document masking, of the document)\n"
    "  row scale         factor on the scores q k / sqrt(H): s log n for SSMax, 1 for Softmax; includes "
    "--row-scale\n"
    "                    and --yarn\n"
    "The tables show means over heads, by layer; --json and --out include every head. Weights are computed "
    "from blocks\n"
    "of queries, so memory grows linearly with the window length, and time quadratically: --windows 8 is a "
    "good start.\n\n"
    "Examples:\n"
    "  ssgpt evaluate attention --checkpoint runs/softmax runs/ssmax --data 'my/shards/validation_*.bin' "
    "--max-length 4096 \\\n"
    "    --windows 8 --out runs/attention\n";

}  // namespace

void add_evaluate_attention(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("attention",
                                              "Measure whether attention fades: entropy, largest weight, "
                                              "weight of the first token and row scale by position");
  add_window_comparison(*command, evaluation::compare_attention);
  command->footer(fmt::format("{}  {}   # evaluation.png and report.html from it", kAttentionFooter,
                              report::draw_command("runs/attention")));
}

}  // namespace ssgpt::cli
