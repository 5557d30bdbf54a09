#include "data/byte_stream.h"

#include "core/check.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <zstd_errors.h>

#include <zstd.h>

namespace ssgpt::data {

namespace {

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(core::InputFile file) : file_(std::move(file)) {}

  size_t read(std::span<std::byte> out) override {
    const size_t count = file_.read_some(offset_, out);
    offset_ += count;
    return count;
  }

  uint64_t file_bytes_read() const override { return offset_; }

 private:
  core::InputFile file_;
  uint64_t offset_ = 0;
};

constexpr int kMaxWindowLog = 27;  // log2 bytes: 128 MiB, as in the zstd program

// Any number of consecutive zstd frames.
class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(core::InputFile file)
      : file_(std::move(file)), context_(ZSTD_createDStream()), compressed_(ZSTD_DStreamInSize()) {
    SSGPT_CHECK(context_ != nullptr, "zstd has no memory for a stream");
    SSGPT_CHECK(!ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kMaxWindowLog)),
                "zstd refuses a window of 2^{} bytes", kMaxWindowLog);
  }

  size_t read(std::span<std::byte> out) override {
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    while (output.pos < output.size) {
      // Pending output comes before new input, so input is refilled only once all pending output has been
      // taken.
      if (input_.pos == input_.size && !refill() && !flushes_) {
        if (inside_frame_) {
          throw core::InputError("{}: the zstd data end inside a frame, at byte {}: the file is truncated",
                                 file_.path().string(), file_offset_);
        }
        break;
      }
      const size_t result = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge) {
        throw core::InputError(
            "{}: reading this zstd file takes more than the {} of memory allowed for it. Pack it again with "
            "zstd --long={} or less.",
            file_.path().string(), core::human_bytes(uint64_t{1} << kMaxWindowLog), kMaxWindowLog);
      }
      if (ZSTD_isError(result)) {
        throw core::InputError("{}: damaged zstd data near byte {}: {}", file_.path().string(),
                               file_bytes_read(), ZSTD_getErrorName(result));
      }
      inside_frame_ = result != 0;
      flushes_ = inside_frame_ && output.pos == output.size;
    }
    return output.pos;
  }

  uint64_t file_bytes_read() const override { return file_offset_ - (input_.size - input_.pos); }

 private:
  bool refill() {
    const size_t count = file_.read_some(file_offset_, compressed_);
    file_offset_ += count;
    input_ = {compressed_.data(), count, 0};
    return count > 0;
  }

  struct Free {
    void operator()(ZSTD_DStream* stream) const { ZSTD_freeDStream(stream); }
  };
  core::InputFile file_;
  std::unique_ptr<ZSTD_DStream, Free> context_;
  std::vector<std::byte> compressed_;
  ZSTD_inBuffer input_{nullptr, 0, 0};
  uint64_t file_offset_ = 0;
  bool inside_frame_ = true;  // an empty file is not a zstd file either
  bool flushes_ = false;      // the last output buffer was filled: there may be more output without new input
};

void refuse_compressed(const core::InputFile& file) {
  std::array<std::byte, 8> head{};
  const size_t count = file.read_some(0, head);
  const std::string_view text(reinterpret_cast<const char*>(head.data()), count);
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kMagics = {
      {{"\x28\xB5\x2F\xFD", "a zstd file: its name must end in .zst"},
       {"\x1F\x8B", "a gzip file: unpack it first (gunzip), or pack it with zstd"},
       {"BZh", "a bzip2 file: unpack it first (bunzip2), or pack it with zstd"},
       {"\xFD"
        "7zXZ",
        "an xz file: unpack it first (unxz), or pack it with zstd"},
       {"PK\x03\x04", "a zip file: unpack it first (unzip)"},
       {"PAR1", "a Parquet file: write its text column as .jsonl first"}}};
  for (const auto& [magic, advice] : kMagics) {
    if (text.starts_with(magic)) {
      throw core::InputError("{}: not text, but {}", file.path().string(), advice);
    }
  }
}

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  core::InputFile file(path);
  if (path.extension() == ".zst") {
    return std::make_unique<ZstdStream>(std::move(file));
  }
  refuse_compressed(file);
  return std::make_unique<PlainStream>(std::move(file));
}

}  // namespace ssgpt::data
