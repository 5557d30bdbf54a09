#include "checkpoint/checkpoint.h"
#include "checkpoint/directory.h"
#include "checkpoint/trainer_state.h"
#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <ATen/ops/empty.h>

namespace ssgpt::checkpoint {

namespace {

// Copies `live` into `staged`, whose memory is kept from save to save. A GPU copies into pinned memory
// several times as fast.
void stage_tensor(const at::Tensor& live, at::Tensor& staged) {
  if (!live.defined()) {
    staged = at::Tensor();
    return;
  }
  if (!staged.defined() || staged.numel() != live.numel()) {
    staged = at::empty({live.numel()}, at::TensorOptions(at::kFloat).pinned_memory(live.is_cuda()));
  }
  staged.copy_(live);
}

}  // namespace

struct Writer::Impl {
  run::RunDirectory run_directory;
  Retention retention;
  bool async = true;
  bool verify = true;
  std::unique_ptr<parallel::Exchange> exchange;
  int64_t num_shared_saves = 0;
  Snapshot staged;
  std::future<void> pending;

  bool is_rank_zero() const { return exchange->rank() == 0; }

  void stage(const Snapshot& live) {
    staged.spec = live.spec;
    staged.trainer = live.trainer;
    staged.tokenizer = live.tokenizer;
    staged.flat.layout = live.flat.layout;
    staged.flat.moment_ranges = live.flat.moment_ranges;
    if (is_rank_zero()) {
      stage_tensor(live.flat.master, staged.flat.master);
    }
    stage_tensor(live.flat.exp_avg, staged.flat.exp_avg);
    stage_tensor(live.flat.exp_avg_sq, staged.flat.exp_avg_sq);
  }

  void write_staged() const {
    const int64_t step = staged.trainer->step;
    const std::filesystem::path directory = run_directory.checkpoint(step);
    std::optional<SharedSave> shared;
    if (!staged.flat.moment_ranges.empty()) {
      shared.emplace(*exchange, directory, num_shared_saves);
    }
    if (!is_rank_zero()) {
      write_share(staged.flat, *shared);
      return;
    }
    std::optional<parallel::Exchange::Hold> alone;
    if (!shared) alone.emplace(*exchange);
    // Anything of this name was set aside when the run began; anything that appeared since is replaced.
    write_directory(directory, staged, verify, IfExists::kReplace, shared ? &*shared : nullptr);
    core::log::info("checkpoint {} saved", directory.string());
    try {
      apply_retention(step);
    } catch (const std::exception& error) {  // nothing is lost by it, and the next save makes up for it
      core::log::warning("old checkpoints are kept until the next save: {}", error.what());
    }
  }

  // Whether this run saved it, and under this name. What does not say so is not this run's to delete.
  bool is_own(const run::Checkpoint& one) const {
    try {
      const TrainerState state = read_trainer_state(one.directory / kTrainerStateName);
      return state.run_id == staged.trainer->run_id && state.step == one.step;
    } catch (const core::Error&) {
      return false;
    }
  }

  // Checkpoints of later steps are not counted: they are damaged ones that a resume passed over, and counting
  // them would let good ones go for their sake. Neither are those of other runs.
  void apply_retention(int64_t newest) const {
    std::vector<run::Checkpoint> saved = run_directory.complete_checkpoints();
    std::erase_if(saved, [&](const run::Checkpoint& one) { return one.step > newest || !is_own(one); });
    const auto keep_last = static_cast<size_t>(std::max<int64_t>(retention.keep_last, 1));
    const size_t surplus = saved.size() - std::min(saved.size(), keep_last);
    for (const run::Checkpoint& one : std::span(saved).first(surplus)) {
      if (retention.keep_every <= 0 || one.step % retention.keep_every != 0) {
        remove_directory(one.directory);
      }
    }
  }
};

Writer::Writer(run::RunDirectory run_directory, const Retention& retention, bool async, bool verify,
               std::unique_ptr<parallel::Exchange> exchange)
    : impl_(std::make_unique<Impl>()) {
  SSGPT_CHECK(exchange != nullptr, "a writer without an exchange");
  impl_->run_directory = std::move(run_directory);
  impl_->retention = retention;
  impl_->async = async;
  impl_->verify = verify;
  impl_->exchange = std::move(exchange);
  if (!impl_->is_rank_zero()) {
    return;
  }
  const std::filesystem::path checkpoints = impl_->run_directory.checkpoints();
  core::create_writable_directory(checkpoints);
  core::remove_temporaries(checkpoints, [](std::string_view name) { return name.starts_with("step-"); });
}

Writer::~Writer() {
  try {
    wait();
  } catch (const parallel::PeerFailure& error) {  // the reason of the end as well, which not every rank tells
    core::log::warning("the checkpoint under way is not complete: {}", error.what());
  } catch (const std::exception& error) {
    core::log::error("{}", error.what());
  }
}

void Writer::save(const Snapshot& live) {
  SSGPT_CHECK(live.trainer.has_value(), "a run's checkpoint without a trainer state");
  wait();
  const bool is_shared = !live.flat.moment_ranges.empty();
  if (!is_shared && !impl_->is_rank_zero()) {
    return;
  }
  impl_->num_shared_saves += is_shared ? 1 : 0;
  impl_->stage(live);
  if (impl_->async) {
    impl_->pending = std::async(std::launch::async, [this] { impl_->write_staged(); });
  } else {
    impl_->write_staged();
  }
}

void Writer::check() {
  const bool has_ended =
      impl_->pending.valid() && impl_->pending.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  if (has_ended) impl_->pending.get();
}

void Writer::wait() {
  if (impl_->pending.valid()) {
    impl_->pending.get();
  }
}

}  // namespace ssgpt::checkpoint
