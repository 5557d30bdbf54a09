// Small models and batches for the tests.
#pragma once

#include "model/gpt.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::model {

const std::vector<config::AttentionKind>& all_kinds();

// Between fp32 computations of one function whose sums have other orders, and between one of them and fp64.
// fp32 has 24 bits; a path through two layers makes some twenty sums of about 30 products, each off by about
// 1e-7, and ATen's attention takes an exponential of 20 units in the last place, 1e-6.
inline constexpr double kFp32Tolerance = 1e-5;

// The gradient of a score is a difference of nearly equal numbers where attention has settled on one key: an
// error of 1e-6 in them is a larger part of it. 2e-5 was the largest seen; a wrong formula is off by far
// more.
inline constexpr double kFp32GradientTolerance = 1e-4;

// 2 layers, hidden 24, 3 heads, feed-forward 20, vocabulary 37, windows up to 11; Llama 4's a is 0.7 and f 3.
GPTSpec small_spec(config::AttentionKind kind, std::optional<int64_t> document_token_id = {});

// The same, trained in windows of 4: log n / log T is above 1 in the others.
GPTSpec short_trained_spec(config::AttentionKind kind, std::optional<int64_t> document_token_id = {});

// A model of the tests: a kind of attention, and options of the model, which know nothing of each other.
struct Variant {
  config::AttentionKind kind = config::AttentionKind::kSoftmax;
  config::QkNorm qk_norm = config::QkNorm::kNone;
  double rope_fraction = 1.0;
  std::vector<int64_t> nope_layers = {};
  bool documents = false;  // token 3 ends documents

  // The same as short_trained_spec.
  GPTSpec spec() const;
};
std::string to_string(const Variant& variant);

// Each kind with and without documents, and no other option.
std::vector<Variant> plain_variants();

// Rotation of whole heads, of half heads, of one layer of two, and of half heads in one layer, each with each
// kind, norm and documents so that every pair of values of two options occurs; and a Qwen 3: Softmax with the
// norm alone.
std::vector<Variant> variants_of_options();

// Every parameter random and large enough that each matters to the output, norms, s, b and p_n included.
void randomize(ParameterStore& store, uint64_t seed);

struct Batch {
  at::Tensor tokens;   // int64 (B, T)
  at::Tensor targets;  // likewise; about one in five is negative where asked
};
Batch random_batch(int64_t batch, int64_t time, int64_t vocab_size, uint64_t seed,
                   bool with_negative_targets = false);

// The batches for comparing a model with the specification, over 7 tokens, of which number 3 ends documents:
// awkward sizes, negative targets, a single token.
std::vector<Batch> specification_batches();

// fp64 of one element, zero.
at::Tensor zero_loss();

// |actual - expected| / |expected| in the Euclidean norm, in fp64; 0 where both are zero, infinite where only
// expected is.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

}  // namespace ssgpt::model
