#include "parallel/error_text.h"

#include <filesystem>
#include <new>
#include <system_error>

#include <c10/util/Exception.h>
#include <fmt/format.h>

namespace ssgpt::parallel {
namespace {

constexpr const char* kOutOfMemory =
    "Out of memory. Of training, ssgpt train --dry-run estimates what a config needs, and a smaller "
    "train.micro_batch_size needs less; of ssgpt generate, smaller --samples and --max-tokens.";

}  // namespace

std::string error_text(const std::exception& error) {
  if (dynamic_cast<const core::Error*>(&error) != nullptr) return error.what();
  if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
    return fmt::format("{}: {}.", file->path1().string(), file->code().message());
  }
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return kOutOfMemory;
  if (const auto* gpu = dynamic_cast<const c10::OutOfMemoryError*>(&error)) {
    return fmt::format("{} {}", first_line(gpu->what_without_backtrace()), kOutOfMemory);
  }
  if (const auto* torch = dynamic_cast<const c10::Error*>(&error)) {
    const std::string text = torch->what_without_backtrace();
    const auto says = [&text](const char* words) {
      return text.find(words) != std::string::npos;
    };
    // Messages of the CPU allocator, of CUDA's pinned-memory allocator and of CUDA libraries.
    const bool out_of_memory =
        says("allocate memory") || says("out of memory") || says("CUBLAS_STATUS_ALLOC_FAILED");
    return out_of_memory ? std::string(kOutOfMemory) : fmt::format("internal error: {}", text);
  }
  return fmt::format("internal error: {}", error.what());
}

core::ExitCode exit_code(const std::exception& error) {
  if (const auto* own = dynamic_cast<const core::Error*>(&error)) return own->code();
  const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error);
  const bool is_about_the_path =
      file != nullptr && (file->code() == std::errc::too_many_symbolic_link_levels ||
                          file->code() == std::errc::filename_too_long);
  return is_about_the_path ? core::ExitCode::kBadInput : core::ExitCode::kFailed;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace ssgpt::parallel
