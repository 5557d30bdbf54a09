#include "checkpoint/optimizer_files.h"

#include "checkpoint/model_file.h"
#include "checkpoint/moment_pieces.h"
#include "checkpoint/safetensors.h"
#include "core/check.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

namespace {

constexpr std::string_view kPrefix = "trainer/optimizer-";
constexpr std::string_view kMiddle = "-of-";
constexpr int64_t kMaxRanks = 99'999;  // five digits
constexpr std::array<const char*, 2> kSuffixes = {".exp_avg", ".exp_avg_sq"};

using Elements = std::vector<core::Range>;

// The number of ranks that the name of an optimizer file speaks of; none for any other name.
std::optional<int64_t> world_size_of(std::string_view name) {
  int64_t rank = -1;
  int64_t world_size = 0;
  const std::string_view numbers = name.substr(std::min(kPrefix.size(), name.size()));
  const auto first = std::from_chars(numbers.data(), numbers.data() + numbers.size(), rank);
  const std::string_view rest(first.ptr, static_cast<size_t>(numbers.data() + numbers.size() - first.ptr));
  if (rest.starts_with(kMiddle)) {
    std::from_chars(rest.data() + kMiddle.size(), rest.data() + rest.size(), world_size);
  }
  // The name is made again from the numbers, so that no other spelling of them passes.
  const bool is_one = rank >= 0 && rank < world_size && world_size <= kMaxRanks &&
                      name == optimizer_file_name(rank, world_size);
  return is_one ? std::optional(world_size) : std::nullopt;
}

nlohmann::ordered_json json_of(const Elements& elements) {
  nlohmann::ordered_json flat = nlohmann::ordered_json::array();
  for (const core::Range& piece : elements) {
    flat.push_back(piece.begin);
    flat.push_back(piece.end);
  }
  return flat;
}

// [first, last, ...]: rising, not empty, within the parameter.
std::optional<Elements> parse_elements(const nlohmann::json& flat, int64_t numel) {
  if (!flat.is_array() || flat.empty() || flat.size() % 2 != 0) {
    return std::nullopt;
  }
  Elements elements;
  int64_t last = 0;
  for (size_t i = 0; i < flat.size(); i += 2) {
    if (!flat[i].is_number_unsigned() || !flat[i + 1].is_number_unsigned()) {
      return std::nullopt;
    }
    const core::Range piece{.begin = flat[i].get<int64_t>(), .end = flat[i + 1].get<int64_t>()};
    if (piece.begin < last || piece.end <= piece.begin || piece.end > numel) {
      return std::nullopt;
    }
    elements.push_back(piece);
    last = piece.end;
  }
  return elements;
}

std::unordered_map<std::string, Elements> parse_ranges(const SafetensorsFile& file,
                                                       const std::vector<model::ParameterSpec>& specs) {
  const std::string path = file.path().string();
  const auto text = file.metadata().find("ranges");
  const nlohmann::json json =
      text == file.metadata().end() ? nlohmann::json() : core::parse_json<nlohmann::json>(text->second);
  if (!json.is_object()) {
    throw core::InputError("{}: does not say which moments it holds (metadata 'ranges')", path);
  }
  std::unordered_map<std::string, Elements> ranges;
  for (const model::ParameterSpec& spec : specs) {
    if (!json.contains(spec.name)) {
      continue;
    }
    std::optional<Elements> elements = parse_elements(json[spec.name], model::numel(spec));
    if (!elements) {
      throw core::InputError(
          "{}: its metadata 'ranges' says {} of {}, where rising ranges within its {} elements are expected",
          path, core::json_excerpt(json[spec.name]), spec.name, model::numel(spec));
    }
    ranges.emplace(spec.name, std::move(*elements));
  }
  for (const auto& [name, ignored] : json.items()) {
    if (!ranges.contains(name)) {
      throw core::InputError(
          "{}: holds moments of '{}', which is not part of the model that config.json describes", path,
          core::excerpt(name));
    }
  }
  return ranges;
}

// One of the files, its header checked against the parameters.
struct OptimizerFile {
  SafetensorsFile file;
  std::unordered_map<std::string, Elements> ranges;  // by parameter
};

OptimizerFile open(const std::filesystem::path& path, const std::vector<model::ParameterSpec>& specs) {
  OptimizerFile opened{.file = SafetensorsFile(path), .ranges = {}};
  opened.ranges = parse_ranges(opened.file, specs);
  std::vector<ExpectedTensor> expected;
  for (const model::ParameterSpec& spec : specs) {
    const auto held = opened.ranges.find(spec.name);
    if (held == opened.ranges.end()) {
      continue;
    }
    const int64_t count = core::total_size(held->second);
    for (const char* suffix : kSuffixes) {
      expected.push_back({.name = spec.name + suffix,
                          .shape = count == model::numel(spec) ? spec.shape : std::vector<int64_t>{count}});
    }
  }
  check_tensors(opened.file, expected);
  return opened;
}

// Reads a tensor that open() has found to the elements of the parameter at `values` that it holds.
void read_pieces(const SafetensorsFile& file, const std::string& name, const Elements& elements,
                 float* values) {
  const TensorEntry& entry = *file.find(name);
  if (elements.size() == 1) {
    file.read(entry, {values + elements[0].begin, static_cast<size_t>(elements[0].size())});
    return;
  }
  std::vector<float> pieces(static_cast<size_t>(entry.numel()));
  file.read(entry, pieces);
  const float* next = pieces.data();
  for (const core::Range& piece : elements) {
    std::copy_n(next, piece.size(), values + piece.begin);
    next += piece.size();
  }
}

struct Holding {
  core::Range piece;
  const std::filesystem::path* path;
};

// `holdings`: by rising first element.
void check_coverage(const model::ParameterSpec& spec, const std::vector<Holding>& holdings,
                    const std::filesystem::path& folder) {
  const Holding* last = nullptr;
  const auto check_gap = [&](int64_t begin, int64_t end) {
    if (begin < end) {
      throw core::InputError("{}: no optimizer file holds the moments of elements {} to {} of {}",
                             folder.string(), begin, end - 1, spec.name);
    }
  };
  for (const Holding& holding : holdings) {
    const int64_t expected = last == nullptr ? 0 : last->piece.end;
    check_gap(expected, holding.piece.begin);
    if (holding.piece.begin < expected) {
      throw core::InputError("{}: the moments of elements {} to {} of {} are in {} and in {}",
                             folder.string(), holding.piece.begin, std::min(expected, holding.piece.end) - 1,
                             spec.name, last->path->filename().string(), holding.path->filename().string());
    }
    last = &holding;
  }
  check_gap(last == nullptr ? 0 : last->piece.end, model::numel(spec));
}

}  // namespace

