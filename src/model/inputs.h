// Transfers a batch from the host to the compute device: tokens, targets, and the spans of attention.
#pragma once

#include "kernels/ops.h"

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct Inputs {
  at::Tensor tokens;   // int64 (B, T)
  at::Tensor targets;  // int64 (B, T); undefined if none were given
  kernels::Spans spans;
};

// Stages batches on one device. On a GPU the copies are queued without waiting, from pinned memory that is
// not reused before they are done.
class InputStager {
 public:
  // document_token_id: set for document masking; the id that ends a document.
  InputStager(at::Device device, std::optional<int64_t> document_token_id)
      : device_(device), document_token_id_(document_token_id) {}

  // tokens, targets: int64 (B, T) on the CPU, contiguous; targets may be undefined. num_keys: int32 (B, T) on
  // the CPU, contiguous, defines the spans of the rows; undefined: whole windows, or their documents. On a
  // CPU the result shares the arguments' memory; on a GPU it is overwritten, in stream order, by the next
  // batch of the same shape.
  Inputs stage(const at::Tensor& tokens, const at::Tensor& targets,
               const at::Tensor& num_keys = at::Tensor());

 private:
  void stage_spans(const at::Tensor& num_keys);

  const at::Device device_;
  const std::optional<int64_t> document_token_id_;
  Inputs staged_;
  bool spans_are_windows_ = false;  // of staged_
};

}  // namespace ssgpt::model
