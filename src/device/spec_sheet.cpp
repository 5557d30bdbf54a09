#include "device/spec_sheet.h"

#include "core/check.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <vector>

namespace ssgpt::device {
namespace {

struct Sheet {
  std::vector<std::string_view> words;  // of the name, in capitals, except those irrelevant to the speed
  double bfloat16;                      // TFLOP/s
  double float32;
};

// From NVIDIA's data sheets. A figure "with sparsity" is twice the dense one.
const std::vector<Sheet>& sheets() {
  static const std::vector<Sheet> all = {
      // nvidia.com/en-us/data-center/hgx (B200 and B300: for eight, 36 PFLOPS with sparsity and 600 TFLOPS)
      // and .../gb200-nvl72, .../gb300-nvl72 (for 72, 360 PFLOPS with sparsity and 5,760 TFLOPS)
      {{"GB300"}, 2500, 80},
      {{"GB200"}, 2500, 80},
      {{"B300"}, 2250, 75},
      {{"B200"}, 2250, 75},
      // nvidia.com/en-us/data-center/h200, .../h100, .../grace-hopper-superchip; the PCIe card and the fourth
      // digit are from the H100 architecture white paper. An H800 is an H100 with less fp64 and slower links.
      {{"GH200"}, 989.4, 66.9},
      {{"H200", "NVL"}, 835.5, 60},
      {{"H200"}, 989.4, 66.9},
      {{"H100", "NVL"}, 835.5, 60},
      {{"H100", "PCIE"}, 756, 51.2},
      {{"H100"}, 989.4, 66.9},
      {{"H800", "PCIE"}, 756, 51.2},
      {{"H800"}, 989.4, 66.9},
      // nvidia.com/en-us/data-center/a100; an A800 is an A100 with slower links
      {{"A100", "PCIE"}, 312, 19.5},
      {{"A100"}, 312, 19.5},
      {{"A800", "PCIE"}, 312, 19.5},
      {{"A800"}, 312, 19.5},
      // nvidia.com/en-us/data-center/products/a30-gpu, .../a40, .../l4, .../l40, .../l40s
      {{"A30"}, 165, 10.3},
      {{"A40"}, 149.7, 37.4},
      {{"L4"}, 121, 30.3},
      {{"L40"}, 181.05, 90.5},
      {{"L40S"}, 362.05, 91.6},
      // White papers of the GA102, Ada and RTX Blackwell architectures: bf16 with fp32 accumulation
      {{"3090"}, 71, 35.6},
      {{"4090"}, 165.2, 82.6},
      {{"5090"}, 209.5, 104.8},
  };
  return all;
}

// In capitals; "A100-SXM4-40GB" is three words.
std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  for (const char character : name) {
    if (character == ' ' || character == '-') {
      words.emplace_back();
    } else {
      words.back() += static_cast<char>(std::toupper(static_cast<unsigned char>(character)));
    }
  }
  std::erase(words, std::string());
  return words;
}

bool is_irrelevant_to_speed(std::string_view word) {
  static constexpr std::array<std::string_view, 21> kWords = {
      "NVIDIA", "GEFORCE", "RTX",  "SXM",  "SXM4",  "SXM5",  "SXM6", "AC",    "HBM2E", "HBM3", "HBM3E",
      "40GB",   "80GB",    "94GB", "96GB", "120GB", "141GB", "144G", "144GB", "180GB", "480GB"};
  return std::find(kWords.begin(), kWords.end(), word) != kWords.end();
}

}  // namespace

std::optional<double> dense_peak_flops(std::string_view name, config::Dtype dtype) {
  SSGPT_CHECK(dtype != config::Dtype::kAuto, "the dtype must be resolved");
  std::vector<std::string> words = words_of(name);
  std::erase_if(words, is_irrelevant_to_speed);
  for (const Sheet& sheet : sheets()) {
    if (std::is_permutation(words.begin(), words.end(), sheet.words.begin(), sheet.words.end())) {
      return 1e12 * (dtype == config::Dtype::kBfloat16 ? sheet.bfloat16 : sheet.float32);
    }
  }
  return std::nullopt;
}

}  // namespace ssgpt::device
