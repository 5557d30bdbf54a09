#include "train/samples.h"

#include "core/error.h"
#include "core/log.h"
#include "device/gpu.h"
#include "model/generate.h"
#include "tokenizer/text_stream.h"

#include <utility>

#include <c10/util/Exception.h>

namespace ssgpt::train {

SampleWriter::SampleWriter(const config::Config& config, const start::DataSources& data)
    : samples_(config.evaluate.samples),
      seed_(config.run.seed),
      tokenizer_(data.tokenizer),
      document_end_(data.document_end),
      prompts_(data.prompts) {}

std::vector<TextSample> SampleWriter::write(const model::GPT& model) const {
  std::vector<TextSample> result;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    tokenizer::TextStream stream(*tokenizer_, prompts_[i]);
    TextSample sample{.prompt = samples_.prompts[i], .text = {}};
    model::GenerationOptions options;
    options.sampling.temperature = samples_.temperature;
    options.seed = seed_;
    options.max_tokens = samples_.max_tokens;
    options.stop_token = document_end_;
    model::generate(model, prompts_[i], options,
                    [&](size_t, int64_t token) { sample.text += stream.push(token); });
    sample.text += stream.finish();
    result.push_back(std::move(sample));
  }
  return result;
}

std::vector<TextSample> SampleWriter::write_if_possible(const model::GPT& model, int64_t step) const {
  try {
    return write(model);
  } catch (const core::RunError& error) {
    core::log::warning("Step {}: no samples: {}", step, error.what());
  } catch (const c10::OutOfMemoryError&) {
    // What sampling did get would be cached in pieces that do not fit the next step's tensors.
    device::release_cached_memory(model.execution().device);
    core::log::warning("Step {}: no samples: the GPU has no memory left to write them.", step);
  }
  return {};
}

}  // namespace ssgpt::train
