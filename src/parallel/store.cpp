#include "parallel/store.h"

#include "core/error.h"
#include "core/log.h"
#include "parallel/error_text.h"
#include "parallel/master_address.h"

#include <algorithm>
#include <dlfcn.h>
#include <exception>
#include <future>
#include <memory>
#include <netdb.h>
#include <sys/socket.h>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

// Replaces libc's getnameinfo in this program. c10d's store looks up the name of every address that connects
// to it, 127.0.0.1 included, only to log it; if a name server does not answer, the thread that serves all
// ranks would block for five seconds each time. Nothing here needs more than the numeric address.
extern "C" int getnameinfo(const sockaddr* address, socklen_t length, char* host, socklen_t host_length,
                           char* service, socklen_t service_length, int flags) noexcept {
  static const auto of_libc = reinterpret_cast<decltype(&getnameinfo)>(dlsym(RTLD_NEXT, "getnameinfo"));
  return of_libc(address, length, host, host_length, service, service_length, flags | NI_NUMERICHOST);
}

namespace ssgpt::parallel {
namespace {

// Time for MASTER_ADDR to become resolvable on this machine.
constexpr std::chrono::seconds kNameTimeout{20};
// Time from the connection to the first answer: a server that takes longer is not a store.
constexpr std::chrono::seconds kFirstAnswerTimeout{20};

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}
std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

// c10d's client waits for ever if the server never answers, so it runs in a thread that is abandoned in that
// case.
c10::intrusive_ptr<c10d::Store> join_store(const Environment& environment, const std::string& host,
                                           c10d::TCPStoreOptions options) {
  options.timeout = 2 * kFirstAnswerTimeout;  // c10d's own error would come with a stack trace
  auto joined = std::make_shared<std::promise<c10::intrusive_ptr<c10d::Store>>>();
  std::future<c10::intrusive_ptr<c10d::Store>> store = joined->get_future();
  std::thread([joined, options, host] {
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

c10::intrusive_ptr<c10d::Store> serve_store(const Environment& environment, const Addresses& addresses,
                                            c10d::TCPStoreOptions options) {
  std::string why_not;
  const std::optional<MasterSocket> socket = bind_master_socket(environment, addresses, why_not);
  if (socket) {
    options.masterListenFd = socket->descriptor;  // owned by the server from here on
  } else {
    core::log::info(
        "The ranks' store listens on every interface of this machine: {}. Strangers must not reach port {}.",
        why_not, environment.master_port);
  }
  try {
    return c10::make_intrusive<c10d::TCPStore>(socket ? socket->host : "127.0.0.1", options);
  } catch (const std::exception& error) {
    fail_to_serve(environment, first_line(error.what()));
  }
}

}  // namespace

struct Store::Impl {
  Environment environment;
  std::string description;
  c10::intrusive_ptr<c10d::Store> server;  // the serving process's connection, which keeps the server alive
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
  // A run with one rank may share the machine with others of its kind: port 0 means any free port.
  options.port = static_cast<uint16_t>(serves && environment.world_size == 1 ? 0 : environment.master_port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = timeout;
  const Addresses addresses = resolve_master(environment, std::min(timeout, kNameTimeout));
  impl->server = serves ? serve_store(environment, addresses, options)
                        : join_store(environment, wait_for_master(environment, addresses, timeout), options);
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
