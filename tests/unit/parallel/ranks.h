// Ranks of one run as threads of the test, each with a communicator of its own.
#pragma once

#include "parallel/communicator.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::parallel {

// A port that nobody listens on.
int64_t free_port();

// The environment from torchrun's variables, set by hand for processes of this machine.
Environment environment_of(int64_t rank, int64_t world_size, int64_t port);

// Runs `body` on each rank at the same time, in threads that compute with one thread each, through
// run_as_rank: a rank that throws does not leave the others waiting. The communicators are open on the CPU
// where `timeout_s` is given. What the ranks threw, by rank; empty where there was nothing.
std::vector<std::string> run_ranks(int64_t world_size, const std::function<void(Communicator&)>& body,
                                   double timeout_s = 60.0);
std::vector<std::string> run_unopened_ranks(int64_t world_size,
                                            const std::function<void(Communicator&)>& body);

// The result of run_ranks if nothing fails.
std::vector<std::string> nothing_thrown(int64_t world_size);

// Whether both hold the same bytes.
bool same_bits(const at::Tensor& a, const at::Tensor& b);

}  // namespace ssgpt::parallel
