// ssgpt evaluate attention

#include "cli/evaluate.h"
#include "cli/evaluate_options.h"

namespace ssgpt::cli {
namespace {

constexpr const char* kAttentionFooter =
    "Of each query, layer and head:\n"
    "  entropy           - sum of a log a over the n keys that it attends to, in nats; log n where all have "
    "the "
    "same weight\n"
    "  largest weight    the largest a: where attention fades, it falls as the context grows\n"
    "  first token       the weight of the first token of the window (or of its document, where attention "
    "ends "
    "with one)\n"
    "  row scale         what its scores q k / sqrt(H) are multiplied by: s log n of SSMax, 1 of Softmax; "
    "--row-scale and\n"
    "                    --yarn included\n"
    "The tables have the means over heads, by layer; --json and --out hold every head. Weights are computed "
    "from "
    "blocks of\n"
    "queries, so that memory grows with the length of a window and not with its square; time does, so "
    "--windows 8 "
    "is a good\n"
    "beginning.\n\n"
    "Example:\n"
    "  ssgpt evaluate attention --checkpoint runs/softmax runs/ssmax --data 'my/shards/validation_*.bin' "
    "--max-length 4096 \\\n"
    "    --windows 8 --out runs/attention\n"
    "  .venv/bin/python scripts/report.py runs/attention     # evaluation.png and report.html from it";

}  // namespace

void add_evaluate_attention(CLI::App& evaluate) {
  CLI::App* command = evaluate.add_subcommand("attention",
                                              "Whether attention fades: entropy, largest weight, weight of "
                                              "the first token and row scale by position");
  add_window_comparison(*command, evaluation::compare_attention);
  command->footer(kAttentionFooter);
}

}  // namespace ssgpt::cli
