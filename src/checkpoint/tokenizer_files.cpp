#include "checkpoint/tokenizer_files.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/log.h"

#include <mutex>
#include <span>
#include <utility>

namespace ssgpt::checkpoint {
namespace {

std::shared_ptr<const TokenizerFiles> make_tokenizer_files(const std::string& name, std::string model) {
  const tokenizer::Tokenizer tokenizer(model, name);
  auto files = std::make_shared<TokenizerFiles>();
  files->model = std::move(model);
  files->ids = tokenizer.special_ids();
  try {
    tokenizer.eos_id();
  } catch (const core::InputError& error) {
    files->no_eos = error.what();
  }
  try {
    files->hugging_face = tokenizer::hugging_face_files(tokenizer);
  } catch (const core::InputError& error) {
    core::log::warning(
        "{}: checkpoints get no tokenizer.json, because it would not give the same ids: {}. The ids that "
        "transformers computes from tokenizer.model by itself may differ as well; `ssgpt tokenizer encode` "
        "gives the right ones.",
        name, error.what());
  }
  return files;
}

}  // namespace

std::shared_ptr<const TokenizerFiles> read_tokenizer_files(const std::filesystem::path& model,
                                                           const std::string& fingerprint) {
  struct Made {
    std::string name;
    std::string checksum;
    std::shared_ptr<const TokenizerFiles> files;
  };
  static std::mutex mutex;
  static Made last;
  std::string text = core::read_text(model, tokenizer::Tokenizer::kMaxFileBytes);
  const std::string checksum = core::checksum_of(std::as_bytes(std::span(text)));
  if (!fingerprint.empty() && checksum != fingerprint) {
    throw core::InputError("{}: it was replaced while the run was trained with it (checksum {}, now {})",
                           model.string(), fingerprint, checksum);
  }
  const std::lock_guard lock(mutex);
  if (last.files == nullptr || last.name != model.string() || last.checksum != checksum) {
    last = {.name = model.string(),
            .checksum = checksum,
            .files = make_tokenizer_files(model.string(), std::move(text))};
  }
  return last.files;
}

}  // namespace ssgpt::checkpoint
