#include "sweep/child.h"

#include "core/error.h"
#include "core/system_message.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <spawn.h>
#include <string_view>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace ssgpt::sweep {
namespace {

constexpr const char* kParentVariable = "SSGPT_SWEEP_PROCESS";
constexpr size_t kTailBytes = 64 << 10;
constexpr int kPipeBytes = 1 << 20;

// Variables that would make a run believe that it is one of several ranks (parallel/environment.h).
constexpr std::array<std::string_view, 10> kLauncherVariables = {
    "RANK=",        "WORLD_SIZE=",      "LOCAL_RANK=", "LOCAL_WORLD_SIZE=", "MASTER_",
    "TORCHELASTIC", "OMPI_COMM_WORLD_", "PMI_",        "SLURM_PROCID=",     "SLURM_LOCALID="};

bool sets_variable(std::string_view entry, std::string_view variable) {
  return entry.starts_with(variable) && entry.substr(variable.size()).starts_with("=");
}

std::vector<std::string> environment_with(const Child::Variables& variables,
                                          const std::vector<std::string>& dropped) {
  std::vector<std::string> texts;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool of_launcher = std::any_of(kLauncherVariables.begin(), kLauncherVariables.end(),
                                         [&](std::string_view prefix) { return text.starts_with(prefix); });
    const bool replaced = std::any_of(variables.begin(), variables.end(), [&](const auto& variable) {
      return sets_variable(text, variable.first);
    });
    const bool is_dropped = std::any_of(dropped.begin(), dropped.end(),
                                        [&](const std::string& name) { return sets_variable(text, name); });
    if (!of_launcher && !replaced && !is_dropped) texts.emplace_back(text);
  }
  for (const auto& [name, value] : variables) texts.push_back(fmt::format("{}={}", name, value));
  return texts;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

// Returns 0 or an error number.
int spawn(pid_t& process, const std::string& program, std::vector<std::string> arguments,
          std::vector<std::string> environment, int output) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  const int error = posix_spawn(&process, program.c_str(), &files, &attributes, pointers(arguments).data(),
                                pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

// Whether "12:34:56 error: ", as written by core/log.cpp, is at `position`.
bool begins_error(std::string_view text, size_t position) {
  constexpr std::string_view kMark = "dd:dd:dd error: ";
  if (text.size() - position < kMark.size()) return false;
  for (size_t i = 0; i < kMark.size(); ++i) {
    const char c = text[position + i];
    if (kMark[i] == 'd' ? (c < '0' || c > '9') : c != kMark[i]) return false;
  }
  return true;
}

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \r\n\t");
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(" \r\n\t") - first + 1));
}

}  // namespace

Child::Child(const std::string& program, const std::vector<std::string>& arguments,
             const Variables& variables, const std::vector<std::string>& dropped) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw core::RunError("No pipe for the output of a run: {}", core::system_message(errno));
  }
  output_ = ends[0];
  ::fcntl(output_, F_SETPIPE_SZ, kPipeBytes);  // on failure it keeps its 64 KiB
  ::fcntl(output_, F_SETFL, O_NONBLOCK);
  Variables all = variables;
  all.emplace_back(kParentVariable, fmt::format("{}", ::getpid()));
  const int error = spawn(process_, program, arguments, environment_with(all, dropped), ends[1]);
  ::close(ends[1]);
  if (error != 0) {
    ::close(output_);
    throw core::RunError("A process for a run could not be started: {}", core::system_message(error));
  }
  process_descriptor_ = static_cast<int>(::syscall(SYS_pidfd_open, process_, 0));
}

Child::~Child() {
  if (process_ > 0) {
    ::kill(process_, SIGTERM);
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  ::close(output_);
  if (process_descriptor_ >= 0) ::close(process_descriptor_);
}

void Child::read_output() {
  std::array<char, 16384> buffer;
  for (ssize_t count = 0; (count = ::read(output_, buffer.data(), buffer.size())) > 0;) {
    tail_.append(buffer.data(), static_cast<size_t>(count));
    if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  }
}

bool Child::has_ended() {
  if (process_ < 0) return true;
  int status = 0;
  if (::waitpid(process_, &status, WNOHANG) != process_) return false;
  process_ = -1;
  if (WIFSIGNALED(status)) {
    ending_.signal = WTERMSIG(status);
  } else {
    ending_.exit_code = WEXITSTATUS(status);
  }
  read_output();
  return true;
}

void Child::send(int signal) {
  if (process_ > 0) ::kill(process_, signal);
}

std::string Child::last_error() const {
  return last_error_in(tail_);
}

void end_with_parent() {
  const char* text = std::getenv(kParentVariable);
  const auto parent = core::parse_number<int64_t>(text == nullptr ? "" : text);
  if (!parent) return;
  ::unsetenv(kParentVariable);  // children of this process must not inherit it
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != *parent) ::raise(SIGTERM);  // the parent ended before the prctl
}

std::string last_error_in(const std::string& output) {
  const std::string_view text = output;
  for (size_t end = text.size(); end > 0;) {
    const size_t newline = text.rfind('\n', end - 1);
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    if (begins_error(text, begin)) return trimmed(text.substr(text.find("error: ", begin) + 7));
    end = newline == std::string_view::npos ? 0 : newline;
  }
  const std::string whole = trimmed(text);
  return whole.substr(whole.rfind('\n') + 1);  // npos + 1 = 0
}

}  // namespace ssgpt::sweep
