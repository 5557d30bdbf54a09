// config.json: a Hugging Face model config, from which the exact GPTSpec reads back.
#pragma once

#include "model/gpt.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace ssgpt::checkpoint {

struct SpecialTokens {
  std::optional<int64_t> bos;
  std::optional<int64_t> eos;
};

// Whether the mathematics is exactly that of transformers' Llama: Softmax whose attention reaches across the
// ends of documents. Any other model carries its modelling file.
bool is_llama(const model::GPTSpec& spec);

// The text of config.json: model_type "llama" where is_llama says so, else "ssgpt" with attention_kind and
// auto_map. What Hugging Face has no name for stands under the key "ssgpt".
std::string model_config_text(const model::GPTSpec& spec, const SpecialTokens& tokens);

// Reads what model_config_text wrote, or the config of a Llama model that another program wrote. Throws
// core::InputError for a model whose mathematics is not this program's (grouped-query attention, biases, tied
// embeddings, scaled RoPE), with the reason.
model::GPTSpec read_model_config(const std::filesystem::path& path);

}  // namespace ssgpt::checkpoint
