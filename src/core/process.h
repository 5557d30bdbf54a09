// Streams, limits and signals of the process: what each is started with, and not all of it serves a training.
#pragma once

namespace ssgpt::core {

// Takes the descriptors 0 to 2 that the process was started without, so that no file that is opened later
// gets the number of a standard stream and what is printed. Reading or writing such a stream fails, as it
// would without it.
void reserve_standard_streams();

// Raises the limit of open files to the hard limit (at most 1,048,576): each shard of the data stays open.
// Where the system refuses, the limit stays.
void raise_open_file_limit();

// A reader of the standard output or error that goes away, as `head` does, is from now on an error of the
// write and no longer the end of the process.
void outlive_readers();

}  // namespace ssgpt::core
