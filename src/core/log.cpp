#include "core/log.h"

#include "core/error.h"
#include "core/file.h"
#include "core/progress.h"
#include "core/system_message.h"
#include "core/text.h"

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>
#include <utility>

#include <spdlog/details/null_mutex.h>
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

namespace ssgpt::core::log {

namespace {

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarning:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
    case Level::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

// "%*" in a pattern: the level and a colon; nothing for level info.
class LevelPrefix : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    std::string_view prefix;
    switch (message.level) {
      case spdlog::level::debug:
        prefix = "debug: ";
        break;
      case spdlog::level::warn:
        prefix = "warning: ";
        break;
      case spdlog::level::err:
        prefix = "error: ";
        break;
      default:
        break;
    }
    out.append(prefix.data(), prefix.data() + prefix.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<LevelPrefix>(); }
};

std::unique_ptr<spdlog::formatter> make_formatter(const std::string& pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelPrefix>('*').set_pattern(pattern);
  return formatter;
}

// Whether the last line is incomplete, as after a full disk.
bool ends_inside_a_line(const std::filesystem::path& path) {
  if (!core::is_regular_file(path)) return false;  // a device
  const InputFile file(path);
  std::byte last{'\n'};
  if (file.size() > 0) file.read(file.size() - 1, std::span(&last, 1));
  return last != std::byte{'\n'};
}

// Appends each message to a file with write(2), and keeps a failure until it can be reported.
class FileSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  // Throws RunError.
  explicit FileSink(const std::filesystem::path& path)
      : path_(path), descriptor_(open_for_appending(path)), is_torn_(ends_inside_a_line(path)) {}
  ~FileSink() override { ::close(descriptor_); }

  // Returns the failure since the last call; empty if there was none.
  std::string take_failure() { return std::exchange(failure_, {}); }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    const bool was_torn = is_torn_;
    if (was_torn) text.push_back('\n');
    formatter_->format(message, text);
    is_torn_ = false;
    for (size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        failure_ = fmt::format("{}: a line of the log could not be written: {}", path_.string(),
                               system_message(errno));
        is_torn_ = done > 0 || was_torn;
        return;
      }
      done += static_cast<size_t>(count);
    }
  }
  void flush_() override {}

 private:
  const std::filesystem::path path_;
  const int descriptor_;
  std::string failure_;
  bool is_torn_;  // the last line in the file is incomplete
};

struct State {
  std::mutex mutex;  // the sinks have no lock of their own
  std::shared_ptr<spdlog::sinks::stderr_color_sink_st> console;
  std::shared_ptr<FileSink> file;  // none before add_file() and after shutdown()
  spdlog::logger logger;
  int64_t rank = 0;
  std::string prefix;  // put before every message

  // The text to write for a message, which may quote file contents.
  std::string line(std::string_view message) const { return prefix + message_text(message); }

  State()
      : console(std::make_shared<spdlog::sinks::stderr_color_sink_st>(
            std::getenv("NO_COLOR") != nullptr || !stderr_is_terminal() ? spdlog::color_mode::never
                                                                        : spdlog::color_mode::automatic)),
        logger("ssgpt", console) {
    console->set_color(spdlog::level::info, "");
    console->set_formatter(make_formatter("%H:%M:%S %^%*%$%v"));
    console->set_level(spdlog::level::info);
    logger.set_level(spdlog::level::debug);
    logger.flush_on(spdlog::level::debug);  // a killed run keeps its last line
  }
};

// Never destroyed: destructors of static objects may still log.
State& state() {
  static State* const instance = new State;
  return *instance;
}

}  // namespace

void set_level(Level level) {
  const std::lock_guard lock(state().mutex);
  state().console->set_level(to_spdlog(level));
}

void set_rank(int64_t rank) {
  const std::lock_guard lock(state().mutex);
  state().rank = rank;
  if (rank == 0) return;
  state().prefix = fmt::format("[rank {}] ", rank);
  state().console->set_level(spdlog::level::err);
}

void add_file(const std::filesystem::path& path) {
  auto file = std::make_shared<FileSink>(path);
  file->set_formatter(make_formatter("%Y-%m-%dT%H:%M:%S.%e%z %*%v"));
  const std::lock_guard lock(state().mutex);
  file->set_level(state().rank == 0 ? spdlog::level::info : spdlog::level::warn);
  state().logger.sinks().push_back(file);
  state().file = std::move(file);
}

void require_written() {
  std::string failure;
  {
    const std::lock_guard lock(state().mutex);
    if (state().file) failure = state().file->take_failure();
  }
  if (!failure.empty()) throw RunError("{}", failure);
}

void shutdown() {
  const std::lock_guard lock(state().mutex);
  state().logger.flush();
  state().logger.sinks().resize(1);
  state().file.reset();
}

void write(Level level, std::string_view message) {
  const std::lock_guard lock(state().mutex);
  std::optional<ProgressLineOff> line_off;
  if (state().console->should_log(to_spdlog(level))) line_off.emplace(/*foreign=*/state().rank != 0);
  const std::string text = state().line(message);
  state().logger.log(to_spdlog(level), spdlog::string_view_t(text.data(), text.size()));
}

void write_to_file(std::string_view message) {
  const std::lock_guard lock(state().mutex);
  const spdlog::level::level_enum console_level = state().console->level();
  state().console->set_level(spdlog::level::off);
  const std::string text = state().line(message);
  state().logger.log(spdlog::level::info, spdlog::string_view_t(text.data(), text.size()));
  state().console->set_level(console_level);
}

}  // namespace ssgpt::core::log
