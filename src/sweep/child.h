// A child process of a sweep that trains one run. It has its own process group, so that Ctrl-C on a terminal
// reaches only the sweep, and it ends with the sweep: end_with_parent().
#pragma once

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace ssgpt::sweep {

// How a process ended.
struct Ending {
  int exit_code = 0;
  int signal = 0;  // signal that killed it; 0: none
};

class Child {
 public:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  // Starts `program` with `arguments` (the first is its name), an empty stdin, and stdout and stderr captured
  // by this object. The environment is that of this process plus `variables`, minus those named in `dropped`
  // and those that launchers set. Throws core::RunError.
  Child(const std::string& program, const std::vector<std::string>& arguments, const Variables& variables,
        const std::vector<std::string>& dropped = {});
  ~Child();  // sends SIGTERM to a running process and waits for it
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // For poll(): readable once the process has ended; -1 where the system has no pidfds.
  int descriptor() const { return process_descriptor_; }

  // Reads what the process has written since the last call. The process blocks once 1 MiB is unread.
  void read_output();

  bool has_ended();  // then ending() says how
  Ending ending() const { return ending_; }

  void send(int signal);

  // The last error that the process logged, otherwise the last line that it wrote; empty if it wrote nothing.
  std::string last_error() const;

 private:
  pid_t process_ = -1;  // -1: it has ended
  int process_descriptor_ = -1;
  int output_ = -1;
  std::string tail_;  // end of its output
  Ending ending_;
};

// In a process started by a sweep: from now on it receives SIGTERM when the sweep ends, however that ends, or
// at once if it has already ended. Does nothing in other processes.
void end_with_parent();

// The last message of level error, without its time, in output that core/log.h wrote to stderr; otherwise the
// last line that is not empty.
std::string last_error_in(const std::string& output);

}  // namespace ssgpt::sweep
