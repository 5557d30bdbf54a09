// Writes the logits that our model computes, for tests that compare them with another implementation:
//   ssgpt_logits CHECKPOINT TOKENS ROWS OUT [NAME=VALUE]...
//   TOKENS: raw int32 (ROWS, T).  OUT: raw fp32 (ROWS, T, V).  NAME: rope_theta, yarn_factor, row_scale,
//   attention or extend_pn, as evaluation::Overrides has them.

#include "core/file.h"
#include "evaluation/load_model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

#include <ATen/ops/from_blob.h>

namespace {

// False where there is no such name.
bool set(const std::string& name, const std::string& value, ssgpt::evaluation::Overrides& overrides) {
  if (name == "attention") {
    overrides.attention = ssgpt::config::parse_attention_kind(value);
    return overrides.attention.has_value();
  }
  const double number = std::atof(value.c_str());
  if (name == "rope_theta") {
    overrides.rope_theta = number;
  } else if (name == "yarn_factor") {
    overrides.yarn_factor = number;
  } else if (name == "row_scale") {
    overrides.row_scale = number;
  } else if (name == "extend_pn") {
    overrides.extend_pn = number != 0.0;
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  ssgpt::evaluation::Overrides overrides;
  bool good = argc >= 5;
  for (int i = 5; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = std::min(argument.find('='), argument.size() - 1);
    good = good && set(argument.substr(0, equals), argument.substr(equals + 1), overrides);
  }
  if (!good) {
    std::fputs("usage: ssgpt_logits CHECKPOINT TOKENS ROWS OUT [NAME=VALUE]...\n", stderr);
    return 2;
  }
  namespace core = ssgpt::core;
  std::string bytes = core::read_text(argv[2]);
  const int64_t rows = std::atoll(argv[3]);
  const int64_t columns = static_cast<int64_t>(bytes.size() / sizeof(int32_t)) / rows;
  const auto loaded =
      ssgpt::evaluation::load_model(argv[1], {.sequence_length = columns, .overrides = overrides});
  const at::Tensor tokens = at::from_blob(bytes.data(), {rows, columns}, at::kInt).to(at::kLong);
  const at::Tensor logits = loaded.model->logits(tokens).contiguous();
  core::AtomicFile out(argv[4]);
  out.write(std::as_bytes(std::span(logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel()))));
  out.commit();
  return 0;
}
