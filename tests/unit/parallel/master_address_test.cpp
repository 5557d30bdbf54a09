// The address at which rank 0 listens.
#include "parallel/master_address.h"

#include "core/error.h"
#include "parallel/ranks.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::parallel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr std::chrono::seconds kAtOnce{0};

// The environment of rank 0 of two ranks on this machine.
Environment environment_at(const std::string& address, int64_t port) {
  Environment environment = environment_of(/*rank=*/0, /*world_size=*/2, port);
  environment.local_world_size = 2;
  environment.master_address = address;
  return environment;
}

std::optional<MasterSocket> bind_socket(const Environment& environment) {
  std::string why_not;
  auto socket = bind_master_socket(environment, resolve_master(environment, kAtOnce), why_not);
  EXPECT_EQ(socket.has_value(), why_not.empty()) << why_not;
  return socket;
}

// "127.0.0.1:29500", and closes the socket.
std::string address_of(const MasterSocket& socket) {
  sockaddr_storage own{};
  socklen_t length = sizeof own;
  EXPECT_EQ(getsockname(socket.descriptor, reinterpret_cast<sockaddr*>(&own), &length), 0);
  char host[NI_MAXHOST] = "";
  char port[NI_MAXSERV] = "";
  EXPECT_EQ(getnameinfo(reinterpret_cast<sockaddr*>(&own), length, host, sizeof host, port, sizeof port,
                        NI_NUMERICHOST | NI_NUMERICSERV),
            0);
  close(socket.descriptor);
  EXPECT_EQ(host, socket.host);
  return std::string(host) + ":" + port;
}

TEST(MasterSocket, IsBoundToTheAddressThatIsNamed) {
  const int64_t port = free_port();
  for (const char* name : {"127.0.0.1", "127.0.0.2", "localhost"}) {
    const auto socket = bind_socket(environment_at(name, port));
    ASSERT_TRUE(socket.has_value()) << name;
    const std::string expected = std::string(name) == "localhost" ? "127.0.0.1" : name;
    EXPECT_EQ(address_of(*socket), expected + ":" + std::to_string(port));
  }
}

TEST(MasterSocket, OfOneRankTakesAnyPortOfTheLoopbackDevice) {
  Environment environment = environment_at("192.0.2.1", 29500);
  environment.world_size = environment.local_world_size.emplace(1);
  const auto socket = bind_socket(environment);
  ASSERT_TRUE(socket.has_value());
  EXPECT_THAT(address_of(*socket), testing::StartsWith("127.0.0.1:"));
}

// A forwarded address, that of a service for example (192.0.2.0/24 is nobody's, RFC 5737).
TEST(MasterSocket, IsNoneWhereTheAddressIsNotThisMachines) {
  EXPECT_FALSE(bind_socket(environment_at("192.0.2.1", free_port())).has_value());
}

// "127.1" is no name that another machine reaches this one by. Resolvers take it, as they take a host name
// that /etc/hosts gives to 127.0.1.1.
TEST(MasterSocket, OfTheLoopbackDeviceIsForRanksOfThisMachineAlone) {
  for (const char* name : {"127.1", "127.0.0.1", "localhost"}) {
    Environment environment = environment_at(name, free_port());
    const auto socket = bind_socket(environment);
    ASSERT_TRUE(socket.has_value()) << name;
    EXPECT_THAT(address_of(*socket), testing::StartsWith("127.0.0.1:"));
    environment.world_size = 4;  // two of them elsewhere, where rank 0's MASTER_ADDR is not theirs
    EXPECT_FALSE(bind_socket(environment).has_value()) << name;
  }
  Environment environment = environment_at("127.1", free_port());
  environment.local_world_size.reset();  // the launcher does not say it
  EXPECT_FALSE(bind_socket(environment).has_value());
  environment.master_address = "127.0.0.1";  // where every machine means its own
  EXPECT_EQ(address_of(bind_socket(environment).value()),
            "127.0.0.1:" + std::to_string(environment.master_port));
}

// Other machines may know, or reach, another one of them.
TEST(MasterSocket, OfANameWithSeveralAddressesIsForRanksOfThisMachineAlone) {
  addrinfo second{};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  addrinfo first{};
  first.ai_family = AF_INET;
  first.ai_addr = reinterpret_cast<sockaddr*>(&address);
  first.ai_addrlen = sizeof address;
  first.ai_next = &second;
  const Addresses addresses(&first, [](addrinfo*) {});
  Environment environment = environment_at("127.0.0.1", free_port());
  std::string why_not;
  const auto socket = bind_master_socket(environment, addresses, why_not);
  ASSERT_TRUE(socket.has_value());
  close(socket->descriptor);
  environment.local_world_size.reset();
  EXPECT_FALSE(bind_master_socket(environment, addresses, why_not).has_value());
  EXPECT_THAT(why_not, HasSubstr("several addresses"));
}

TEST(MasterSocket, OfAPortOfTheSystemIsAnErrorWithTheSystemsReason) {
  if (geteuid() == 0) GTEST_SKIP() << "the superuser may have any port";
  try {
    bind_socket(environment_at("127.0.0.1", 1));
    ADD_FAILURE() << "bound";
  } catch (const core::RunError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Permission denied"));
  }
}

TEST(MasterSocket, OfAPortThatIsTakenIsAnErrorThatNamesIt) {
  const int64_t port = free_port();
  const auto first = bind_socket(environment_at("127.0.0.1", port));
  ASSERT_TRUE(first.has_value());
  ASSERT_EQ(listen(first->descriptor, 1), 0);
  try {
    bind_socket(environment_at("127.0.0.1", port));
    ADD_FAILURE() << "bound twice";
  } catch (const core::RunError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr(std::to_string(port)), HasSubstr("MASTER_PORT")));
  }
  close(first->descriptor);
}

TEST(Master, IsFoundAtTheAddressWhereItListens) {
  const Environment environment = environment_at("127.0.0.3", free_port());
  const Addresses addresses = resolve_master(environment, kAtOnce);
  EXPECT_THROW(wait_for_master(environment, addresses, std::chrono::seconds(1)), core::RunError);
  const auto socket = bind_socket(environment);
  ASSERT_TRUE(socket.has_value());
  ASSERT_EQ(listen(socket->descriptor, 1), 0);
  EXPECT_EQ(wait_for_master(environment, addresses, std::chrono::seconds(10)), "127.0.0.3");
  close(socket->descriptor);
}

TEST(Master, OfAnUnknownNameIsAnErrorThatNamesIt) {
  try {
    resolve_master(environment_at("no-such-machine.invalid", 29500), kAtOnce);
    ADD_FAILURE() << "resolved";
  } catch (const core::UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("MASTER_ADDR=no-such-machine.invalid"));
  }
}

}  // namespace
}  // namespace ssgpt::parallel
