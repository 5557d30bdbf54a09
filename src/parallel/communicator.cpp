#include "parallel/communicator.h"

#include "core/error.h"
#include "core/log.h"
#include "parallel/engine.h"
#include "parallel/error_text.h"
#include "parallel/rendezvous.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <csignal>
#include <optional>
#include <thread>
#include <unistd.h>
#include <utility>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::parallel {
namespace {

using Seconds = std::chrono::duration<double>;

constexpr std::chrono::seconds kConnectTimeout{300};
constexpr double kTimeoutUntilKnown = 600.0;  // seconds; until the config has been read
constexpr Seconds kSameFailureWait{1.0};
constexpr std::chrono::milliseconds kPoll{20};
constexpr const char* kStopKey = "stop";
constexpr const char* kAnnouncedKey = "announced";

// Waits by polling, so that a failure elsewhere is noticed meanwhile.
class StoreLink : public Exchange::Link {
 public:
  StoreLink(std::unique_ptr<Store> store, Heartbeat& heartbeat, const std::atomic<double>& timeout_s)
      : store_(std::move(store)), heartbeat_(heartbeat), timeout_s_(timeout_s) {}

  void set(const std::string& key, const std::string& text) override { store_->set("exchange/" + key, text); }

  std::string wait(const std::string& key, int64_t owner) override {
    const auto begin = std::chrono::steady_clock::now();
    while (true) {
      if (const auto failure = heartbeat_.failure()) throw PeerFailure(*failure);
      if (const auto text = ask(key)) return *text;
      if (std::chrono::steady_clock::now() - begin > Seconds(timeout_s_.load())) {
        throw PeerFailure(fmt::format("Rank {} has not reached '{}': waited {:g} s (parallel.timeout_s).",
                                      owner, key.substr(0, key.rfind('/')), timeout_s_.load()));
      }
      std::this_thread::sleep_for(kPoll);
    }
  }

  void hold(bool begins) override { heartbeat_.hold(begins); }

 private:
  std::optional<std::string> ask(const std::string& key) {
    try {
      return store_->get("exchange/" + key);
    } catch (const core::RunError& error) {
      if (const auto failure = heartbeat_.failure()) throw PeerFailure(*failure);
      throw PeerFailure(error.what());
    }
  }

  const std::unique_ptr<Store> store_;
  Heartbeat& heartbeat_;
  const std::atomic<double>& timeout_s_;
};

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

struct Stop {
  int64_t after_step = 0;
  int signal = 0;
};

std::string text_of(const Stop& stop) {
  return fmt::format("{} {}", stop.after_step, stop.signal);
}

// Throws core::RunError for a text that no rank writes.
Stop parse_stop(const std::string& text) {
  Stop stop;
  const char* end = text.data() + text.size();
  const char* next = std::from_chars(text.data(), end, stop.after_step).ptr;
  if (next != end) std::from_chars(next + 1, end, stop.signal);
  if (text != text_of(stop) || stop.signal <= 0 || stop.signal > SIGRTMAX) {
    throw core::RunError("The stop request in the ranks' store is malformed, so no rank wrote it: {}",
                         kStrangerInStore);
  }
  return stop;
}

}  // namespace

struct Communicator::Impl {
  Environment environment;
  std::atomic<double> timeout_s{kTimeoutUntilKnown};
  std::unique_ptr<Store> store;  // null in a single process
  std::unique_ptr<Heartbeat> heartbeat;
  std::unique_ptr<Exchange> exchange;
  Collectives collectives;
  at::Device device = at::kCPU;
  std::optional<Stop> stop;
};

Communicator::Communicator() : impl_(std::make_unique<Impl>()) {
  impl_->exchange = std::make_unique<Exchange>();
  impl_->environment.local_world_size = 1;
}

