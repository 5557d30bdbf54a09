// Loads, stores and exp for the loops, on explicit vectors or written so that gcc vectorises them. Included
// by loops.cpp alone, which defines SSGPT_ISA: everything is in a namespace per instruction set, so that the
// linker cannot merge code of one set into another, and for the same reason nothing from the standard library
// is called.
#pragma once

#include "kernels/cpu/micro_product.h"
#include "kernels/cpu/table.h"

#include <stdint.h>

namespace ssgpt::kernels::cpu::SSGPT_ISA {

inline float load(float value) {
  return value;
}
inline float load(Bfloat16 value) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(value.bits) << 16);
}

inline void store(float& to, float value) {
  to = value;
}
// Rounds to nearest, ties to even; a NaN stays a NaN.
inline void store(Bfloat16& to, float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quiet_nan = (bits >> 16) | 0x40u;
  to.bits = static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quiet_nan : rounded);
}

inline Vector load_lanes(const float* from) {
  return load_vector(from);
}
inline Vector load_lanes(const Bfloat16* from) {
  Vector values;
  for (int64_t i = 0; i < kLanes; ++i) values[i] = load(from[i]);
  return values;
}

// The first `count` lanes; the others are `rest`.
template <typename T>
Vector load_first_lanes(const T* from, int64_t count, float rest) {
  Vector values = Vector{} + rest;
  for (int64_t i = 0; i < count; ++i) values[i] = load(from[i]);
  return values;
}
inline void store_lanes(float* to, Vector values) {
  store_vector(to, values);
}
inline void store_lanes(Bfloat16* to, Vector values) {
  for (int64_t i = 0; i < kLanes; ++i) store(to[i], values[i]);
}

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kExpRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits

// e^(x - k ln 2), |x - k ln 2| <= ln(2) / 2: of the polynomials of degree 6 that begin with 1 + r the one
// with the least relative error, 3.1e-9 (found by Remez' algorithm).   F: float, or Vector.
template <typename F>
F exp_of_rest(F x, F k) {
  constexpr float kLn2High = 0.693359375f;  // 9 significant bits: k * kLn2High is exact
  constexpr float kLn2Low = -2.12194440e-4f;
  const F r = (x - k * kLn2High) - k * kLn2Low;
  F p = 1.38145401768e-3f * r + 8.36874510894e-3f;
  p = p * r + 4.16683907835e-2f;
  p = p * r + 1.6666520399e-1f;
  p = p * r + 4.99999934321e-1f;
  p = p * r + 1.0f;
  return p * r + 1.0f;
}

// e^x within 2 ulp if the result is normal; inf on overflow, subnormals and 0 on underflow, NaN for NaN.
inline float exp(float x) {
  // Both comparisons are false for NaN, which therefore propagates. Beyond these bounds the result is 0 or
  // inf.
  const float above = x < -105.0f ? -105.0f : x;
  const float bounded = above > 90.0f ? 90.0f : above;
  const float shifted = bounded * kLog2E + kExpRound;
  const float p = exp_of_rest(bounded, shifted - kExpRound);
  // Two factors, because 2^k itself is out of range for results near the largest and below the smallest
  // normal number.
  const int32_t exponent =
      static_cast<int32_t>(__builtin_bit_cast(uint32_t, shifted) - __builtin_bit_cast(uint32_t, kExpRound));
  const int32_t half = exponent >> 1;
  const uint32_t first = static_cast<uint32_t>(half + 127) << 23;
  const uint32_t second = static_cast<uint32_t>(exponent - half + 127) << 23;
  return p * __builtin_bit_cast(float, first) * __builtin_bit_cast(float, second);
}

// Likewise for a softmax, with fewer instructions: 0 where x < -87.3, beyond which e^x soon is no normal
// number; e^x saturates at e^88.
inline Vector exp_of_difference(Vector x) {
  const Vector least = Vector{} - 87.3f;  // e^x is normal
  const Vector most = Vector{} + 88.0f;   // and 2^k in range
#if defined(__AVX512F__)
  const Vector bounded = smaller_lanes(x, most);
  const __mmask16 normal = _mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ);  // or NaN
  const Vector k = _mm512_maskz_roundscale_ps(normal, bounded * kLog2E, _MM_FROUND_TO_NEAREST_INT);
  return _mm512_maskz_scalef_ps(normal, exp_of_rest(bounded, k), k);
#else
  typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
  const Vector bounded = smaller_lanes(larger_lanes(x, least), most);
  const Vector shifted = bounded * kLog2E + kExpRound;
  const Bits factor = (reinterpret_cast<Bits>(shifted) << 23) + (127u << 23);
  const Vector power = exp_of_rest(bounded, shifted - kExpRound) * reinterpret_cast<Vector>(factor);
  return x < least ? Vector{} : power;
#endif
}

inline void exp_of_difference_array(const float* x, float* out, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t lanes = count - i < kLanes ? count - i : kLanes;
    const Vector power = exp_of_difference(load_first_lanes(x + i, lanes, 0.0f));
    for (int64_t lane = 0; lane < lanes; ++lane) out[i + lane] = power[lane];
  }
}

inline void exp_array(const float* x, float* out, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) out[i] = exp(x[i]);
}

}  // namespace ssgpt::kernels::cpu::SSGPT_ISA
