#include "model/decoder.h"

#include "core/check.h"
#include "kernels/ops.h"
#include "model/block_weights.h"
#include "model/linear.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

namespace ssgpt::model {
namespace {

// Prompt tokens per chunk: enough for efficient GEMMs.
constexpr int64_t kChunkTokens = 256;
// Up to this many rows, reading the weights takes longer than multiplying with them.
constexpr int64_t kThinRows = 16;

// Activations of `batch` x `time` rows, M = batch time.
struct Workspace {
  at::Tensor tokens;       // int64 (M)
  at::Tensor num_keys;     // int32 (batch, time)
  at::Tensor residual;     // data (M, D)
  at::Tensor normed;       // data (M, D)
  at::Tensor rstd;         // fp32 (M)
  at::Tensor qkv;          // data (M, 3D)
  at::Tensor qkv_heads;    // (batch, time, 3, N, H): a view of qkv
  at::Tensor heads;        // data (M, D)
  at::Tensor heads_split;  // (batch, time, N, H): a view of heads
  at::Tensor branch;       // data (M, D)
  at::Tensor gate_up;      // data (M, 2F)
  at::Tensor hidden;       // data (M, F)
  bool thin = false;       // few rows: use kernels::thin_linear_forward
};

struct Cache {
  at::Tensor keys, values;  // data (B, N, C, H)
};

}  // namespace

struct Decoder::Impl {
  Impl(const GPT& model, int64_t sequences, int64_t positions);

  Workspace allocate(int64_t sequences, int64_t time, bool thin) const;
  void linear(const Workspace& work, const at::Tensor& x, const at::Tensor& weight,
              const at::Tensor& out) const;
  void fill(const Workspace& work, std::span<const int64_t> tokens);
  void attend(const Workspace& work, const BlockWeights& block, const Cache& cache) const;
  // Runs the rows of `work` through all blocks on the first sequences of the cache; the normed result is in
  // work.normed.
  void forward(const Workspace& work);
  // Appends one row of `tokens` to each of the first `sequences` sequences, in chunks; the normed result of
  // the last chunk is in chunk.normed.
  void read(int64_t sequences, std::span<const int64_t> tokens, AttentionWatch* watched = nullptr);
  // Stores a layer's attention masses in `watch`: for the last row of each sequence of `work`, whose keys are
  // in `cache`.
  void watch_last(const Workspace& work, const Cache& cache, int64_t layer) const;
  void copy_first_to_all(int64_t begin, int64_t count);

  const GPT& gpt;
  const int64_t batch;
  const int64_t capacity;
  const int64_t num_heads;
  const int64_t head_dim;
  const double norm_eps;
  kernels::Rotation rotation, no_rotation;  // `capacity` rows; see AttentionContext
  std::vector<BlockWeights> blocks;
  at::Tensor embedding, final_norm, head;  // data (V, D), (D), (V, D)
  std::vector<Cache> caches;
  at::Tensor attention_scratch;  // fp32 (B, N, C + H)
  at::Tensor logits;             // fp32 (B, V)
  Workspace one_token;           // for one token of all sequences
  Workspace chunk;               // for the chunk shape used last
  int64_t length = 0;
  bool equal_sequences = true;
  AttentionWatch* watch = nullptr;  // set while the chunk to be watched is read
  std::vector<int32_t> num_keys;    // (B): of the last token
  std::vector<bool> document_ends;  // (B): whether the last token ended a document
};

Decoder::Impl::Impl(const GPT& model, int64_t sequences, int64_t positions)
    : gpt(model),
      batch(sequences),
      capacity(positions),
      num_heads(model.spec().config.num_attention_heads),
      head_dim(config::head_dim(model.spec().config)),
      norm_eps(model.spec().config.rms_norm_eps),
      num_keys(static_cast<size_t>(sequences), 0),
      document_ends(static_cast<size_t>(sequences), false) {
  const config::ModelConfig& config = gpt.spec().config;
  SSGPT_CHECK(batch > 0 && capacity > 0, "a decoder of {} sequences and {} positions", batch, capacity);
  SSGPT_CHECK(!has_learned_position(config.attention.kind) || capacity <= gpt.spec().sequence_length,
              "{} positions, but p_n has {} entries", capacity, gpt.spec().sequence_length);
  const at::Device device = gpt.execution().device;
  const auto rotation_of = [&](int64_t rotated_dims) {
    return make_rotation(capacity, rotated_dims, config.rope_theta, device, gpt.spec().rope_change);
  };
  rotation = rotation_of(config::rotated_dims(config));
  no_rotation = rotation_of(0);
  const at::Tensor position_table =
      make_position_table(config.attention.kind, position_constants(gpt.spec()), capacity, device);
  const ParameterStore& store = gpt.parameters();
  embedding = store.compute("model.embed_tokens.weight");
  final_norm = store.compute("model.norm.weight");
  head = store.compute("lm_head.weight");
  const at::TensorOptions data = at::TensorOptions().device(device).dtype(gpt.execution().dtype);
  const at::TensorOptions fp32 = data.dtype(at::kFloat);
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    blocks.push_back(bind_block_weights(store, config, layer, position_table));
    caches.push_back({at::empty({batch, num_heads, capacity, head_dim}, data),
                      at::empty({batch, num_heads, capacity, head_dim}, data)});
  }
  attention_scratch = at::empty({batch, num_heads, capacity + head_dim}, fp32);
  logits = at::empty({batch, config.vocab_size}, fp32);
  one_token = allocate(batch, 1, /*thin=*/true);
}

