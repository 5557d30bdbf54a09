// A process of this program that trains one run. It has a process group of its own, so that a terminal's
// Ctrl-C reaches the sweep alone, and it ends with the sweep: end_with_parent().
#pragma once

#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace ssgpt::sweep {

// How a process ended.
struct Ending {
  int exit_code = 0;
  int signal = 0;  // that killed it; 0: none
};

class Child {
 public:
  using Variables = std::vector<std::pair<std::string, std::string>>;

  // Starts `program` with the arguments (the first is its name), an empty stdin, stdout and stderr into this
  // object, and the environment of this process with `variables` in it, without those that are named in
  // `dropped` and without what launchers set. Throws core::RunError.
  Child(const std::string& program, const std::vector<std::string>& arguments, const Variables& variables,
        const std::vector<std::string>& dropped = {});
  ~Child();  // one that runs gets SIGTERM and is waited for
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // For poll(): readable once the process has ended; -1 where the system has no such descriptors.
  int descriptor() const { return process_descriptor_; }

  // Takes what the process has written since the last call. More than a mebibyte of it would make it wait.
  void read_output();

  bool has_ended();  // then ending() says how
  Ending ending() const { return ending_; }

  void send(int signal);

  // The last error that it logged, or else the last line that it wrote; empty where it wrote nothing.
  std::string last_error() const;

 private:
  pid_t process_ = -1;  // -1: it has ended
  int process_descriptor_ = -1;
  int output_ = -1;
  std::string tail_;  // of what it wrote
  Ending ending_;
};

// In a process that a sweep started: from now on it gets SIGTERM when the sweep ends, however that ends;
// where it has ended already, at once. Else nothing.
void end_with_parent();

// The last message of level error in lines as core/log.h writes them to stderr, without its time; else the
// last line that is not empty.
std::string last_error_in(const std::string& output);

}  // namespace ssgpt::sweep
