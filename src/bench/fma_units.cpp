#include "bench/fma_units.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <string_view>

namespace ssgpt::bench {
namespace {

struct Models {
  std::string_view vendor;
  int64_t family;
  int64_t first_model, last_model;
  FmaUnits units;
};
constexpr FmaUnits kTwoOf256 = {.number = 2, .bits = 256};
constexpr FmaUnits kTwoOf512 = {.number = 2, .bits = 512};
constexpr std::array kModels = {
    Models{"AuthenticAMD", 0x17, 0x30, 0xff, kTwoOf256},  // Zen 2
    Models{"AuthenticAMD", 0x19, 0x00, 0xff, kTwoOf256},  // Zen 3; Zen 4, which splits 512 bits in two
    Models{"AuthenticAMD", 0x1a, 0x00, 0x1f, kTwoOf512},  // Zen 5 server
    Models{"GenuineIntel", 6, 0x3f, 0x3f, kTwoOf256},     // Haswell server
    Models{"GenuineIntel", 6, 0x4f, 0x4f, kTwoOf256},     // Broadwell server
    Models{"GenuineIntel", 6, 0x6a, 0x6c, kTwoOf512},     // Ice Lake server
    Models{"GenuineIntel", 6, 0x8f, 0x8f, kTwoOf512},     // Sapphire Rapids
    Models{"GenuineIntel", 6, 0xad, 0xae, kTwoOf512},     // Granite Rapids
    Models{"GenuineIntel", 6, 0xcf, 0xcf, kTwoOf512},     // Emerald Rapids
};

#if defined(__x86_64__)

// Per round of the loops below; twelve sums hide a latency of up to six cycles of two units.
constexpr int kAddsInRound = 24;
constexpr int kFmasInRound = 12;

// A chain of dependent additions. The second operand is a register, because processors fold chains of
// additions of constants.
void add_in_a_chain(int64_t rounds) {
  int64_t sum = 0;
  const int64_t one = 1;
  asm volatile(
      "1:\n"
      ".rept 24\n"
      "add %[one], %[sum]\n"
      ".endr\n"
      "sub $1, %[rounds]\n"
      "jnz 1b\n"
      : [rounds] "+r"(rounds), [sum] "+r"(sum)
      : [one] "r"(one)
      : "cc");
}

// Rounds of kFmasInRound multiply-adds on registers of one width, "ymm" or "zmm". All values are 0, since
// subnormals would be slower.
#define SSGPT_MULTIPLY_ADD(rounds, width)                                                              \
  asm volatile(                                                                                        \
      ".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12\n"                                                         \
      "vpxor %%xmm\\i, %%xmm\\i, %%xmm\\i\n"                                                           \
      ".endr\n"                                                                                        \
      "1:\n"                                                                                           \
      ".irp i, 1,2,3,4,5,6,7,8,9,10,11,12\n"                                                           \
      "vfmadd231ps %%" width "0, %%" width "0, %%" width                                               \
      "\\i\n"                                                                                          \
      ".endr\n"                                                                                        \
      "sub $1, %[count]\n"                                                                             \
      "jnz 1b\n"                                                                                       \
      "vzeroupper\n"                                                                                   \
      : [count] "+r"(rounds)                                                                           \
      :                                                                                                \
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12")

void multiply_add_256_bits(int64_t rounds) {
  SSGPT_MULTIPLY_ADD(rounds, "ymm");
}
void multiply_add_512_bits(int64_t rounds) {
  SSGPT_MULTIPLY_ADD(rounds, "zmm");
}

double seconds_of(void (*loop)(int64_t), int64_t rounds) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  loop(rounds);
  return std::chrono::duration<double>(Clock::now() - begin).count() / static_cast<double>(rounds);
}

#endif

}  // namespace

std::optional<FmaUnits> fma_units(const std::string& vendor, int64_t family, int64_t model) {
  for (const Models& known : kModels) {
    if (known.vendor == vendor && known.family == family && known.first_model <= model &&
        model <= known.last_model) {
      return known.units;
    }
  }
  return std::nullopt;
}

std::optional<FmaRates> measure_fma_rates() {
#if defined(__x86_64__)
  constexpr int kTries = 50;
  constexpr int64_t kRoundsOfTry = 10000;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("fma")) return std::nullopt;
  const bool has_512_bits = __builtin_cpu_supports("avx512f") != 0;
  double cycle = std::numeric_limits<double>::infinity(), of_256 = cycle, of_512 = cycle;
  for (int i = 0; i < kTries; ++i) {
    cycle = std::min(cycle, seconds_of(add_in_a_chain, kRoundsOfTry) / kAddsInRound);
    of_256 = std::min(of_256, seconds_of(multiply_add_256_bits, kRoundsOfTry) / kFmasInRound);
    if (has_512_bits)
      of_512 = std::min(of_512, seconds_of(multiply_add_512_bits, kRoundsOfTry) / kFmasInRound);
  }
  return FmaRates{.of_256_bits = cycle / of_256, .of_512_bits = cycle / of_512};
#else
  return std::nullopt;
#endif
}

std::optional<FmaUnits> fma_units(const FmaRates& rates) {
  constexpr double kLeastOfTwo = 1.7, kMostOfTwo = 2.3;
  // 512-bit operations run at a lower clock on some processors: at least three quarters of the usual one.
  constexpr double kLeastIfAsFast = 0.7, kMostIfHalf = 0.6;
  if (rates.of_256_bits < kLeastOfTwo || rates.of_256_bits > kMostOfTwo) return std::nullopt;
  const double ratio = rates.of_512_bits / rates.of_256_bits;
  if (ratio >= kLeastIfAsFast) return kTwoOf512;
  if (ratio <= kMostIfHalf) return kTwoOf256;
  return std::nullopt;
}

}  // namespace ssgpt::bench
