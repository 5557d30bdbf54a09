// Shared by the tests of the ops: each op is compared with plain formulas in fp64 (through autograd for a
// backward pass), for both data types and every instruction set that this machine has.
#pragma once

#include "kernels/cpu/table.h"

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

namespace ssgpt::kernels {

struct Variant {
  const cpu::Table* table;
  at::ScalarType dtype;
};

std::vector<Variant> all_variants();
std::string variant_name(const testing::TestParamInfo<Variant>& info);

// Runs each test with the instruction set of its parameter.
class OpTest : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override { cpu::use_table(*GetParam().table); }
  void TearDown() override { cpu::use_table(*cpu::available_tables().back()); }
  at::ScalarType dtype() const { return GetParam().dtype; }
  // Standard normal numbers, rounded to the data type, the same at every run.
  at::Tensor data(at::IntArrayRef shape, double scale = 1.0);
  at::Tensor fp32(at::IntArrayRef shape, double scale = 1.0);
  // Relative rounding error of one stored value: 2^-24 for fp32, 2^-8 for bf16 (half of the last place).
  double unit() const { return dtype() == at::kFloat ? 0x1p-24 : 0x1p-8; }

 private:
  uint64_t next_seed_ = 1;
};

at::Tensor fp64(const at::Tensor& x);  // a copy
at::Tensor leaf(const at::Tensor& x);  // an fp64 copy that requires a gradient

// Each |actual - expected| <= relative |expected| + absolute max|expected|: the second term is for sums that
// cancel.
testing::AssertionResult is_close(const at::Tensor& actual, const at::Tensor& expected, double relative,
                                  double absolute);

}  // namespace ssgpt::kernels