Workspace Decoder::Impl::allocate(int64_t sequences, int64_t time, bool thin) const {
  const config::ModelConfig& config = gpt.spec().config;
  const int64_t rows = sequences * time;
  const int64_t hidden = config.hidden_size;
  const at::TensorOptions data =
      at::TensorOptions().device(gpt.execution().device).dtype(gpt.execution().dtype);
  Workspace work;
  work.tokens = at::empty({rows}, data.dtype(at::kLong));
  work.num_keys = at::empty({sequences, time}, data.dtype(at::kInt));
  work.residual = at::empty({rows, hidden}, data);
  work.normed = at::empty({rows, hidden}, data);
  work.rstd = at::empty({rows}, data.dtype(at::kFloat));
  work.qkv = at::empty({rows, 3 * hidden}, data);
  work.qkv_heads = work.qkv.view({sequences, time, 3, num_heads, head_dim});
  work.heads = at::empty({rows, hidden}, data);
  work.heads_split = work.heads.view({sequences, time, num_heads, head_dim});
  work.branch = at::empty({rows, hidden}, data);
  work.gate_up = at::empty({rows, 2 * config.intermediate_size}, data);
  work.hidden = at::empty({rows, config.intermediate_size}, data);
  work.thin = thin;
  return work;
}

void Decoder::Impl::linear(const Workspace& work, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& out) const {
  if (work.thin) {
    kernels::thin_linear_forward(x, weight, out);
  } else {
    linear_forward(x, weight, out);
  }
}

// Fills in the tokens (row-major) and the number of keys of each: one more than the previous token's, or 1
// after the end of a document.
void Decoder::Impl::fill(const Workspace& work, std::span<const int64_t> tokens) {
  const auto sequences = static_cast<size_t>(work.num_keys.size(0));
  const auto time = static_cast<size_t>(work.num_keys.size(1));
  const std::optional<int64_t> document_end = gpt.spec().document_token_id;
  const bool on_cpu = work.tokens.device().is_cpu();
  const at::Tensor host_tokens = on_cpu ? work.tokens : at::empty(work.tokens.sizes(), at::kLong);
  const at::Tensor host_keys = on_cpu ? work.num_keys : at::empty(work.num_keys.sizes(), at::kInt);
  auto* ids = host_tokens.mutable_data_ptr<int64_t>();
  auto* keys = host_keys.mutable_data_ptr<int32_t>();
  for (size_t sequence = 0; sequence < sequences; ++sequence) {
    for (size_t t = 0; t < time; ++t) {
      const size_t i = sequence * time + t;
      ids[i] = tokens[i];
      num_keys[sequence] = document_ends[sequence] ? 1 : num_keys[sequence] + 1;
      document_ends[sequence] = tokens[i] == document_end;
      keys[i] = num_keys[sequence];
    }
  }
  if (on_cpu) return;
  work.tokens.copy_(host_tokens);
  work.num_keys.copy_(host_keys);
}

void Decoder::Impl::attend(const Workspace& work, const BlockWeights& block, const Cache& cache) const {
  const int64_t sequences = work.num_keys.size(0);
  const int64_t time = work.num_keys.size(1);
  linear(work, work.normed, block.attention.qkv, work.qkv);
  const kernels::Rotation& whole = block.attention.is_rotated ? rotation : no_rotation;
  kernels::rope_forward(work.qkv_heads, whole.rows(length, time), work.num_keys, block.attention.row_scale,
                        block.attention.qk_norm);
  kernels::cached_attention_forward(work.qkv_heads, work.num_keys, length, cache.keys.narrow(0, 0, sequences),
                                    cache.values.narrow(0, 0, sequences),
                                    attention_scratch.narrow(0, 0, sequences), work.heads_split);
  linear(work, work.heads, block.attention.out, work.branch);
}

