"""System calls that fail, or kill the process, where a test asks for it, by a library that is preloaded before libc.

    environment = Faults(program).on("pread", "model.safetensors", error=errno.EIO)
    program.run("inspect", checkpoint, code=1, **environment)
"""

import shutil
import subprocess

import pytest

# A call counts if $FAULT_CALL is its name, or is "name" and the call makes or gives a name, and if $FAULT_PATH is in its
# path. Starting with number $FAULT_NTH, $FAULT_TIMES calls fail with the error $FAULT_ERROR; the error -1 stands for SIGKILL
# before the call.
LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int calls;

static int fails(const char* call, int names, const char* path) {
  const char *wanted = getenv("FAULT_CALL"), *part = getenv("FAULT_PATH");
  if (!wanted || !part || !strstr(path, part)) return 0;
  if (strcmp(wanted, call) != 0 && !(names && strcmp(wanted, "name") == 0)) return 0;
  int number = atomic_fetch_add(&calls, 1) + 1, first = atoi(getenv("FAULT_NTH"));
  if (number < first || number >= first + atoi(getenv("FAULT_TIMES"))) return 0;
  int error = atoi(getenv("FAULT_ERROR"));
  if (error == -1) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

static int fails_at(const char* call, int file) {
  char link[64], path[4096] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  if (readlink(link, path, sizeof path - 1) < 0) return 0;
  return fails(call, 0, path);
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name))
#define OPEN(name)                                                          \
  int name(const char* path, int flags, ...) {                              \
    va_list rest;                                                           \
    va_start(rest, flags);                                                  \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;               \
    va_end(rest);                                                           \
    if (fails("open", flags & O_CREAT, path)) return -1;                    \
    return REAL(int, name, const char*, int, ...)(path, flags, mode);       \
  }
OPEN(open)
OPEN(open64)
#define PREAD(name)                                                         \
  ssize_t name(int file, void* out, size_t size, off_t at) {                \
    if (fails_at("pread", file)) return -1;                              \
    return REAL(ssize_t, name, int, void*, size_t, off_t)(file, out, size, at); \
  }
PREAD(pread)
PREAD(pread64)
#define PWRITE(name)                                                        \
  ssize_t name(int file, const void* in, size_t size, off_t at) {           \
    if (fails_at("pwrite", file)) return -1;                             \
    return REAL(ssize_t, name, int, const void*, size_t, off_t)(file, in, size, at); \
  }
PWRITE(pwrite)
PWRITE(pwrite64)
ssize_t write(int file, const void* in, size_t size) {
  if (fails_at("write", file)) return -1;
  return REAL(ssize_t, write, int, const void*, size_t)(file, in, size);
}
int fsync(int file) {
  if (fails_at("fsync", file)) return -1;
  return REAL(int, fsync, int)(file);
}
int rename(const char* from, const char* to) {
  if (fails("rename", 1, to)) return -1;
  return REAL(int, rename, const char*, const char*)(from, to);
}
#define STAT(name)                                                          \
  int name(const char* path, struct stat* out) {                            \
    if (fails("stat", 0, path)) return -1;                                  \
    return REAL(int, name, const char*, struct stat*)(path, out);           \
  }
STAT(stat)
STAT(lstat)
// Called by libraries that were built on an older system.
#define XSTAT(name)                                                         \
  int name(int version, const char* path, struct stat* out) {               \
    if (fails("stat", 0, path)) return -1;                                  \
    return REAL(int, name, int, const char*, struct stat*)(version, path, out); \
  }
XSTAT(__xstat)
XSTAT(__lxstat)
int mkdir(const char* path, mode_t mode) {
  if (fails("mkdir", 1, path)) return -1;
  return REAL(int, mkdir, const char*, mode_t)(path, mode);
}
"""
KILL = -1


class Faults:
    def __init__(self, program):
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("calls that fail are an LD_PRELOAD library, which takes a C compiler")
        self._library = program.directory / "faults.so"
        command = [compiler, "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", self._library, "-ldl"]
        subprocess.run(command, input=LIBRARY, text=True, check=True)

    def on(self, call, path, error, nth=1, times=1):
        """The environment in which `call` ("open", "pread", "pwrite", "write", "fsync", "rename", "mkdir", "stat", or "name" for
        all of these that make or give one) fails `times` times on paths that contain `path`, starting with the nth such call."""
        return {"LD_PRELOAD": str(self._library), "FAULT_CALL": call, "FAULT_PATH": str(path), "FAULT_ERROR": str(int(error)),
                "FAULT_NTH": str(nth), "FAULT_TIMES": str(times)}
