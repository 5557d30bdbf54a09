// Adapts inherited process state (streams, limits, signals) to the needs of training.
#pragma once

namespace ssgpt::core {

// Occupies those of the descriptors 0 to 2 that the process was started without, so that no file opened later
// takes the number of a standard stream and receives what is printed. Reading or writing such a stream still
// fails.
void reserve_standard_streams();

// Raises the soft limit on open files to the hard limit (at most 1,048,576), since every data shard stays
// open. Where the system refuses, the limit is unchanged.
void raise_open_file_limit();

// Ignores SIGPIPE: when the reader of stdout or stderr goes away, as `head` does, the write fails instead of
// ending the process.
void ignore_sigpipe();

}  // namespace ssgpt::core