void Decoder::Impl::forward(const Workspace& work) {
  kernels::embedding_forward(work.tokens, embedding, work.residual);
  for (size_t layer = 0; layer < blocks.size(); ++layer) {
    const BlockWeights& block = blocks[layer];
    if (layer == 0) {
      kernels::rms_norm_forward(work.residual, block.attention_norm, norm_eps, work.normed, work.rstd);
    } else {
      kernels::add_rms_norm_forward(work.residual, work.branch, block.attention_norm, norm_eps, work.residual,
                                    work.normed, work.rstd);
    }
    attend(work, block, caches[layer]);
    if (watch != nullptr) watch_last(work, caches[layer], static_cast<int64_t>(layer));
    kernels::add_rms_norm_forward(work.residual, work.branch, block.mlp_norm, norm_eps, work.residual,
                                  work.normed, work.rstd);
    linear(work, work.normed, block.mlp.gate_up, work.gate_up);
    kernels::swiglu_forward(work.gate_up, work.hidden);
    linear(work, work.hidden, block.mlp.down, work.branch);
  }
  kernels::add_rms_norm_forward(work.residual, work.branch, final_norm, norm_eps, work.residual, work.normed,
                                work.rstd);
}

void Decoder::Impl::watch_last(const Workspace& work, const Cache& cache, int64_t layer) const {
  const int64_t sequences = work.num_keys.size(0);
  const int64_t last = work.num_keys.size(1) - 1;
  const double root = std::sqrt(static_cast<double>(head_dim));
  if (layer == 0) {
    watch->masses =
        at::empty({static_cast<int64_t>(blocks.size()), sequences, num_heads}, at::TensorOptions(at::kFloat));
  }
  for (int64_t sequence = 0; sequence < sequences; ++sequence) {
    const int64_t visible = num_keys[static_cast<size_t>(sequence)];
    const int64_t first = length + last + 1 - visible;
    const AttentionWatch::Tokens& tokens = watch->tokens[static_cast<size_t>(sequence)];
    SSGPT_CHECK(tokens.first >= first && tokens.count > 0 && tokens.first + tokens.count <= first + visible,
                "tokens [{}, {}) of a sequence whose last sees [{}, {})", tokens.first,
                tokens.first + tokens.count, first, first + visible);
    const at::Tensor query = work.qkv_heads[sequence][last][0].to(at::kFloat);              // (N, H)
    const at::Tensor keys = cache.keys[sequence].narrow(1, first, visible).to(at::kFloat);  // (N, visible, H)
    const at::Tensor scores = at::matmul(keys, query.unsqueeze(-1)).squeeze(-1).div_(root);
    const at::Tensor weights = scores.softmax(-1).narrow(1, tokens.first - first, tokens.count);
    watch->masses[layer][sequence].copy_(weights.sum(-1));
  }
}

void Decoder::Impl::read(int64_t sequences, std::span<const int64_t> tokens, AttentionWatch* watched) {
  const int64_t count = static_cast<int64_t>(tokens.size()) / sequences;
  SSGPT_CHECK(count > 0 && count * sequences == static_cast<int64_t>(tokens.size()),
              "{} tokens for {} sequences", tokens.size(), sequences);
  SSGPT_CHECK(length + count <= capacity, "{} tokens after {}, room for {}", count, length, capacity);
  std::vector<int64_t> rows;
  for (int64_t done = 0; done < count;) {
    // Chunks and matmuls do not depend on the number of sequences, so neither do a row's bits.
    const int64_t time = std::min(kChunkTokens, count - done);
    const bool fits =
        chunk.num_keys.defined() && chunk.num_keys.sizes() == at::IntArrayRef({sequences, time});
    if (!fits) chunk = allocate(sequences, time, /*thin=*/time <= kThinRows);
    rows.clear();
    for (int64_t sequence = 0; sequence < sequences; ++sequence) {
      const auto row =
          tokens.subspan(static_cast<size_t>(sequence * count + done), static_cast<size_t>(time));
      rows.insert(rows.end(), row.begin(), row.end());
    }
    fill(chunk, rows);
    watch = done + time == count ? watched : nullptr;
    forward(chunk);
    watch = nullptr;
    length += time;
    done += time;
  }
}

