#include "parallel/collectives.h"

#include "core/check.h"
#include "core/error.h"
#include "core/system_message.h"
#include "device/cuda_library.h"
#include "parallel/error_text.h"
#include "parallel/exchange.h"
#include "parallel/master_address.h"
#include "parallel/nccl.h"

#include <cstdlib>
#include <exception>
#include <netdb.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

std::chrono::milliseconds milliseconds(Seconds seconds) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(seconds);
}

// The local address of the route to rank 0, at which the other ranks reach this machine. The host name would
// not do: many machines resolve it to a loopback address. Connecting a datagram socket sends nothing.
std::string address_towards_master(const Environment& environment) {
  const Addresses addresses = resolve_master(environment, std::chrono::seconds(0));
  const int socket_fd = socket(addresses->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  char text[NI_MAXHOST] = "";
  const bool known = socket_fd >= 0 && connect(socket_fd, addresses->ai_addr, addresses->ai_addrlen) == 0 &&
                     getsockname(socket_fd, reinterpret_cast<sockaddr*>(&own), &length) == 0 &&
                     getnameinfo(reinterpret_cast<sockaddr*>(&own), length, text, sizeof text, nullptr, 0,
                                 NI_NUMERICHOST) == 0;
  if (socket_fd >= 0) close(socket_fd);
  if (!known) {
    throw core::RunError("This machine has no network route to MASTER_ADDR={}.", environment.master_address);
  }
  return text;
}

c10::intrusive_ptr<c10d::Backend> connect_gloo(c10d::Store& store, const Environment& environment,
                                               Seconds timeout) {
  auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(timeout));
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  options->devices.push_back(
      interface != nullptr
          ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
          : c10d::ProcessGroupGloo::createDeviceForHostname(address_towards_master(environment)));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(c10::intrusive_ptr<c10d::Store>::reclaim_copy(&store),
                                                     static_cast<int>(environment.rank),
                                                     static_cast<int>(environment.world_size), options);
}

c10::intrusive_ptr<c10d::Backend> connect_engine(c10d::Store& store, const Environment& environment,
                                                 at::Device device, Seconds timeout) {
  if (device.is_cpu()) return connect_gloo(store, environment, timeout);
  return device::cuda_functions<NcclFunctions>(kNcclFunctions)
      .connect(store, environment, device, milliseconds(timeout));
}

}  // namespace

struct Pending::State {
  c10::intrusive_ptr<c10d::Work> work;
  std::vector<at::Tensor> tensors;  // kept alive until the backend is done with them
  Heartbeat* heartbeat = nullptr;
  Clock::time_point started;
  std::atomic<Clock::time_point> ended;
};

void Pending::wait() {
  if (!state_) return;
  try {
    state_->work->wait();
  } catch (const std::exception& error) {
    throw PeerFailure(state_->heartbeat->explain(
        fmt::format("A collective operation failed, and no rank is known to be the reason: {}",
                    first_line(error.what()))));
  }
}

Clock::time_point Pending::started() const {
  return state_ ? state_->started : Clock::time_point();
}
Clock::time_point Pending::ended() const {
  return state_ ? state_->ended.load() : Clock::time_point();
}

struct Collectives::Impl {
  std::unique_ptr<Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
  Heartbeat* heartbeat = nullptr;
  int64_t rank = 0;
  int64_t world_size = 1;
  bool is_cpu = true;

  // Starts `operation`, which is given a vector of one or two tensors, and records when it ends.
  template <typename Operation>
  Pending start(std::vector<at::Tensor> tensors, const Operation& operation) {
    for (const at::Tensor& tensor : tensors) {
      SSGPT_CHECK(tensor.is_contiguous(), "a collective over a tensor that is not contiguous");
    }
    auto state = std::make_shared<Pending::State>();
    state->tensors = std::move(tensors);
    state->heartbeat = heartbeat;
    state->started = Clock::now();
    state->ended = state->started;
    try {
      state->work = operation(state->tensors);
    } catch (const std::exception& error) {
      throw PeerFailure(heartbeat->explain(
          fmt::format("A collective operation could not be started: {}", first_line(error.what()))));
    }
    if (is_cpu) {
      state->work->getFuture()->addCallback([state = std::weak_ptr(state)](c10::ivalue::Future&) {
        if (const auto alive = state.lock()) alive->ended = Clock::now();
      });
    }
    return Pending(std::move(state));
  }

  at::Tensor piece(const at::Tensor& tensor) const {
    SSGPT_CHECK(tensor.dim() == 1 && tensor.numel() % world_size == 0,
                "{} elements do not divide into {} pieces", tensor.numel(), world_size);
    const int64_t size = tensor.numel() / world_size;
    return tensor.narrow(0, rank * size, size);
  }
};

Collectives::Collectives() = default;
Collectives::~Collectives() = default;
Collectives::Collectives(Collectives&&) noexcept = default;
Collectives& Collectives::operator=(Collectives&&) noexcept = default;

// NCCL needs an orderly shutdown(), which waits for its queue; the destructor alone would abort.
void Collectives::close() {
  if (impl_) impl_->backend->shutdown();
}

Collectives::Collectives(std::unique_ptr<Store> store, const Environment& environment, at::Device device,
                         std::chrono::duration<double> timeout, Heartbeat& heartbeat)
    : impl_(std::make_unique<Impl>()) {
  impl_->store = std::move(store);
  impl_->heartbeat = &heartbeat;
  impl_->rank = environment.rank;
  impl_->world_size = environment.world_size;
  impl_->is_cpu = device.is_cpu();
  try {
    impl_->backend = connect_engine(impl_->store->c10d_store(), environment, device, timeout);
  } catch (const core::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw PeerFailure(heartbeat.explain(fmt::format("Rank {} could not connect to the other ranks: {}",
                                                    environment.rank, first_line(error.what()))));
  }
}

Pending Collectives::start_all_reduce(const at::Tensor& tensor) {
  if (!impl_) return {};
  return impl_->start(
      {tensor}, [this](std::vector<at::Tensor>& tensors) { return impl_->backend->allreduce(tensors); });
}

Pending Collectives::start_reduce_scatter(const at::Tensor& tensor) {
  if (!impl_) return {};
  // Gloo's own reduce-scatter copies the tensor and all-reduces the copy.
  if (impl_->is_cpu) return start_all_reduce(tensor);
  return impl_->start({impl_->piece(tensor), tensor}, [this](std::vector<at::Tensor>& tensors) {
    return impl_->backend->_reduce_scatter_base(tensors[0], tensors[1]);
  });
}

Pending Collectives::start_all_gather(const at::Tensor& tensor) {
  if (!impl_) return {};
  return impl_->start({impl_->piece(tensor), tensor}, [this](std::vector<at::Tensor>& tensors) {
    return impl_->backend->_allgather_base(tensors[1], tensors[0]);
  });
}

}  // namespace ssgpt::parallel