Communicator::Communicator(const Environment& environment) : Communicator() {
  impl_->environment = environment;
  if (environment.launcher == Launcher::kNone) {
    impl_->environment.local_world_size = 1;
    return;
  }
  impl_->store = Store::connect(environment, kConnectTimeout);
  join_ranks(*impl_->store, environment, kConnectTimeout);
  impl_->heartbeat =
      std::make_unique<Heartbeat>(impl_->store->reconnect(), environment.rank, environment.world_size);
  impl_->exchange = make_exchange();
  const std::string host = host_name();
  const std::vector<std::string> hosts = impl_->exchange->gather("host", host);
  if (!environment.local_world_size) {
    impl_->environment.local_world_size = std::count(hosts.begin(), hosts.end(), host);
  }
}

Communicator::~Communicator() = default;

int64_t Communicator::rank() const {
  return impl_->environment.rank;
}
int64_t Communicator::world_size() const {
  return impl_->environment.world_size;
}
const Environment& Communicator::environment() const {
  return impl_->environment;
}
Exchange& Communicator::exchange() {
  return *impl_->exchange;
}

std::unique_ptr<Exchange> Communicator::make_exchange() {
  if (!impl_->store) return std::make_unique<Exchange>();
  auto link = std::make_unique<StoreLink>(impl_->store->reconnect(), *impl_->heartbeat, impl_->timeout_s);
  return std::make_unique<Exchange>(rank(), world_size(), std::move(link));
}

void Communicator::set_timeout(double timeout_s) {
  if (!impl_->store) return;
  impl_->timeout_s = timeout_s;
  impl_->heartbeat->set_timeout(Seconds(timeout_s));
}

void Communicator::open(at::Device device, double timeout_s) {
  if (!impl_->store) return;
  set_timeout(timeout_s);
  impl_->device = device;
  const auto answer_timeout = std::chrono::duration_cast<std::chrono::seconds>(Seconds(timeout_s));
  impl_->collectives = Collectives(impl_->store->reconnect(std::max(answer_timeout, std::chrono::seconds(1))),
                                   impl_->environment, device, Seconds(timeout_s), *impl_->heartbeat);
}

Collectives& Communicator::collectives() {
  return impl_->collectives;
}

double Communicator::sum(double value) {
  const at::Tensor total = at::full({1}, value, at::TensorOptions().dtype(at::kDouble).device(impl_->device));
  impl_->collectives.start_all_reduce(total).wait();
  return total.item<double>();
}

std::vector<int64_t> Communicator::gather(int64_t value) {
  // The other ranks contribute zeros, which leave the value's bits unchanged.
  const at::Tensor values =
      at::zeros({world_size()}, at::TensorOptions().dtype(at::kLong).device(impl_->device));
  values.select(0, rank()).fill_(value);
  impl_->collectives.start_all_reduce(values).wait();
  const at::Tensor host = values.cpu();
  const int64_t* data = host.const_data_ptr<int64_t>();
  return {data, data + world_size()};
}

std::vector<double> Communicator::gather_double(double value) {
  std::vector<double> values;
  for (const int64_t bits : gather(std::bit_cast<int64_t>(value)))
    values.push_back(std::bit_cast<double>(bits));
  return values;
}

// A rank that received a signal after step k requests a stop after step k + 1. No rank can be beyond that
// step, since it needs this rank to complete it, and every rank that completes it polls the store afterwards.
// On a GPU a rank that polls after step n knows only that step n - kStepsAhead is complete, and may have
// polled too early as late as after step k + kStepsAhead: the stop comes that many steps later.
int Communicator::agree_on_stop(int64_t step, int signal) {
  if (!impl_->store) return signal;
  const int64_t last_step = step + 1 + (impl_->device.is_cpu() ? 0 : kStepsAhead);
  if (!impl_->device.is_cpu()) impl_->heartbeat->make_progress();
  try {
    if (signal != 0 && !impl_->stop) {
      impl_->stop =
          parse_stop(impl_->store->set_once(kStopKey, text_of({.after_step = last_step, .signal = signal})));
    } else if (!impl_->stop) {
      if (const auto text = impl_->store->get(kStopKey)) impl_->stop = parse_stop(*text);
    }
  } catch (const core::RunError& error) {
    throw PeerFailure(impl_->heartbeat->explain(error.what()));
  }
  return impl_->stop && step >= impl_->stop->after_step ? impl_->stop->signal : 0;
}

