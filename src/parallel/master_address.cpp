#include "parallel/master_address.h"

#include "core/error.h"
#include "core/system_message.h"

#include <arpa/inet.h>
#include <cerrno>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::parallel {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kOneConnection{3000};
constexpr std::chrono::milliseconds kRetry{200};

bool is_loopback(const addrinfo& address) {
  if (address.ai_family == AF_INET) {
    const auto& ipv4 = *reinterpret_cast<const sockaddr_in*>(address.ai_addr);
    return (ntohl(ipv4.sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
  }
  if (address.ai_family != AF_INET6) return false;
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address.ai_addr)->sin6_addr) != 0;
}

std::string numeric_host(const addrinfo& address) {
  char text[NI_MAXHOST] = "";
  getnameinfo(address.ai_addr, address.ai_addrlen, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  return text;
}

// Whether `host` means the same on every machine: a numeric address, or the name of the loopback device.
bool means_the_same_everywhere(const std::string& host) {
  in6_addr ignored{};
  return host == "localhost" || inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

// Whether a server accepts connections at the address; gives up after some seconds.
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

// Returns the socket, or -1 with errno set. As usual for servers, a port whose earlier owner has exited is
// free.
int bind_to(const addrinfo& address) {
  const int descriptor = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return -1;
  const int on = 1;
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(descriptor, address.ai_addr, address.ai_addrlen) == 0) return descriptor;
  const int error = errno;
  close(descriptor);
  errno = error;
  return -1;
}

// Binding does not show this: some systems let a process bind to addresses of other machines
// (net.ipv4.ip_nonlocal_bind).
bool is_of_this_machine(const addrinfo& address) {
  if (is_loopback(address)) return true;
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) != 0) return true;  // binding will show
  const std::string host = numeric_host(address);
  bool found = false;
  for (const ifaddrs* one = interfaces; one != nullptr && !found; one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != address.ai_family) continue;
    addrinfo own = address;
    own.ai_addr = one->ifa_addr;
    found = numeric_host(own) == host;
  }
  freeifaddrs(interfaces);
  return found;
}

// Why listening on one address is not enough; empty if the first one will do.
std::string reason_for_every_interface(const Environment& environment, const addrinfo& addresses) {
  const std::string& host = environment.master_address;
  const bool all_are_here = environment.local_world_size == environment.world_size;
  if (!is_of_this_machine(addresses)) {
    return fmt::format("MASTER_ADDR={} is not an address of this machine", host);
  }
  if (all_are_here) return "";
  if (is_loopback(addresses) && (environment.local_world_size || !means_the_same_everywhere(host))) {
    return fmt::format(
        "MASTER_ADDR={} is the loopback device here, and ranks may come from other machines (between CPUs "
        "they also need GLOO_SOCKET_IFNAME, the interface of this machine that they reach)",
        host);
  }
  if (addresses.ai_next != nullptr && host != "localhost") {
    return fmt::format("MASTER_ADDR={} stands for several addresses", host);
  }
  return "";
}

MasterSocket bind_or_fail(const Environment& environment, const addrinfo& address) {
  const int descriptor = bind_to(address);
  if (descriptor < 0) fail_to_serve(environment, core::system_message(errno));
  return {.descriptor = descriptor, .host = numeric_host(address)};
}

Addresses look_up(const char* host, int64_t port, int flags, int& code) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  code = getaddrinfo(host, std::to_string(port).c_str(), &hints, &found);
  return {code == 0 ? found : nullptr, freeaddrinfo};
}

// The same list with the IPv4 addresses first: if a name has both kinds, other machines may know only the
// IPv4 address.
Addresses with_ipv4_first(Addresses addresses) {
  addrinfo* first = nullptr;
  addrinfo* rest = nullptr;
  addrinfo** end_of_first = &first;
  addrinfo** end_of_rest = &rest;
  for (addrinfo* address = addresses.release(); address != nullptr; address = address->ai_next) {
    addrinfo**& end = address->ai_family == AF_INET ? end_of_first : end_of_rest;
    *end = address;
    end = &address->ai_next;
  }
  *end_of_rest = nullptr;
  *end_of_first = rest;
  return {first, freeaddrinfo};
}

}  // namespace

Addresses resolve_master(const Environment& environment, std::chrono::seconds timeout) {
  for (const Clock::time_point begin = Clock::now();; std::this_thread::sleep_for(kRetry)) {
    int code = 0;
    Addresses found = look_up(environment.master_address.c_str(), environment.master_port, /*flags=*/0, code);
    if (code == 0) return with_ipv4_first(std::move(found));
    if (Clock::now() - begin < timeout) continue;
    throw core::UsageError(
        "MASTER_ADDR={} is not the name or address of a machine that this one knows: {}. It must name the "
        "machine that runs rank 0.",
        environment.master_address, gai_strerror(code));
  }
}

std::optional<MasterSocket> bind_master_socket(const Environment& environment, const Addresses& addresses,
                                               std::string& why_not) {
  if (environment.world_size == 1) {
    int code = 0;
    const Addresses loopback = look_up("127.0.0.1", /*port=*/0, AI_NUMERICHOST, code);
    return bind_or_fail(environment, *loopback);
  }
  why_not = reason_for_every_interface(environment, *addresses);
  if (!why_not.empty()) return std::nullopt;
  return bind_or_fail(environment, *addresses);
}

std::string wait_for_master(const Environment& environment, const Addresses& addresses,
                            std::chrono::seconds timeout) {
  for (const Clock::time_point begin = Clock::now(); Clock::now() - begin < timeout;
       std::this_thread::sleep_for(kRetry)) {
    for (const addrinfo* address = addresses.get(); address != nullptr; address = address->ai_next) {
      if (accepts(*address)) return numeric_host(*address);
    }
  }
  throw core::RunError(
      "Rank {} found no store at {}:{} (MASTER_ADDR:MASTER_PORT) within {} s. Rank 0 must run on that "
      "machine, and the port be reachable.",
      environment.rank, environment.master_address, environment.master_port, timeout.count());
}

void fail_to_serve(const Environment& environment, const std::string& reason) {
  throw core::RunError(
      "Rank 0 cannot serve the store on port {} (MASTER_PORT): {}. Where another program, or another run on "
      "this machine, has it, set MASTER_PORT to a free one.",
      environment.master_port, reason);
}

}  // namespace ssgpt::parallel
