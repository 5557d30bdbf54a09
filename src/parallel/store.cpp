#include "parallel/store.h"

#include "core/error.h"
#include "parallel/error_text.h"

#include <algorithm>
#include <cerrno>
#include <dlfcn.h>
#include <exception>
#include <fcntl.h>
#include <future>
#include <memory>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

// Takes the place of libc's in this program. The engine's store asks for the name of every address that
// connects to it, 127.0.0.1 included, only to log it; where a name server does not answer, the thread that
// serves all ranks would stand still for five seconds each time. Nothing here needs more than the numbers.
extern "C" int getnameinfo(const sockaddr* address, socklen_t length, char* host, socklen_t host_length,
                           char* service, socklen_t service_length, int flags) noexcept {
  static const auto of_libc = reinterpret_cast<decltype(&getnameinfo)>(dlsym(RTLD_NEXT, "getnameinfo"));
  return of_libc(address, length, host, host_length, service, service_length, flags | NI_NUMERICHOST);
}

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;

// A name may be known only some time after the machines of a job are up.
constexpr std::chrono::seconds kNameTimeout{20};
// From the connection to the first answer: what takes longer is no store.
constexpr std::chrono::seconds kFirstAnswerTimeout{20};
constexpr std::chrono::milliseconds kOneConnection{3000};
constexpr std::chrono::milliseconds kRetry{200};

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}
std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// Tries until the name is known. Throws core::UsageError where it is not within the timeout.
Addresses resolve(const Environment& environment, std::chrono::seconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  const std::string port = std::to_string(environment.master_port);
  for (const Clock::time_point begin = Clock::now();; std::this_thread::sleep_for(kRetry)) {
    addrinfo* found = nullptr;
    const int code = getaddrinfo(environment.master_address.c_str(), port.c_str(), &hints, &found);
    if (code == 0) return {found, freeaddrinfo};
    if (Clock::now() - begin < timeout) continue;
    throw core::UsageError(
        "MASTER_ADDR={} is not the name or address of a machine that this one knows: {}. It must name the "
        "machine that runs rank 0.",
        environment.master_address, gai_strerror(code));
  }
}

// Whether somebody accepts a connection to the address; gives up after some seconds.
bool accepts(const addrinfo& address) {
  const int socket_fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_fd < 0) return false;
  int error = 0;
  socklen_t length = sizeof error;
  pollfd wish = {.fd = socket_fd, .events = POLLOUT, .revents = 0};
  const bool accepted =
      connect(socket_fd, address.ai_addr, address.ai_addrlen) == 0 ||
      (errno == EINPROGRESS && poll(&wish, 1, static_cast<int>(kOneConnection.count())) == 1 &&
       getsockopt(socket_fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0);
  close(socket_fd);
  return accepted;
}

void wait_for_listener(const Environment& environment, const addrinfo* addresses,
                       std::chrono::seconds timeout) {
  for (const Clock::time_point begin = Clock::now(); Clock::now() - begin < timeout;
       std::this_thread::sleep_for(kRetry)) {
    for (const addrinfo* address = addresses; address != nullptr; address = address->ai_next) {
      if (accepts(*address)) return;
    }
  }
  throw core::RunError(
      "Rank {} found no store at {}:{} (MASTER_ADDR:MASTER_PORT) within {} s. Rank 0 must run on that "
      "machine, and the port be reachable.",
      environment.rank, environment.master_address, environment.master_port, timeout.count());
}

// The engine's client waits for ever where what listens never answers: so it does in a thread that is left
// behind then.
c10::intrusive_ptr<c10d::Store> join_store(const Environment& environment, c10d::TCPStoreOptions options) {
  options.timeout = 2 * kFirstAnswerTimeout;  // the engine's own error would come with a stack
  auto joined = std::make_shared<std::promise<c10::intrusive_ptr<c10d::Store>>>();
  std::future<c10::intrusive_ptr<c10d::Store>> store = joined->get_future();
  std::thread([joined, options, host = environment.master_address] {
    try {
      joined->set_value(c10::make_intrusive<c10d::TCPStore>(host, options));
    } catch (...) {
      joined->set_exception(std::current_exception());
    }
  }).detach();
  std::string reason = "no answer";
  try {
    if (store.wait_for(kFirstAnswerTimeout) == std::future_status::ready) return store.get();
  } catch (const std::exception& error) {
    reason = first_line(error.what());
  }
  throw core::RunError(
      "Rank {} reached {}:{} (MASTER_ADDR:MASTER_PORT), but what listens there is not the store that rank 0 "
      "serves ({}): another program has the port. Set MASTER_PORT to a free one for all ranks.",
      environment.rank, environment.master_address, environment.master_port, reason);
}

