#include "start/start.h"

#include "checkpoint/checkpoint.h"
#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "start/beginning.h"
#include "start/choose_device.h"
#include "start/choose_products.h"
#include "start/examples.h"
#include "start/resolve.h"
#include "start/terms.h"

#include <filesystem>
#include <malloc.h>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::start {
namespace {

// Throws if the data are not those that the run was trained on so far.
void require_same_data(const Start& start, const std::string& fingerprint) {
  const bool goes_on = start.mode == Mode::kContinue || start.mode == Mode::kFork;
  if (!goes_on || start.state.data_fingerprint == fingerprint) return;
  throw core::InputError(
      "The training {} are not those that {} was trained on (fingerprint {}, now {}): the run would read "
      "other data. Restore them, or start a new run with its weights: --init-from.",
      start.data.examples ? "examples" : "shards", start.checkpoint->string(), start.state.data_fingerprint,
      fingerprint);
}

// Throws if the tokenizer is not the one that the run's ids came from; only warns if just the weights are
// used.
void require_same_tokenizer(const Start& start) {
  const std::string& now = start.data.tokenizer_fingerprint;
  if (!start.checkpoint || now.empty()) return;
  const std::filesystem::path copy = *start.checkpoint / "tokenizer.model";
  std::string then = start.state.tokenizer_fingerprint;
  if (then.empty() && core::exists(copy)) then = core::checksum_of_file(copy);
  if (then.empty() || then == now) return;
  const std::string differs = fmt::format(
      "data.tokenizer, {} (checksum {}), is not the tokenizer that {} was trained with (checksum {}; it "
      "carries a copy of it as tokenizer.model): its ids stand for other text.",
      start.config.data.tokenizer->string(), now, start.checkpoint->string(), then);
  if (start.mode != Mode::kInitFrom) throw core::InputError("{} Put that tokenizer back.", differs);
  core::log::warning("{}", differs);
}

// Reads the checkpoint's weights, converted to the attention that the run continues with.
void load_weights(Start& start) {
  if (!start.checkpoint) return;
  const bool with_optimizer = start.mode != Mode::kInitFrom;
  const bool verify = start.config.checkpoint.verify && !start.checkpoint_is_verified;
  checkpoint::Snapshot snapshot = checkpoint::read(*start.checkpoint, with_optimizer, verify);
  snapshot.spec.sequence_length = start.config.data.sequence_length;
  const config::AttentionKind held = snapshot.spec.config.attention.kind;
  config::AttentionConfig attention = start.config.model.attention;
  attention.kind = start.attention_kind();
  if (held != attention.kind) {
    core::log::info("The attention of {} is swapped from {} to {}.", start.checkpoint->string(),
                    to_string(held), to_string(attention.kind));
    snapshot = checkpoint::with_attention(snapshot, attention);
  }
  start.weights = std::move(snapshot.flat);
  malloc_trim(0);  // otherwise what reading and the swap leave would stay resident beside the model
}

// The origin of what `start` holds from before.
std::string origin_of(const Start& start) {
  return start.checkpoint ? (*start.checkpoint / "trainer/state.json").string() : "";
}

// Opens the data; chooses the device on rank 0, whose terms the others take and compare with their own.
void settle_terms(Start& start, parallel::Communicator& communicator) {
  parallel::Exchange& exchange = communicator.exchange();
  const parallel::Environment& environment = communicator.environment();
  if (communicator.is_main()) {
    if (!start.is_complete()) {
      choose_device(start.config, environment);
      start.state.products =
          choose_products(start.config, communicator.world_size(), start.state.products, origin_of(start));
    }
    if (communicator.world_size() == 1) return;
    post_terms(exchange, terms_of(start));
    parallel::agree(exchange, "start", {});
    return;
  }
  const Terms of_rank_zero = read_terms(exchange);
  if (!start.is_complete()) take_choices(start.config, of_rank_zero.config.train, environment);
  start.state.run_id = of_rank_zero.run_id;
  start.state.products = of_rank_zero.products;
  std::vector<std::string> lines = differences(of_rank_zero, terms_of(start));
  if (lines.empty() && !start.is_complete()) lines = take_products(of_rank_zero.products);
  parallel::agree(exchange, "start", lines);
}

// What each rank reads for itself once the config is settled.
void load(Start& start) {
  const std::string fingerprint = start.data.training_fingerprint();
  require_same_data(start, fingerprint);
  require_same_tokenizer(start);
  load_weights(start);
  start.state.beginning = beginning_of(start);
  start.state.data_fingerprint = fingerprint;
  start.state.steps_per_epoch = start.data.examples ? steps_per_epoch(start.config, *start.data.examples) : 0;
  start.state.tokenizer_fingerprint = start.data.tokenizer_fingerprint;
  start.state.dtype = to_string(start.config.train.dtype);
  start.state.config = config::dump(start.config);
  std::error_code gone;  // if the directory was removed, nothing starts from it
  start.state.directory = std::filesystem::current_path(gone).string();
}

}  // namespace

model::GPTSpec Start::spec() const {
  model::GPTSpec spec{.config = config.model,
                      .sequence_length = config.data.sequence_length,
                      .document_token_id = data.document_token_id};
  spec.config.attention.kind = attention_kind();
  return spec;
}

// A rank waits for the others late and briefly. Each rank finds errors in the command line, the config or the
// files by itself, with the same message as the others, which is printed once; and all read the checkpoint at
// the same time.
Start begin(const Options& options, parallel::Communicator& communicator) {
  Start start = resolve(options, [&communicator](const run::RunDirectory& directory) {
    return find_newest_together(communicator.exchange(), directory);
  });
  if (!start.is_complete()) start.data = open_data(start.config, std::move(start.data.examples));
  settle_terms(start, communicator);
  communicator.set_timeout(start.config.parallel.timeout_s);
  if (!start.is_complete()) load(start);
  return start;
}

Start begin_alone(const Options& options) {
  Start start = resolve(options, checkpoint::find_newest_valid);
  start.data = open_data(start.config, std::move(start.data.examples));
  choose_device(start.config);
  load(start);
  return start;
}

}  // namespace ssgpt::start