void Communicator::check_peers() const {
  if (!impl_->heartbeat) return;
  if (const auto failure = impl_->heartbeat->failure()) throw PeerFailure(*failure);
}

void Communicator::finish() {
  if (!impl_->heartbeat) return;
  impl_->heartbeat->finish();
  check_peers();
  impl_->collectives.close();
}

void Communicator::announce(const std::string& message) noexcept {
  if (!impl_->store || rank() != 0) return;
  try {
    impl_->store->set(kAnnouncedKey, message);
  } catch (const std::exception&) {  // the store is gone; fail() will find that as well
  }
}

// Rank 0 may have to complete a checkpoint, with the others' help, before it fails with the same message. The
// others stay as long, since a launcher may treat the first exit as a reason to kill the rest.
void Communicator::wait_for_rank_zero(const std::string& message) {
  const auto seconds_since = [](auto begin) {
    return Seconds(std::chrono::steady_clock::now() - begin).count();
  };
  const auto begin = std::chrono::steady_clock::now();
  std::optional<std::string> of_rank_zero;
  while (!impl_->heartbeat->failure()) {
    if (!of_rank_zero) of_rank_zero = impl_->store->get(kAnnouncedKey);
    const bool is_same = of_rank_zero == message;
    if (of_rank_zero && !is_same) return;
    if (seconds_since(begin) > (is_same ? impl_->timeout_s.load() : kSameFailureWait.count())) return;
    std::this_thread::sleep_for(kPoll);
  }
}

bool Communicator::fail(const std::string& message) noexcept {
  if (!impl_->store) return true;
  bool speaks = true;
  try {
    announce(message);
    if (rank() != 0) wait_for_rank_zero(message);
    impl_->heartbeat->report(message);
    speaks = rank() == 0 || impl_->heartbeat->failure() != failure_text(/*rank=*/0, message);
    impl_->heartbeat->finish_after_failure();
  } catch (const std::exception&) {  // the store is gone: nobody is left to tell
  }
  return speaks;
}

void agree(Exchange& exchange, std::string_view occasion, const std::vector<std::string>& differences) {
  if (!differences.empty()) {
    throw core::UsageError(
        "Rank {} does not do what rank 0 does: they differ in\n  {}\nAll ranks must run the same program on "
        "the same config and files.",
        exchange.rank(), fmt::join(differences, "\n  "));
  }
  exchange.gather(fmt::format("{} agreed", occasion), "yes");
}

void run_as_rank(const Environment& environment, const std::function<void(Communicator&)>& body) {
  if (environment.world_size > 1) core::log::set_rank(environment.rank);
  if (environment.launcher != Launcher::kNone) {
    configure_engine();
    // Makes a connection closed by a peer an error of write() instead of silent death.
    std::signal(SIGPIPE, SIG_IGN);
  }
  std::unique_ptr<Communicator> communicator;
  try {
    communicator = std::make_unique<Communicator>(environment);
    body(*communicator);
    communicator->finish();
  } catch (const std::exception& error) {
    // A launcher that saw another rank exit sends this one SIGTERM; reporting the reason comes first and
    // takes seconds.
    std::signal(SIGTERM, SIG_IGN);
    const bool of_peer = dynamic_cast<const PeerFailure*>(&error) != nullptr;
    const std::string message = error_text(error);
    if (!of_peer) write_error_file(environment, message);  // torchrun should show the cause, not its victims
    const bool speaks = !communicator || communicator->fail(message);
    if (of_peer ? !reports_to_terminal(message, environment.rank) : !speaks)
      core::log::set_level(core::log::Level::kOff);
    throw;
  }
}

}  // namespace ssgpt::parallel
