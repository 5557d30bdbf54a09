// MASTER_ADDR and MASTER_PORT on the network: looked up, listened to by rank 0, waited for by the others.
#pragma once

#include "parallel/environment.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <netdb.h>
#include <optional>
#include <string>

namespace ssgpt::parallel {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

// All addresses of MASTER_ADDR, IPv4 first, with MASTER_PORT. A name may be known only some time after the
// machines of a job are up: tries for as long as `timeout`. Throws core::UsageError where it is not known
// then.
Addresses resolve_master(const Environment& environment, std::chrono::seconds timeout);

// A bound socket that does not listen yet.
struct MasterSocket {
  int descriptor = -1;  // the caller's to close, or to give to a server that does
  std::string host;     // the address in numbers
};

// Binds a socket to the address that MASTER_ADDR stands for, so that what rank 0 serves is reached on that
// way and on no other. A run of one rank takes a free port of the loopback device. None where the server has
// to listen on every interface, and then `why_not` says why: the address is not this machine's (a forwarded
// one), or ranks may come from other machines and MASTER_ADDR has several addresses, of which they may know
// another, or is the loopback device here, as distributions have it for a machine's own name. Throws
// core::RunError where the port is taken, or is one that this user may not have.
std::optional<MasterSocket> bind_master_socket(const Environment& environment, const Addresses& addresses,
                                               std::string& why_not);

// Waits until somebody accepts connections at one of the addresses; returns that address in numbers. Throws
// core::RunError where nobody does within the timeout.
std::string wait_for_master(const Environment& environment, const Addresses& addresses,
                            std::chrono::seconds timeout);

// Throws core::RunError: rank 0 cannot have the port, for the reason that the system gives.
[[noreturn]] void fail_to_serve(const Environment& environment, const std::string& reason);

}  // namespace ssgpt::parallel