// Copies the first sequence's cache at these positions to all others.
void Decoder::Impl::copy_first_to_all(int64_t begin, int64_t count) {
  for (const Cache& cache : caches) {
    for (const at::Tensor& tensor : {cache.keys, cache.values}) {
      const at::Tensor positions = tensor.narrow(2, begin, count);
      positions.narrow(0, 1, batch - 1).copy_(positions.narrow(0, 0, 1).expand({batch - 1, -1, -1, -1}));
    }
  }
  std::fill(num_keys.begin() + 1, num_keys.end(), num_keys.front());
  std::fill(document_ends.begin() + 1, document_ends.end(), document_ends.front());
}

Decoder::Decoder(const GPT& gpt, int64_t batch, int64_t capacity)
    : impl_(std::make_unique<Impl>(gpt, batch, capacity)) {}
Decoder::~Decoder() = default;

int64_t Decoder::batch() const {
  return impl_->batch;
}
int64_t Decoder::capacity() const {
  return impl_->capacity;
}
int64_t Decoder::length() const {
  return impl_->length;
}

at::Tensor Decoder::prefill(std::span<const int64_t> tokens) {
  Impl& impl = *impl_;
  SSGPT_CHECK(impl.equal_sequences, "the sequences differ already");
  const int64_t begin = impl.length;
  impl.read(1, tokens);
  const at::Tensor& normed = impl.chunk.normed;
  kernels::thin_linear_forward(normed.narrow(0, normed.size(0) - 1, 1), impl.head,
                               impl.logits.narrow(0, 0, 1));
  if (impl.batch > 1) {
    impl.copy_first_to_all(begin, impl.length - begin);
    impl.logits.narrow(0, 1, impl.batch - 1).copy_(impl.logits.narrow(0, 0, 1).expand({impl.batch - 1, -1}));
  }
  return impl.logits;
}

at::Tensor Decoder::step(std::span<const int64_t> tokens) {
  Impl& impl = *impl_;
  SSGPT_CHECK(static_cast<int64_t>(tokens.size()) == impl.batch, "{} tokens for {} sequences", tokens.size(),
              impl.batch);
  SSGPT_CHECK(impl.length < impl.capacity, "all {} positions are taken", impl.capacity);
  impl.fill(impl.one_token, tokens);
  impl.forward(impl.one_token);
  kernels::thin_linear_forward(impl.one_token.normed, impl.head, impl.logits);
  ++impl.length;
  impl.equal_sequences = impl.batch == 1;
  return impl.logits;
}

at::Tensor Decoder::prefill_each(std::span<const int64_t> tokens, AttentionWatch* watch) {
  Impl& impl = *impl_;
  SSGPT_CHECK(watch == nullptr || static_cast<int64_t>(watch->tokens.size()) == impl.batch,
              "tokens of other sequences than {} are watched", impl.batch);
  impl.read(impl.batch, tokens, watch);
  const at::Tensor& normed = impl.chunk.normed;
  const int64_t time = normed.size(0) / impl.batch;
  const at::Tensor last = normed.view({impl.batch, time, normed.size(1)}).select(1, time - 1).contiguous();
  kernels::thin_linear_forward(last, impl.head, impl.logits);
  impl.equal_sequences = impl.batch == 1;
  return impl.logits;
}

at::Tensor Decoder::score_each(std::span<const int64_t> tokens) {
  Impl& impl = *impl_;
  const int64_t time = static_cast<int64_t>(tokens.size()) / impl.batch;
  SSGPT_CHECK(time <= kChunkTokens, "{} tokens of each sequence, {} at a time", time, kChunkTokens);
  impl.read(impl.batch, tokens);
  const at::Tensor& normed = impl.chunk.normed;
  const at::Tensor scores = at::empty({normed.size(0), impl.head.size(0)}, impl.logits.options());
  kernels::thin_linear_forward(normed, impl.head, scores);
  impl.equal_sequences = impl.batch == 1;
  return scores.view({impl.batch, time, scores.size(1)});
}

Decoder::Mark Decoder::mark() const {
  const Impl& impl = *impl_;
  return {.length = impl.length,
          .equal_sequences = impl.equal_sequences,
          .num_keys = impl.num_keys,
          .document_ends = impl.document_ends};
}

void Decoder::return_to(const Mark& mark) {
  Impl& impl = *impl_;
  SSGPT_CHECK(mark.length <= impl.length && mark.num_keys.size() == impl.num_keys.size(),
              "a mark at {} of {} sequences, the decoder holds {} tokens of {}", mark.length,
              mark.num_keys.size(), impl.length, impl.batch);
  // Keys and values after the mark are overwritten by later tokens, and no query attends to them before that.
  impl.length = mark.length;
  impl.equal_sequences = mark.equal_sequences;
  impl.num_keys = mark.num_keys;
  impl.document_ends = mark.document_ends;
}

}  // namespace ssgpt::model
