// Limits of the process that make system calls fail while an object lives.
#pragma once

#include <csignal>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace ssgpt {

// Files cannot grow beyond `bytes`: writing fails as on a full disk (EFBIG).
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = bytes, .rlim_max = before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

// No descriptor is left to this process, whose limit is 32.
class NoMoreFiles {
 public:
  NoMoreFiles() {
    ::getrlimit(RLIMIT_NOFILE, &earlier_);
    rlimit limit = earlier_;
    limit.rlim_cur = 32;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (int descriptor = 0; (descriptor = ::open("/dev/null", O_RDONLY)) >= 0;) open_.push_back(descriptor);
  }
  ~NoMoreFiles() {
    for (const int descriptor : open_) ::close(descriptor);
    ::setrlimit(RLIMIT_NOFILE, &earlier_);
  }
  NoMoreFiles(const NoMoreFiles&) = delete;
  NoMoreFiles& operator=(const NoMoreFiles&) = delete;

 private:
  rlimit earlier_{};
  std::vector<int> open_;
};

}  // namespace ssgpt
