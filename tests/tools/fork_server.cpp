// Runs commands of the program, each in a child of its own that is forked from a process in which LibTorch is
// loaded already: a command then takes milliseconds, where a start takes some hundred.
//
//   ssgpt_fork_server FOLDER SECONDS < requests > answers
//
// A request is a line, {"arguments": [...], "directory": "/..."}: the program's arguments, and where it runs.
// What the command prints goes to FOLDER/stdout and FOLDER/stderr, new for each. The answer is a line,
// {"code": 3, "signal": 0, "seconds": 0.004, "max_rss": 1000000}: the exit code, or the signal that the child
// died of (SIGALRM after SECONDS), and the largest resident set in bytes.
#include "cli/run.h"
#include "device/cuda_library.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <nlohmann/json.hpp>

namespace {

void redirect(const std::string& path, int flags, int to) {
  const int descriptor = open(path.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor < 0 || dup2(descriptor, to) < 0) _exit(126);
}

struct Request {
  std::vector<std::string> arguments;
  std::string directory;
};

[[noreturn]] void run_as_child(const Request& request, const std::string& folder, unsigned seconds) {
  redirect("/dev/null", O_RDONLY, STDIN_FILENO);
  redirect(folder + "/stdout", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
  redirect(folder + "/stderr", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
  if (chdir(request.directory.c_str()) != 0) _exit(126);
  alarm(seconds);
  std::vector<const char*> argv = {"ssgpt"};
  for (const std::string& argument : request.arguments) argv.push_back(argument.c_str());
  std::_Exit(ssgpt::cli::run(static_cast<int>(argv.size()), argv.data()));
}

nlohmann::json run(const Request& request, const std::string& folder, unsigned seconds) {
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error("fork failed");
  if (child == 0) run_as_child(request, folder, seconds);
  int status = 0;
  rusage usage{};
  while (wait4(child, &status, 0, &usage) < 0) {
    if (errno != EINTR) throw std::runtime_error("wait4 failed");
  }
  return {{"code", WIFEXITED(status) ? WEXITSTATUS(status) : -1},
          {"signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0},
          {"seconds", std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count()},
          {"max_rss", usage.ru_maxrss * 1024}};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: ssgpt_fork_server FOLDER SECONDS\n";
    return 2;
  }
  ssgpt::device::load_cuda_library();  // as LibTorch, before the children
  const auto seconds = static_cast<unsigned>(std::stoul(argv[2]));
  for (std::string line; std::getline(std::cin, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    const Request request = {.arguments = json.at("arguments"), .directory = json.at("directory")};
    std::cout << run(request, argv[1], seconds) << std::endl;
  }
}
