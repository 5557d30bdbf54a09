// config.json: a Hugging Face model config, from which the exact GPTSpec reads back.
#pragma once

#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace ssgpt::checkpoint {

inline constexpr std::string_view kOwnModelType = "ssgpt";

struct SpecialTokens {
  std::optional<int64_t> bos;      // the tokenizer's; no text begins with it
  std::optional<int64_t> eos;      // ends each document
  std::optional<int64_t> padding;  // of batches; the models are not trained with any
};

// Hugging Face's name of the model where transformers computes exactly the same: "llama", Softmax that
// rotates all dimensions of q and k in all layers and reaches across the ends of documents; "qwen3", the same
// with the norms of q and k. Any other model is "ssgpt", and carries its modelling file.
std::string_view model_type(const model::GPTSpec& spec);

// The text of config.json: model_type, and for "ssgpt" attention_kind and auto_map. What Hugging Face has no
// name for stands under the key "ssgpt".
std::string model_config_text(const model::GPTSpec& spec, const SpecialTokens& tokens);

// The text of generation_config.json, by which transformers' generate() begins and ends a text as this
// program does. It begins one without a prompt with bos_token_id: that is the end of a document here, behind
// which the next one begins, and not the tokenizer's BOS, which no model has seen. Ids that are not known are
// null.
std::string generation_config_text(const SpecialTokens& tokens);

// Reads what model_config_text wrote, or the config of a Llama or Qwen 3 model that another program wrote.
// Throws core::InputError for a model whose mathematics is not this program's (grouped-query attention,
// biases, tied embeddings, scaled RoPE, sliding windows), with the key, its value and what is allowed.
model::GPTSpec read_model_config(const std::filesystem::path& path);

}  // namespace ssgpt::checkpoint
