// Arrays and comparisons for the tests that run kernels of src/kernels/cuda on a CPU.
#pragma once

#include "kernels/cuda/launch.cuh"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::kernels::cuda {

using DataTypes = testing::Types<float, Bfloat16>;

// Rounding errors of T, relative.
template <typename T>
constexpr double kEpsilon = sizeof(T) == 4 ? 0x1p-24 : 0x1p-8;

// Numbers of T between guards that must stay as they are.
template <typename T>
class Array {
 public:
  explicit Array(int64_t size) : size_(size), storage_(static_cast<size_t>(size + 2 * kGuard)) {
    std::memset(storage_.data(), kPattern, storage_.size() * sizeof(T));
  }
  Array(const Array&) = default;
  Array& operator=(const Array&) = default;
  ~Array() {
    for (int64_t i = 0; i < kGuard; ++i) {
      EXPECT_TRUE(is_pattern(i) && is_pattern(kGuard + size_ + i)) << "written outside of an array";
    }
  }
  T* data() { return reinterpret_cast<T*>(storage_.data()) + kGuard; }
  const T* data() const { return reinterpret_cast<const T*>(storage_.data()) + kGuard; }
  int64_t size() const { return size_; }
  double at(int64_t i) const { return static_cast<double>(value(data()[i])); }
  void set(int64_t i, double x) { assign(static_cast<float>(x), data()[i]); }
  void fill(double x) {
    for (int64_t i = 0; i < size_; ++i) set(i, x);
  }
  bool operator==(const Array& other) const {
    return size_ == other.size_ &&
           std::memcmp(data(), other.data(), static_cast<size_t>(size_) * sizeof(T)) == 0;
  }

 private:
  static constexpr int64_t kGuard = 64;  // elements; keeps data() at a multiple of 16 bytes
  static constexpr unsigned char kPattern = 0xA5;
  static float value(float x) { return x; }
  static float value(Bfloat16 x) { return to_float(x); }
  static float value(int32_t x) { return static_cast<float>(x); }
  static void assign(float x, float& to) { to = x; }
  static void assign(float x, Bfloat16& to) { from_float(x, to); }
  bool is_pattern(int64_t i) const {
    const auto* bytes =
        reinterpret_cast<const unsigned char*>(storage_.data()) + i * static_cast<int64_t>(sizeof(T));
    for (size_t byte = 0; byte < sizeof(T); ++byte) {
      if (bytes[byte] != kPattern) return false;
    }
    return true;
  }

  int64_t size_;
  std::vector<T> storage_;
};

struct Size {
  int64_t rows, width;
};

// Normal numbers, the same in every run.
template <typename T>
Array<T> random_array(int64_t size, double deviation) {
  static std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0.0, deviation);
  Array<T> array(size);
  for (int64_t i = 0; i < size; ++i) array.set(i, normal(random));
  return array;
}

// actual is expected, rounded once to T, but for `roundings` of fp32 on the way, each relative to `magnitude`
// (that of the largest intermediate result; |expected| where it is not given).
template <typename T>
testing::AssertionResult near(double actual, double expected, double roundings, double magnitude = 0.0) {
  const double largest = std::max(std::abs(expected), magnitude);
  const double tolerance = kEpsilon<T> * std::abs(expected) + roundings * 0x1p-24 * largest + 1e-37;
  if (std::abs(actual - expected) <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << actual << ", expected " << expected << " within " << tolerance;
}

}  // namespace ssgpt::kernels::cuda
