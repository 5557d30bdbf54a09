#include "device/spec_sheet.h"

#include <optional>

#include <gtest/gtest.h>

namespace ssgpt::device {
namespace {

using config::Dtype;

struct Case {
  const char* name;  // as CUDA gives it
  double bfloat16;   // TFLOP/s
  double float32;
};

class KnownGpu : public testing::TestWithParam<Case> {};

TEST_P(KnownGpu, HasThePeakOfItsSpecSheet) {
  const Case& gpu = GetParam();
  // A data sheet rounds to the TFLOP/s.
  EXPECT_NEAR(dense_peak_flops(gpu.name, Dtype::kBfloat16).value_or(0.0), gpu.bfloat16 * 1e12, 0.6e12);
  EXPECT_NEAR(dense_peak_flops(gpu.name, Dtype::kFloat32).value_or(0.0), gpu.float32 * 1e12, 0.6e12);
}

INSTANTIATE_TEST_SUITE_P(
    DataSheets, KnownGpu,
    testing::Values(Case{"NVIDIA H100 80GB HBM3", 989, 67}, Case{"NVIDIA H100 PCIe", 756, 51},
                    Case{"NVIDIA H100 NVL", 835, 60}, Case{"NVIDIA H200", 989, 67},
                    Case{"NVIDIA H200 NVL", 835, 60}, Case{"NVIDIA H800", 989, 67},
                    Case{"NVIDIA GH200 480GB", 989, 67}, Case{"NVIDIA A100-SXM4-80GB", 312, 19.5},
                    Case{"NVIDIA A100-PCIE-40GB", 312, 19.5}, Case{"NVIDIA A100 80GB PCIe", 312, 19.5},
                    Case{"NVIDIA A800-SXM4-80GB", 312, 19.5}, Case{"NVIDIA B200", 2250, 75},
                    Case{"NVIDIA GB200", 2500, 80}, Case{"NVIDIA B300 SXM6 AC", 2250, 75},
                    Case{"NVIDIA L40S", 362, 91.6}, Case{"NVIDIA L40", 181, 90.5},
                    Case{"NVIDIA L4", 121, 30.3}, Case{"NVIDIA A40", 149.7, 37.4},
                    Case{"NVIDIA A30", 165, 10.3}, Case{"NVIDIA GeForce RTX 3090", 71, 35.6},
                    Case{"NVIDIA GeForce RTX 4090", 165.2, 82.6},
                    Case{"NVIDIA GeForce RTX 5090", 209.5, 104.8}));

class UnknownGpu : public testing::TestWithParam<const char*> {};

TEST_P(UnknownGpu, HasNone) {
  EXPECT_EQ(dense_peak_flops(GetParam(), Dtype::kBfloat16), std::nullopt);
  EXPECT_EQ(dense_peak_flops(GetParam(), Dtype::kFloat32), std::nullopt);
}

// Parts of a GPU, other chips under nearly the same name, and what is too new or no GPU at all.
INSTANTIATE_TEST_SUITE_P(Names, UnknownGpu,
                         testing::Values("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA A100-40C",
                                         "GRID A100D-80C", "NVIDIA A100-SXM-64GB", "NVIDIA A100X",
                                         "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D",
                                         "NVIDIA GeForce RTX 3090 Ti", "NVIDIA GeForce RTX 4080",
                                         "NVIDIA A10G", "NVIDIA H20", "NVIDIA L40S-48Q", "NVIDIA R100",
                                         "NVIDIA", ""));

}  // namespace
}  // namespace ssgpt::device