c10::intrusive_ptr<c10d::Store> serve_store(const Environment& environment,
                                            const c10d::TCPStoreOptions& options) {
  try {
    // The server listens on every address of this machine; its own client takes the nearest.
    return c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options);
  } catch (const std::exception& error) {
    throw core::RunError(
        "Rank 0 cannot serve the store on port {}: {}. Another program, or another run on this machine, "
        "has it: set MASTER_PORT to a free one.",
        environment.master_port, first_line(error.what()));
  }
}

}  // namespace

struct Store::Impl {
  Environment environment;
  std::string description;
  c10::intrusive_ptr<c10d::Store> server;  // the connection of the process that serves, which keeps it alive
  c10::intrusive_ptr<c10d::Store> keys;

  template <typename Function>
  auto ask(const Function& function) {
    try {
      return function();
    } catch (const c10::Error& error) {
      throw core::RunError("{} does not answer: {}", description, first_line(error.what_without_backtrace()));
    } catch (const std::system_error& error) {
      throw core::RunError("{} does not answer: {}", description, error.what());
    }
  }
};

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

std::unique_ptr<Store> Store::connect(const Environment& environment, std::chrono::seconds timeout) {
  auto impl = std::make_unique<Impl>();
  impl->environment = environment;
  const bool serves = environment.rank == 0 && !environment.agent_serves_store;
  const std::string where = fmt::format("{}:{}", environment.master_address, environment.master_port);
  impl->description = fmt::format(
      "{} at {}", environment.agent_serves_store ? "The store of torchrun's agent" : "Rank 0 with its store",
      where);
  c10d::TCPStoreOptions options;
  // Alone, it may stand beside others of its kind: 0 is any port that is free.
  options.port = static_cast<uint16_t>(serves && environment.world_size == 1 ? 0 : environment.master_port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = timeout;
  const Addresses addresses = resolve(environment, std::min(timeout, kNameTimeout));
  if (serves) {
    impl->server = serve_store(environment, options);
  } else {
    wait_for_listener(environment, addresses.get(), timeout);
    impl->server = join_store(environment, options);
  }
  impl->server->setTimeout(kAnswerTimeout);
  impl->keys = c10::make_intrusive<c10d::PrefixStore>("ssgpt", impl->server);
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

std::unique_ptr<Store> Store::reconnect(std::chrono::seconds answer_timeout) const {
  auto impl = std::make_unique<Impl>();
  impl->environment = impl_->environment;
  impl->description = impl_->description;
  impl->keys = impl_->ask([&] { return impl_->keys->clone(); });
  impl->keys->setTimeout(answer_timeout);
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

void Store::enter(const std::string& space) {
  impl_->keys = c10::make_intrusive<c10d::PrefixStore>(space, impl_->keys);
}

void Store::set(const std::string& key, const std::string& text) {
  impl_->ask([&] { impl_->keys->set(key, bytes_of(text)); });
}

std::optional<std::string> Store::get(const std::string& key) {
  return impl_->ask([&]() -> std::optional<std::string> {
    if (!impl_->keys->check({key})) return std::nullopt;
    return text_of(impl_->keys->get(key));
  });
}

std::string Store::set_once(const std::string& key, const std::string& text) {
  return impl_->ask([&] { return text_of(impl_->keys->compareSet(key, {}, bytes_of(text))); });
}

int64_t Store::add(const std::string& key, int64_t amount) {
  return impl_->ask([&] { return impl_->keys->add(key, amount); });
}

c10d::Store& Store::c10d_store() {
  return *impl_->keys;
}

const std::string& Store::description() const {
  return impl_->description;
}

}  // namespace ssgpt::parallel