std::string optimizer_file_name(int64_t rank, int64_t world_size) {
  return fmt::format("{}{:05d}{}{:05d}.safetensors", kPrefix, rank, kMiddle, world_size);
}

OptimizerFileSet optimizer_file_set(const std::vector<std::string>& names) {
  std::set<int64_t> world_sizes;
  for (const std::string& name : names) {
    if (const std::optional<int64_t> world_size = world_size_of(name)) {
      world_sizes.insert(*world_size);
    }
  }
  if (world_sizes.empty()) {
    world_sizes.insert(1);
  }
  OptimizerFileSet set{.world_sizes = {world_sizes.begin(), world_sizes.end()}, .names = {}};
  for (int64_t rank = 0; !set.is_mixed() && rank < set.world_sizes[0]; ++rank) {
    set.names.push_back(optimizer_file_name(rank, set.world_sizes[0]));
  }
  return set;
}

std::string mixed_files_fault(const std::filesystem::path& directory, const OptimizerFileSet& set) {
  return fmt::format(
      "{}: optimizer files written by {} ranks are mixed, so it is not known which belong to the model",
      (directory / "trainer").string(), fmt::join(set.world_sizes, " and by "));
}

std::vector<std::string> list_optimizer_files(const std::filesystem::path& directory) {
  std::vector<std::string> names;
  for (const std::filesystem::path& entry : core::list_directory(directory / "trainer")) {
    std::string name = fmt::format("trainer/{}", entry.filename().string());
    if (world_size_of(name)) {
      names.push_back(std::move(name));
    }
  }
  return names;
}

