// Writes the logits that our model computes, for tests that compare them with another implementation:
//   ssgpt_logits CHECKPOINT TOKENS ROWS OUT    TOKENS: raw int32 (ROWS, T).  OUT: raw fp32 (ROWS, T, V).

#include "core/file.h"
#include "evaluation/load_model.h"

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <ATen/ops/from_blob.h>

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: ssgpt_logits CHECKPOINT TOKENS ROWS OUT\n", stderr);
    return 2;
  }
  namespace core = ssgpt::core;
  std::string bytes = core::read_text(argv[2]);
  const int64_t rows = std::atoll(argv[3]);
  const int64_t columns = static_cast<int64_t>(bytes.size() / sizeof(int32_t)) / rows;
  const auto loaded =
      ssgpt::evaluation::load_model(argv[1], columns, {.device = ssgpt::config::Device::kCpu});
  const at::Tensor tokens = at::from_blob(bytes.data(), {rows, columns}, at::kInt).to(at::kLong);
  const at::Tensor logits = loaded.model->logits(tokens).contiguous();
  core::AtomicFile out(argv[4]);
  out.write(std::as_bytes(std::span(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()))));
  out.commit();
  return 0;
}
