#include "parallel/store.h"

#include "core/error.h"

#include <exception>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

namespace ssgpt::parallel {
namespace {

std::vector<uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}
std::string text_of(const std::vector<uint8_t>& bytes) {
  return {bytes.begin(), bytes.end()};
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
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
  options.port = static_cast<uint16_t>(environment.master_port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = timeout;
  try {
    // The server listens on every address of this machine; its own client takes the nearest.
    impl->server =
        c10::make_intrusive<c10d::TCPStore>(serves ? "127.0.0.1" : environment.master_address, options);
  } catch (const std::exception& error) {
    if (serves) {
      throw core::RunError(
          "Rank 0 cannot serve the store on port {}: {}. Another program, or another run on this machine, "
          "has it: set MASTER_PORT to a free one.",
          environment.master_port, first_line(error.what()));
    }
    throw core::RunError(
        "Rank {} found no store at {} (MASTER_ADDR:MASTER_PORT) within {} s: {}. Rank 0 must run on that "
        "machine, and the port be reachable.",
        environment.rank, where, timeout.count(), first_line(error.what()));
  }
  impl->server->setTimeout(kAnswerTimeout);
  impl->keys = c10::make_intrusive<c10d::PrefixStore>(fmt::format("ssgpt/{}", environment.restart_count),
                                                      impl->server);
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
