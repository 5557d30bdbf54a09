#include "bench/shapes.h"

#include "core/check.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace ssgpt::bench {
namespace {

struct Shape {
  std::string_view name;
  std::string_view config;
};

constexpr std::array<Shape, 2> kShapes = {{{"quickstart", R"(
model: {vocab_size: 4096, hidden_size: 256, num_hidden_layers: 6, num_attention_heads: 4, intermediate_size: 688}
data: {sequence_length: 512}
train: {device: cpu, dtype: float32, max_steps: 1000000, global_batch_size: 8, micro_batch_size: 8}
)"},
                                           {"paper", R"(
model: {vocab_size: 50257, hidden_size: 768, num_hidden_layers: 12, num_attention_heads: 12, intermediate_size: 2048}
data: {sequence_length: 1024}
train: {device: cpu, dtype: float32, max_steps: 1000000, global_batch_size: 2, micro_batch_size: 2}
)"}}};

}  // namespace

const std::vector<std::string>& shape_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const Shape& shape : kShapes) all.emplace_back(shape.name);
    return all;
  }();
  return names;
}

config::Config step_config(const std::string& shape, const std::optional<std::string>& file,
                           const std::vector<std::string>& overrides) {
  std::vector<std::string> all = overrides;
  // A config must name data; these files are never opened.
  all.insert(all.end(), {"data.train=[random]", "data.validation=[]", "data.tokenizer=null",
                         "data.reset_at_document=false", "data.format=pretrain", "data.on_long_example=stop",
                         "optimizer.schedule.warmup_epochs=null", "evaluate.every=0"});
  if (file) return config::load(*file, all);
  for (const Shape& known : kShapes) {
    if (known.name == shape) return config::parse(known.config, fmt::format("shape {}", shape), all);
  }
  SSGPT_CHECK(false, "no shape is named {}", shape);
}

}  // namespace ssgpt::bench
