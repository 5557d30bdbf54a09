#include "kernels/product_choices.h"

#include "core/json_fields.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::kernels {
namespace {

// Far beyond any training run.
constexpr int64_t kLargestSize = int64_t{1} << 40;
constexpr int64_t kLargestWorkspace = int64_t{1} << 30;
constexpr size_t kMostShapes = 1000;
constexpr size_t kLongestName = 300;

constexpr size_t kWordDigits = 16;

std::string to_hex(const ProductAlgorithm& algorithm) {
  std::string text;
  for (const uint64_t word : algorithm) text += fmt::format("{:016x}", word);
  return text;
}

ProductAlgorithm read_algorithm(const core::JsonFields& fields) {
  ProductAlgorithm algorithm{};
  const std::string text = fields.text("algorithm");
  const bool is_hex = text.size() == algorithm.size() * kWordDigits &&
                      text.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hex) fields.fail("algorithm", "a text of 128 hexadecimal digits");
  const char* digits = text.data();
  for (uint64_t& word : algorithm) {
    std::from_chars(digits, digits + kWordDigits, word, /*base=*/16);
    digits += kWordDigits;
  }
  return algorithm;
}

int64_t read_size(const core::JsonFields& fields, const std::string& key, int64_t most = kLargestSize) {
  const int64_t size = fields.count(key);
  if (size < 1 || size > most) fields.fail(key, fmt::format("a whole number from 1 to {}", most));
  return size;
}

int64_t read_alignment(const core::JsonFields& fields, const std::string& key, bool bf16) {
  const int64_t bytes = fields.count(key);
  const int64_t least = bf16 ? 2 : 4;
  if (bytes < least || bytes > kChoiceAlignment || !std::has_single_bit(static_cast<uint64_t>(bytes))) {
    fields.fail(key, fmt::format("a power of two from {} to {}", least, kChoiceAlignment));
  }
  return bytes;
}

bool is_bf16(const core::JsonFields& fields, const std::string& key) {
  const std::string name = fields.text(key);
  if (name != dtype_name(true) && name != dtype_name(false)) fields.fail(key, "bfloat16 or float32");
  return name == dtype_name(true);
}

std::string read_name(const core::JsonFields& fields, const std::string& key) {
  std::string name = fields.text(key);
  if (name.empty() || name.size() > kLongestName) fields.fail(key, "a name");
  return name;
}

ProductShape read_shape(const core::JsonFields& fields) {
  ProductShape shape;
  shape.m = read_size(fields, "m");
  shape.n = read_size(fields, "n");
  shape.k = read_size(fields, "k");
  shape.a_transposed = fields.flag("a_transposed");
  shape.b_transposed = fields.flag("b_transposed");
  shape.bf16_inputs = is_bf16(fields, "inputs");
  shape.bf16_out = is_bf16(fields, "out");
  if (shape.bf16_out && !shape.bf16_inputs) fields.fail("out", "float32, as the inputs are,");
  shape.a_alignment = read_alignment(fields, "a_alignment", shape.bf16_inputs);
  shape.b_alignment = read_alignment(fields, "b_alignment", shape.bf16_inputs);
  shape.out_alignment = read_alignment(fields, "out_alignment", shape.bf16_out);
  return shape;
}

nlohmann::ordered_json json_of(const ProductShape& shape, const ProductAlgorithm& algorithm) {
  return {{"m", shape.m},
          {"n", shape.n},
          {"k", shape.k},
          {"a_transposed", shape.a_transposed},
          {"b_transposed", shape.b_transposed},
          {"inputs", dtype_name(shape.bf16_inputs)},
          {"out", dtype_name(shape.bf16_out)},
          {"a_alignment", shape.a_alignment},
          {"b_alignment", shape.b_alignment},
          {"out_alignment", shape.out_alignment},
          {"algorithm", to_hex(algorithm)}};
}

