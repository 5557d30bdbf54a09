#include "parallel/ranks.h"

#include "core/log.h"
#include "parallel/engine.h"

#include <cstring>
#include <exception>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include <ATen/Parallel.h>

namespace ssgpt::parallel {

// Before any rank's thread begins.
[[maybe_unused]] static const bool kEngineIsConfigured = (configure_engine(), true);

int64_t free_port() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  socklen_t length = sizeof address;
  const bool bound = listener >= 0 &&
                     bind(listener, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
                     getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) == 0;
  if (listener >= 0) close(listener);
  if (!bound) throw std::runtime_error("no free port");
  return ntohs(address.sin_port);
}

Environment environment_of(int64_t rank, int64_t world_size, int64_t port) {
  Environment environment;
  environment.launcher = Launcher::kTorchrun;
  environment.rank = rank;
  environment.world_size = world_size;
  environment.local_rank = rank;
  environment.master_port = port;
  return environment;
}

std::vector<std::string> run_unopened_ranks(int64_t world_size,
                                            const std::function<void(Communicator&)>& body) {
  const int64_t port = free_port();
  std::vector<std::string> thrown(static_cast<size_t>(world_size));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < world_size; ++rank) {
    threads.emplace_back([&, rank] {
      at::set_num_threads(1);
      try {
        run_as_rank(environment_of(rank, world_size, port), body);
      } catch (const std::exception& error) {
        thrown[static_cast<size_t>(rank)] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  core::log::set_level(core::log::Level::kInfo);  // a rank that failed may have turned it off
  return thrown;
}

std::vector<std::string> run_ranks(int64_t world_size, const std::function<void(Communicator&)>& body,
                                   double timeout_s) {
  return run_unopened_ranks(world_size, [&](Communicator& communicator) {
    communicator.open(at::kCPU, timeout_s);
    body(communicator);
  });
}

std::vector<std::string> nothing_thrown(int64_t world_size) {
  return std::vector<std::string>(static_cast<size_t>(world_size));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.is_contiguous() &&
         b.is_contiguous() && std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

}  // namespace ssgpt::parallel
