#include "core/error.h"
#include "core/file.h"
#include "metrics/sinks.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace ssgpt::metrics {
namespace {

std::string to_line(const Record& record) {
  nlohmann::ordered_json object;
  object["step"] = record.step;
  object["tokens"] = record.tokens;
  // The library writes the shortest digits that read back to the same double, and null for what is not
  // finite.
  for (const auto& [name, value] : record.values) object[name] = value;
  object["time"] = record.time;
  return object.dump() + "\n";
}

}  // namespace

JsonlSink::JsonlSink(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw core::RunError("{}: cannot be opened for appending: {}", path.string(), std::strerror(errno));
  }
}

JsonlSink::~JsonlSink() {
  ::close(descriptor_);
}

void JsonlSink::write(const Record& record) {
  write_line(record.step, to_line(record));
}

void JsonlSink::write(const TextRecord& record) {
  const nlohmann::ordered_json object = {
      {"step", record.step}, {"prompt", record.prompt}, {"text", record.text}};
  write_line(record.step, object.dump() + "\n");
}

void JsonlSink::write_line(int64_t step, const std::string& line) {
  ssize_t written = 0;
  do {
    written = ::write(descriptor_, line.data(), line.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(line.size())) return;

  const std::string reason = written < 0 ? std::strerror(errno) : "the disk is full";
  struct stat status {};
  if (written > 0 && ::fstat(descriptor_, &status) == 0) {
    // A torn line would be glued to the next one; where taking it back fails too, readers pass over a torn
    // last line.
    [[maybe_unused]] const int ignored = ::ftruncate(descriptor_, status.st_size - written);
  }
  throw core::RunError("{}: the line of step {} could not be written: {}", path_.string(), step, reason);
}

void JsonlSink::sync() {
  if (::fdatasync(descriptor_) != 0 &&
      errno != EINVAL) {  // EINVAL: not a file that can be synced, a pipe for one
    throw core::RunError("{}: could not be synced: {}", path_.string(), std::strerror(errno));
  }
}

void JsonlSink::truncate_after(const std::filesystem::path& path, int64_t last_step) {
  if (!std::filesystem::exists(path)) return;
  const std::string text = core::read_text(path);
  std::string kept;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // torn: a killed writer's last line
    const std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    ++number;
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) {
      throw core::InputError(
          "{}:{}: not a JSON object with an integer `step`. The file is not a run's metrics, or it "
          "was damaged; remove that line to go on.",
          path.string(), number);
    }
    if (object["step"].get<int64_t>() <= last_step) kept.append(line).push_back('\n');
  }
  if (kept.size() != text.size()) core::write_text_atomically(path, kept);
}

}  // namespace ssgpt::metrics