std::vector<std::filesystem::path> find_optimizer_files(const std::filesystem::path& directory) {
  const std::vector<std::string> present = list_optimizer_files(directory);
  const OptimizerFileSet set = optimizer_file_set(present);
  if (set.is_mixed()) {
    throw core::InputError("{}", mixed_files_fault(directory, set));
  }
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> missing;
  for (const std::string& name : set.names) {
    paths.push_back(directory / name);
    if (std::find(present.begin(), present.end(), name) == present.end()) {
      missing.push_back(name);
    }
  }
  if (!missing.empty()) {
    throw core::InputError("{}: {} of its {} optimizer files are missing: {}", directory.string(),
                           missing.size(), set.names.size(), fmt::join(missing, ", "));
  }
  return paths;
}

FileDigest write_optimizer_file(const std::filesystem::path& path, const FlatState& flat) {
  std::vector<TensorToWrite> tensors;
  nlohmann::ordered_json ranges = nlohmann::ordered_json::object();
  const std::array<const at::Tensor*, 2> moments = {&flat.exp_avg, &flat.exp_avg_sq};
  for (size_t i = 0; i < moments.size(); ++i) {
    const at::Tensor& moment = *moments[i];
    SSGPT_CHECK(moment.device().is_cpu() && moment.scalar_type() == at::kFloat && moment.is_contiguous(),
                "moments are written from flat fp32 tensors on the CPU");
    SSGPT_CHECK(flat.moment_ranges.empty() || moment.numel() == core::total_size(flat.moment_ranges),
                "moments of {} elements, whose ranges hold {}", moment.numel(),
                core::total_size(flat.moment_ranges));
    for (const model::Parameter& parameter : flat.layout) {
      const HeldPieces held = held_pieces(flat, parameter);
      if (held.elements.empty()) {
        continue;
      }
      const int64_t count = core::total_size(held.elements);
      SSGPT_CHECK(held.position + count <= moment.numel(), "{} is outside of the moments",
                  parameter.spec.name);
      tensors.push_back(
          {.name = parameter.spec.name + kSuffixes[i],
           .shape = count == parameter.numel ? parameter.spec.shape : std::vector<int64_t>{count},
           .values = {moment.const_data_ptr<float>() + held.position, static_cast<size_t>(count)}});
      ranges[parameter.spec.name] = json_of(held.elements);
    }
  }
  return write_safetensors(path, tensors, {{"ranges", core::json_text(ranges)}});
}

void check_optimizer_files(const std::vector<std::filesystem::path>& paths,
                           const std::vector<model::ParameterSpec>& specs) {
  std::unordered_map<std::string, std::vector<Holding>> holdings;
  for (const std::filesystem::path& path : paths) {
    for (const auto& [name, elements] : open(path, specs).ranges) {
      for (const core::Range& piece : elements) {
        holdings[name].push_back({.piece = piece, .path = &path});
      }
    }
  }
  for (const model::ParameterSpec& spec : specs) {
    std::vector<Holding>& of_parameter = holdings[spec.name];
    std::stable_sort(of_parameter.begin(), of_parameter.end(),
                     [](const Holding& a, const Holding& b) { return a.piece.begin < b.piece.begin; });
    check_coverage(spec, of_parameter, paths.front().parent_path());
  }
}

void read_moments(const std::vector<std::filesystem::path>& paths, const FlatState& flat) {
  SSGPT_CHECK(flat.moment_ranges.empty(), "moments are read whole");
  std::vector<model::ParameterSpec> specs;
  for (const model::Parameter& parameter : flat.layout) {
    specs.push_back(parameter.spec);
  }
  // One file at a time is open: there may be more ranks than a process may have files.
  for (const std::filesystem::path& path : paths) {
    const OptimizerFile opened = open(path, specs);
    for (const model::Parameter& parameter : flat.layout) {
      const auto held = opened.ranges.find(parameter.spec.name);
      if (held == opened.ranges.end()) {
        continue;
      }
      const std::array<at::Tensor, 2> moments = {flat.exp_avg, flat.exp_avg_sq};
      for (size_t i = 0; i < moments.size(); ++i) {
        read_pieces(opened.file, parameter.spec.name + kSuffixes[i], held->second,
                    moments[i].mutable_data_ptr<float>() + parameter.offset);
      }
    }
  }
}

}  // namespace ssgpt::checkpoint
