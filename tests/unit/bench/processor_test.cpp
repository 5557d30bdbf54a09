// The description of the processor that a GEMM is measured on.
#include "bench/processor.h"

#include "bench/fma_units.h"
#include "device/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::bench {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(ProcessorTable, KnowsTheUnitsOfSomeModels) {
  EXPECT_EQ(fma_units("GenuineIntel", 6, 143).value().bits, 512);
  EXPECT_EQ(fma_units("AuthenticAMD", 0x19, 0x11).value().bits, 256);
  EXPECT_FALSE(fma_units("GenuineIntel", 6, 85));  // one or two, by the product
  EXPECT_FALSE(fma_units("AnotherVendor", 6, 143));
  const Processor processor = this_processor();
  EXPECT_THAT(to_string(processor),
              testing::AllOf(HasSubstr(processor.name), HasSubstr(processor.our_loops)));
}

TEST(FmaUnits, FollowFromRatesThatAreClear) {
  const auto units = [](double of_256_bits, double of_512_bits) {
    const auto found = fma_units(FmaRates{.of_256_bits = of_256_bits, .of_512_bits = of_512_bits});
    return found ? std::pair(found->number, found->bits) : std::pair(0, 0);
  };
  EXPECT_EQ(units(2.0, 2.0), std::pair(2, 512));
  EXPECT_EQ(units(2.0, 1.5), std::pair(2, 512));  // at three quarters of the clock
  EXPECT_EQ(units(2.0, 1.0), std::pair(2, 256));
  EXPECT_EQ(units(1.9, 0.7), std::pair(2, 256));
  EXPECT_EQ(units(2.0, 0.0), std::pair(2, 256));  // no AVX-512
  EXPECT_EQ(units(2.0, 1.3), std::pair(0, 0));    // neither
  EXPECT_EQ(units(1.1, 1.1), std::pair(0, 0));    // another thread has the other half of the core
  EXPECT_EQ(units(3.0, 3.0), std::pair(0, 0));    // no such core: the clock was wrong
}

TEST(ProcessorText, SaysWhatIsKnown) {
  Processor processor;
  processor.name = "A processor";
  processor.our_loops = "x86_64_v4";
  processor.aten_vectors = "AVX512";
  EXPECT_THAT(to_string(processor), testing::AllOf(Not(HasSubstr("FMA")), Not(HasSubstr("BF16"))));
  processor.fma_units = {.number = 2, .bits = 512};
  processor.bf16 = {"AMX-BF16", "AVX512-BF16"};
  EXPECT_THAT(to_string(processor),
              testing::EndsWith("; ours for x86_64_v4, ATen's for AVX512; 2 FMA units of 512 bits per core; "
                                "has AMX-BF16 and AVX512-BF16"));
  processor.fma_units_are_measured = true;
  EXPECT_THAT(to_string(processor), HasSubstr("2 FMA units of 512 bits per core (measured)"));
  EXPECT_EQ(this_processor().bf16, device::bf16_instructions().value_or(std::vector<std::string>()));
}

}  // namespace
}  // namespace ssgpt::bench