double middle_of(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::optional<double> usable(std::optional<double> seconds) {
  return seconds && std::isfinite(*seconds) && *seconds > 0.0 ? seconds : std::nullopt;
}

struct Finalist {
  size_t index;
  double once;                 // in the first pass over all candidates
  std::vector<double> rounds;  // seconds; 0 where it failed
};

// Returns the first that can be measured and the fastest of the others.
std::vector<Finalist> find_finalists(size_t count,
                                     const std::function<std::optional<double>(size_t)>& measure) {
  constexpr size_t kMost = 4;
  std::vector<Finalist> all;
  for (size_t index = 0; index < count; ++index) {
    if (const auto seconds = usable(measure(index)))
      all.push_back({.index = index, .once = *seconds, .rounds = {}});
  }
  if (all.empty()) return all;
  std::stable_sort(all.begin() + 1, all.end(),
                   [](const Finalist& one, const Finalist& other) { return one.once < other.once; });
  all.resize(std::min(all.size(), kMost));
  return all;
}

}  // namespace

std::string to_string(const ProductLibrary& library) {
  return fmt::format("{} on {}", library.version, library.gpu);
}

nlohmann::ordered_json to_json(const ProductChoices& choices) {
  nlohmann::ordered_json json = {{"library", choices.library.version},
                                 {"gpu", choices.library.gpu},
                                 {"workspace_bytes", choices.workspace_bytes},
                                 {"shapes", nlohmann::ordered_json::array()}};
  for (const auto& [shape, algorithm] : choices.algorithms)
    json["shapes"].push_back(json_of(shape, algorithm));
  return json;
}

ProductChoices read_product_choices(const core::JsonFields& fields) {
  ProductChoices choices;
  choices.library.version = read_name(fields, "library");
  choices.library.gpu = read_name(fields, "gpu");
  choices.workspace_bytes = read_size(fields, "workspace_bytes", kLargestWorkspace);
  const std::vector<core::JsonFields> shapes = fields.objects("shapes");
  if (shapes.empty()) fields.texts("shapes");  // where there is no list
  if (shapes.size() > kMostShapes) fields.fail("shapes", fmt::format("a list of at most {}", kMostShapes));
  for (const core::JsonFields& one : shapes) {
    if (!choices.algorithms.emplace(read_shape(one), read_algorithm(one)).second) {
      fields.fail("shapes", "a list that names each GEMM once");
    }
  }
  return choices;
}

std::optional<FastestCandidate> fastest_candidate(
    size_t count, const std::function<std::optional<double>(size_t)>& measure) {
  constexpr size_t kRounds = 6;
  constexpr double kWorthwhile = 0.99;
  std::vector<Finalist> finalists = find_finalists(count, measure);
  std::vector<bool> failed(finalists.size());
  for (size_t round = 0; round < kRounds; ++round) {
    for (size_t turn = 0; turn < finalists.size(); ++turn) {
      const size_t place = round % 2 == 0 ? turn : finalists.size() - 1 - turn;
      const auto seconds = failed[place] ? std::nullopt : usable(measure(finalists[place].index));
      failed[place] = !seconds;
      finalists[place].rounds.push_back(seconds.value_or(0.0));
    }
  }
  if (finalists.empty() || failed.front()) return std::nullopt;
  const std::vector<double>& first = finalists.front().rounds;
  FastestCandidate fastest{
      .index = finalists.front().index, .seconds = middle_of(first), .first_seconds = middle_of(first)};
  double least = kWorthwhile;
  for (size_t place = 1; place < finalists.size(); ++place) {
    if (failed[place]) continue;
    const std::vector<double>& rounds = finalists[place].rounds;
    std::vector<double> ratios;  // each over two rounds in opposite order, so that steady drift cancels
    for (size_t round = 0; round < kRounds; round += 2) {
      ratios.push_back(std::sqrt(rounds[round] / first[round] * rounds[round + 1] / first[round + 1]));
    }
    const double ratio = middle_of(ratios);
    if (ratio >= least) continue;
    least = ratio;
    fastest.index = finalists[place].index;
    fastest.seconds = middle_of(rounds);
  }
  return fastest;
}

}  // namespace ssgpt::kernels
