#include "model/inputs.h"

#include "core/check.h"
#include "model/positions.h"

#include <ATen/ops/empty.h>

namespace ssgpt::model {
namespace {

// Copies `from`, a CPU tensor, to `to`, which is reallocated if its shape differs.
void upload(const at::Tensor& from, at::Device device, at::Tensor& to) {
  if (!to.defined() || to.sizes() != from.sizes())
    to = at::empty(from.sizes(), from.options().device(device));
  // The pinned-memory allocator keeps this block until the copy is done.
  const at::Tensor pinned = at::empty(from.sizes(), from.options().pinned_memory(true));
  pinned.copy_(from);
  to.copy_(pinned, /*non_blocking=*/true);
}

}  // namespace

// Sets the spans from num_keys.
void InputStager::stage_spans(const at::Tensor& num_keys) {
  spans_are_windows_ = false;
  if (device_.is_cpu()) {
    staged_.spans = {.num_keys = num_keys, .starts = {}};
    return;
  }
  upload(num_keys, device_, staged_.spans.num_keys);
  upload(span_starts(num_keys), device_, staged_.spans.starts);
  staged_.spans.longest = longest_span(num_keys);
}

Inputs InputStager::stage(const at::Tensor& tokens, const at::Tensor& targets, const at::Tensor& num_keys) {
  SSGPT_CHECK(tokens.dim() == 2 && tokens.numel() > 0 && tokens.device().is_cpu() &&
                  tokens.scalar_type() == at::kLong && tokens.is_contiguous(),
              "tokens are no contiguous int64 (B, T) on the CPU");
  SSGPT_CHECK(!targets.defined() || (targets.sizes() == tokens.sizes() && targets.device().is_cpu() &&
                                     targets.scalar_type() == at::kLong && targets.is_contiguous()),
              "targets are not as the tokens are");
  SSGPT_CHECK(!num_keys.defined() || (num_keys.sizes() == tokens.sizes() && num_keys.device().is_cpu() &&
                                      num_keys.scalar_type() == at::kInt && num_keys.is_contiguous()),
              "num_keys are no contiguous int32 (B, T) on the CPU");
  const bool same_shape = staged_.tokens.defined() && staged_.tokens.sizes() == tokens.sizes();
  const bool on_cpu = device_.is_cpu();
  if (num_keys.defined()) {
    stage_spans(num_keys);
  } else if (document_token_id_) {
    stage_spans(count_keys_within_documents(tokens, *document_token_id_));
  } else if (!same_shape || !spans_are_windows_) {
    staged_.spans = {.num_keys = count_keys(tokens.size(0), tokens.size(1)).to(device_), .starts = {}};
    spans_are_windows_ = true;
  }
  if (on_cpu) {
    staged_.tokens = tokens;
    staged_.targets = targets;
  } else {
    upload(tokens, device_, staged_.tokens);
    if (targets.defined()) upload(targets, device_, staged_.targets);
  }
  return staged_;
}

}  // namespace ssgpt::model
