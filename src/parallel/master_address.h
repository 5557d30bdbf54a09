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

// Binds a socket to the address among `addresses` that is this machine's, so that what rank 0 serves is
// reached on the way that MASTER_ADDR names and on no other. A run of one rank takes a free port of the
// loopback device. None where the server has to listen on every interface: where none of the addresses is
// this machine's (a forwarded one), or where MASTER_ADDR is a name that only here stands for the loopback
// device, as distributions have it for a machine's own name, and ranks may come from other machines. Throws
// core::RunError where the port is taken.
std::optional<MasterSocket> bind_master_socket(const Environment& environment, const Addresses& addresses);

// Waits until somebody accepts connections at one of the addresses; returns that address in numbers. Throws
// core::RunError where nobody does within the timeout.
std::string wait_for_master(const Environment& environment, const Addresses& addresses,
                            std::chrono::seconds timeout);

// The error of a port that rank 0 cannot have.
[[noreturn]] void fail_to_serve(const Environment& environment, const std::string& reason);

}  // namespace ssgpt::parallel
