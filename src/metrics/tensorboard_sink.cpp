// Event messages are encoded by hand: field numbers are those of
// tensorboard/compat/proto/{event,summary,tensor,tensor_shape}.proto.
#include "metrics/tensorboard_sink.h"

#include "core/error.h"
#include "core/file.h"
#include "core/system_message.h"
#include "core/text.h"
#include "metrics/tfrecord.h"
#include "run/directory.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>

#include <fmt/format.h>

namespace ssgpt::metrics {
namespace {

// The wire format of protocol buffers, as far as events need it.
class Message {
 public:
  Message& integer(uint32_t field, int64_t value) {
    key(field, /*wire_type=*/0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& float64(uint32_t field, double value) {
    key(field, /*wire_type=*/1);
    fixed(std::bit_cast<uint64_t>(value));
    return *this;
  }
  Message& float32(uint32_t field, float value) {
    key(field, /*wire_type=*/5);
    fixed(std::bit_cast<uint32_t>(value));
    return *this;
  }
  Message& bytes(uint32_t field, std::string_view value) {
    key(field, /*wire_type=*/2);
    varint(value.size());
    buffer_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& value) { return bytes(field, value.buffer_); }

  const std::string& encoded() const { return buffer_; }

 private:
  void key(uint32_t field, uint32_t wire_type) { varint((field << 3) | wire_type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) buffer_.push_back(static_cast<char>((value & 0x7F) | 0x80));
    buffer_.push_back(static_cast<char>(value));
  }
  template <typename Integer>
  void fixed(Integer value) {
    for (size_t i = 0; i < sizeof(Integer); ++i)
      buffer_.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
  }
  std::string buffer_;
};

// Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5;
//         SessionLog session_log = 7; }
Message event(double time, int64_t step) {
  Message message;
  message.float64(1, time).integer(2, step);
  return message;
}

// Summary.Value { string tag = 1; float simple_value = 2; TensorProto tensor = 8;
//                 SummaryMetadata metadata = 9; }
Message scalar_value(const std::string& tag, double value) {
  Message message;
  message.bytes(1, tag).float32(2, static_cast<float>(value));
  return message;
}

Message text_value(const std::string& tag, const std::string& text) {
  constexpr int64_t kDtString = 7;
  const Message plugin = Message().bytes(1, "text");  // SummaryMetadata.PluginData.plugin_name
  const Message shape = Message().message(2, Message().integer(1, 1));  // one dimension of size 1
  Message tensor;
  tensor.integer(1, kDtString).message(2, shape).bytes(8, text);  // dtype, tensor_shape, string_val
  Message message;
  message.bytes(1, tag).message(8, tensor).message(9, Message().message(1, plugin));
  return message;
}

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// For an event file's name, the first time in microseconds that sorts after it; 0 for any other name.
int64_t time_behind(std::string_view name) {
  constexpr std::string_view kPrefix = run::kEventsPrefix;
  constexpr size_t kSecondDigits = 10;
  constexpr size_t kMicroDigits = 6;
  if (!name.starts_with(kPrefix)) return 0;
  name.remove_prefix(kPrefix.size());
  if (name.size() < kSecondDigits) return 0;
  const auto seconds = core::parse_number<int64_t>(name.substr(0, kSecondDigits));
  if (!seconds || *seconds < 0) return 0;
  name.remove_prefix(kSecondDigits);
  const bool has_micros = name.size() > 1 + kMicroDigits && name[0] == '.' && name[1 + kMicroDigits] == '.';
  const auto micros = has_micros ? core::parse_number<int64_t>(name.substr(1, kMicroDigits)) : std::nullopt;
  const bool is_ours = micros && *micros >= 0;
  return is_ours ? *seconds * 1'000'000 + *micros + 1 : (*seconds + 1) * 1'000'000;
}

// TensorBoard reads a directory's files in name order, and the time to the microsecond makes that their order
// of creation. If the clock was set back since the newest of them was created, the new name continues from
// that one.
std::string file_name(const std::filesystem::path& directory) {
  static std::atomic<int> counter{0};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  int64_t micros = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  for (const std::filesystem::path& file : core::list_directory(directory)) {
    micros = std::max(micros, time_behind(file.filename().string()));
  }
  char host[256] = {};
  if (::gethostname(host, sizeof(host) - 1) != 0) std::strcpy(host, "localhost");
  return fmt::format("{}{:010d}.{:06d}.{}.{}.{}", run::kEventsPrefix, micros / 1000000, micros % 1000000,
                     host, ::getpid(), counter++);
}

}  // namespace

struct TensorBoardSink::Impl {
  std::filesystem::path path;
  int descriptor = -1;
  std::string buffer;

  void append(const Message& message) {
    constexpr size_t kBufferBytes = size_t{1} << 16;
    buffer += frame_record(message.encoded());
    if (buffer.size() >= kBufferBytes) flush();
  }

  void flush() {
    for (std::string_view rest = buffer; !rest.empty();) {
      const ssize_t written = ::write(descriptor, rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        buffer.clear();
        throw core::RunError("{}: TensorBoard's events could not be written: {}", path.string(),
                             core::system_message(errno));
      }
      rest.remove_prefix(static_cast<size_t>(written));
    }
    buffer.clear();
  }
};

TensorBoardSink::TensorBoardSink(const std::filesystem::path& directory, int64_t purge_step)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = directory / file_name(directory);
  impl_->descriptor = ::open(impl_->path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (impl_->descriptor < 0) {
    throw core::RunError("{}: cannot be created: {}", impl_->path.string(), core::system_message(errno));
  }
  impl_->append(event(now_seconds(), 0).bytes(3, "brain.Event:2"));
  if (purge_step >= 0) {
    // TensorBoard drops earlier files' points from the step of a SessionLog START on, that step included.
    constexpr int64_t kStart = 1;
    impl_->append(event(now_seconds(), purge_step + 1).message(7, Message().integer(1, kStart)));
  }
  impl_->flush();
}

TensorBoardSink::~TensorBoardSink() {
  try {
    impl_->flush();
  } catch (const core::RunError&) {
    // Nobody is left to tell; flush() at the end of a run reports it.
  }
  ::close(impl_->descriptor);
}

void TensorBoardSink::write(const run::MetricsLine& line) {
  Message summary;
  for (const auto& [name, value] : line.values) summary.message(1, scalar_value(name, value));
  impl_->append(event(line.time, line.step).message(5, summary));
}

void TensorBoardSink::write_text(int64_t step, const std::string& tag, const std::string& text) {
  impl_->append(event(now_seconds(), step).message(5, Message().message(1, text_value(tag, text))));
}

void TensorBoardSink::flush() {
  impl_->flush();
}

}  // namespace ssgpt::metrics
