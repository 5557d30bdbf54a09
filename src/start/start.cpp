#include "start/start.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/log.h"
#include "start/choose_device.h"
#include "start/resolve.h"
#include "start/terms.h"

#include <functional>
#include <utility>

namespace ssgpt::start {
namespace {

// Throws where the shards are not those that the run was trained on so far.
void require_same_data(const Start& start, const std::string& fingerprint) {
  const bool goes_on = start.mode == Mode::kContinue || start.mode == Mode::kFork;
  if (!goes_on || start.state.data_fingerprint == fingerprint) return;
  throw core::InputError(
      "The training shards are not those that {} was trained on (fingerprint {}, now {}): the run would read "
      "other data. Restore them, or start a new run with its weights: --init-from.",
      start.checkpoint->string(), start.state.data_fingerprint, fingerprint);
}

// Reads the checkpoint's weights, with the attention that the run goes on with.
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
}

// What rank 0 says; empty on rank 0 itself. Waits for it, so it is asked as late as can be: what is wrong
// with the command line, the config or the files each rank finds by itself, and the words of all are told
// once.
using OfRankZero = std::function<const Terms&()>;

Start make(const Options& options, parallel::Communicator& communicator, const OfRankZero& of_rank_zero) {
  // Every byte of a checkpoint is read for it.
  const auto find_newest = [&](const run::RunDirectory& directory) {
    return of_rank_zero ? of_rank_zero().newest : checkpoint::find_newest_valid(directory);
  };
  Start start = resolve(options, find_newest);
  communicator.set_timeout(start.config.parallel.timeout_s);
  if (start.is_complete()) return start;
  start.data = open_data(start.config);
  if (of_rank_zero) {
    take_choices(start.config, of_rank_zero().config.train, communicator.environment());
  } else {
    choose_device(start.config, communicator.environment());
  }
  const std::string fingerprint = start.data.training.fingerprint();
  require_same_data(start, fingerprint);
  load_weights(start);
  start.state.data_fingerprint = fingerprint;
  start.state.dtype = to_string(start.config.train.dtype);
  start.state.config = config::dump(start.config);
  return start;
}

}  // namespace

model::GPTSpec Start::spec() const {
  model::GPTSpec spec{.config = config.model,
                      .sequence_length = config.data.sequence_length,
                      .document_token_id = data.document_token_id};
  spec.config.attention.kind = attention_kind();
  return spec;
}

Start begin(const Options& options, parallel::Communicator& communicator) {
  parallel::Board& board = communicator.board();
  if (communicator.is_main()) {
    Start start = make(options, communicator, {});
    if (communicator.world_size() > 1) {
      post_terms(board, terms_of(start));
      parallel::agree(board, "start", {});
    }
    return start;
  }
  std::optional<Terms> received;
  const auto of_rank_zero = [&]() -> const Terms& {
    if (!received) received = read_terms(board);
    return *received;
  };
  Start start = make(options, communicator, of_rank_zero);
  start.state.run_id = of_rank_zero().run_id;
  parallel::agree(board, "start", differences(of_rank_zero(), terms_of(start)));
  return start;
}

Start begin_alone(const Options& options) {
  parallel::Communicator alone;
  return make(options, alone, {});
}

}  // namespace ssgpt::start
