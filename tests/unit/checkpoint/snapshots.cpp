#include "checkpoint/snapshots.h"

#include "core/random.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

#include <gtest/gtest.h>

namespace ssgpt::checkpoint {

namespace {

void fill_random(const FlatState& flat, const at::Tensor& tensor, uint64_t key) {
  for (const model::Parameter& parameter : flat.layout) {
    for (int64_t i = parameter.offset; i < parameter.offset + parameter.numel; ++i) {
      tensor.mutable_data_ptr<float>()[i] =
          static_cast<float>(core::random_normal(key, static_cast<uint64_t>(i)));
    }
  }
}

}  // namespace

model::GPTSpec tiny_spec(config::AttentionKind kind) {
  model::GPTSpec spec;
  spec.config.vocab_size = 37;
  spec.config.hidden_size = 12;
  spec.config.num_hidden_layers = 3;
  spec.config.num_attention_heads = 2;
  spec.config.intermediate_size = 20;
  spec.config.rope_theta = 10000.0 / 3.0;
  spec.config.rms_norm_eps = 1e-5 / 3.0;
  spec.config.initializer_range = 0.1 + 0.2;  // 0.30000000000000004
  spec.config.attention.kind = kind;
  spec.config.attention.bias_init = -1.0 / 3.0;
  if (config::has_floor(kind)) {
    spec.config.attention.attn_scale = 2.0 / 3.0;
    spec.config.attention.floor_scale = 5;
  }
  spec.sequence_length = 19;
  return spec;
}

Snapshot random_snapshot(config::AttentionKind kind, int64_t step, uint64_t seed) {
  return random_snapshot(tiny_spec(kind), step, seed);
}

Snapshot random_snapshot(const model::GPTSpec& spec, int64_t step, uint64_t seed) {
  Snapshot snapshot;
  snapshot.spec = spec;
  snapshot.flat = make_flat_state(model::parameter_specs(snapshot.spec.config, snapshot.spec.sequence_length),
                                  /*with_moments=*/true);
  fill_random(snapshot.flat, snapshot.flat.master, 10 * seed);
  fill_random(snapshot.flat, snapshot.flat.exp_avg, 10 * seed + 1);
  fill_random(snapshot.flat, snapshot.flat.exp_avg_sq, 10 * seed + 2);
  snapshot.flat.exp_avg_sq.abs_();
  TrainerState state;
  state.step = step;
  state.tokens = int64_t{1} << 53 | 1;
  state.run_id = "run \"quoted\" \n é";
  state.dtype = "bfloat16";
  state.data_fingerprint = "0123abc";
  state.config = "run:\n  name: x\n";
  state.last_line_step = 3;
  state.loss_sums = {0.1 + 0.2, 0.3};
  state.loss_steps = 3;
  state.smoothed_loss = std::numeric_limits<double>::denorm_min();
  state.smoothed_weight = 1.0 - std::numeric_limits<double>::epsilon() / 2;
  snapshot.trainer = state;
  return snapshot;
}

std::vector<uint32_t> bits_of(const at::Tensor& flat, const model::Parameter& parameter) {
  std::vector<uint32_t> bits(static_cast<size_t>(parameter.numel));
  std::memcpy(bits.data(), flat.const_data_ptr<float>() + parameter.offset, bits.size() * sizeof(uint32_t));
  return bits;
}

const model::Parameter* find(const FlatState& flat, const std::string& name) {
  const auto found = std::find_if(flat.layout.begin(), flat.layout.end(),
                                  [&](const model::Parameter& p) { return p.spec.name == name; });
  return found == flat.layout.end() ? nullptr : &*found;
}

void expect_equal_tensors(const FlatState& a, const FlatState& b, bool moments) {
  ASSERT_EQ(a.layout.size(), b.layout.size());
  for (const model::Parameter& parameter : a.layout) {
    const model::Parameter* other = find(b, parameter.spec.name);
    ASSERT_NE(other, nullptr) << parameter.spec.name;
    EXPECT_EQ(parameter.spec.shape, other->spec.shape) << parameter.spec.name;
    EXPECT_EQ(bits_of(a.master, parameter), bits_of(b.master, *other)) << parameter.spec.name;
    if (moments) {
      EXPECT_EQ(bits_of(a.exp_avg, parameter), bits_of(b.exp_avg, *other)) << parameter.spec.name;
      EXPECT_EQ(bits_of(a.exp_avg_sq, parameter), bits_of(b.exp_avg_sq, *other)) << parameter.spec.name;
    }
  }
}

void flip_byte(const std::filesystem::path& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x04));
}

void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::vector<std::filesystem::path> files_below(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

const std::vector<config::AttentionKind>& all_kinds() {
  static const std::vector<config::AttentionKind> kinds = [] {
    std::vector<config::AttentionKind> list;
    for (const config::AttentionKindRow& row : config::attention_kinds())
      list.push_back(config::kind_of(row));
    return list;
  }();
  return kinds;
}

}  // namespace ssgpt::checkpoint
