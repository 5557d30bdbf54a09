// A batch on its way from the host to the device that computes: tokens, targets, and where documents begin.
#pragma once

#include "kernels/ops.h"

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

struct Inputs {
  at::Tensor tokens;   // int64 (B, T)
  at::Tensor targets;  // int64 (B, T), undefined where none were given
  kernels::Spans spans;
};

// Brings batches to one device. On a GPU the copies are queued and nothing waits: their sources are pinned
// memory that is not written to again.
class InputStager {
 public:
  // document_token_id: set where attention does not cross the end of a document, which this id marks.
  InputStager(at::Device device, std::optional<int64_t> document_token_id)
      : device_(device), document_token_id_(document_token_id) {}

  // tokens, targets: int64 (B, T) on the CPU, contiguous; targets may be undefined. num_keys: int32 (B, T) on
  // the CPU, contiguous, which spans the rows hold; undefined: windows, or their documents. On a CPU the
  // result shares their memory; on a GPU it is overwritten, in the order of the stream, by the next batch of
  // the same shape.
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
