// What each query may attend to: how many keys, and where documents part the rows of a batch.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

// `length` tokens of row `batch` from time `begin` that attend to each other alone.
struct Segment {
  int64_t batch = 0;
  int64_t begin = 0;
  int64_t length = 0;
};

struct Positions {
  at::Tensor num_keys;            // int32 (B, T): n, keys that the query attends to, itself included
  std::vector<Segment> segments;  // in the order of the batch; empty where every row is one segment
};

// Rows without boundaries: n = t + 1.
Positions make_positions(int64_t batch, int64_t time, at::Device device);

// A document ends after its document_token_id, and n is 1 again at the token behind it.   tokens: int64 (B,
// T).
Positions make_document_positions(const at::Tensor& tokens, int64_t document_token_id);

}  // namespace ssgpt::model
