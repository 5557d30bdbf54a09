#include "checkpoint/safetensors.h"

#include "core/check.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

namespace {

constexpr uint64_t kAlignment = 64;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr size_t kChunkBytes = size_t{1} << 20;

constexpr std::array<std::pair<std::string_view, int>, 14> kDtypeBytes = {{{"F64", 8},
                                                                           {"F32", 4},
                                                                           {"F16", 2},
                                                                           {"BF16", 2},
                                                                           {"I64", 8},
                                                                           {"I32", 4},
                                                                           {"I16", 2},
                                                                           {"I8", 1},
                                                                           {"U64", 8},
                                                                           {"U32", 4},
                                                                           {"U16", 2},
                                                                           {"U8", 1},
                                                                           {"BOOL", 1},
                                                                           {"F8_E4M3", 1}}};

// 0 for an unknown dtype.
uint64_t bytes_of(std::string_view dtype) {
  const auto* found =
      std::find_if(kDtypeBytes.begin(), kDtypeBytes.end(), [&](const auto& d) { return d.first == dtype; });
  return found == kDtypeBytes.end() ? 0 : static_cast<uint64_t>(found->second);
}

std::string header_of(std::span<const TensorToWrite> tensors,
                      const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  header["__metadata__"]["format"] = "pt";
  for (const auto& [key, value] : metadata) {
    header["__metadata__"][key] = value;
  }
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    SSGPT_CHECK(!header.contains(tensor.name), "two tensors are named {}", tensor.name);
    const uint64_t end = offset + tensor.values.size_bytes();
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = core::json_text(header);
  text.append((kAlignment - (sizeof(uint64_t) + text.size()) % kAlignment) % kAlignment, ' ');
  return text;
}

// The product of the dimensions times the element size; none where it does not fit.
std::optional<uint64_t> size_of(const std::vector<int64_t>& shape, uint64_t element_bytes) {
  uint64_t bytes = element_bytes;
  for (const int64_t dimension : shape) {
    const auto factor = static_cast<uint64_t>(dimension);
    if (factor != 0 && bytes > std::numeric_limits<uint64_t>::max() / factor) {
      return std::nullopt;
    }
    bytes *= factor;
  }
  return bytes;
}

TensorEntry parse_entry(const std::string& name, const nlohmann::json& value,
                        const std::filesystem::path& path) {
  const auto fault = [&](std::string_view what) {
    return core::InputError("{}: tensor '{}': {}; the file is damaged or not a safetensors file",
                            path.string(), core::excerpt(name), what);
  };
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
      !value.contains("shape") || !value["shape"].is_array() || !value.contains("data_offsets") ||
      !value["data_offsets"].is_array() || value["data_offsets"].size() != 2) {
    throw fault("its header entry lacks dtype, shape or data_offsets");
  }
  TensorEntry entry{.name = name, .dtype = value["dtype"], .shape = {}, .begin = 0, .end = 0};
  for (const nlohmann::json& dimension : value["shape"]) {
    if (!dimension.is_number_unsigned() ||
        dimension.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw fault(fmt::format("shape {} is not a list of sizes", core::json_excerpt(value["shape"])));
    }
    entry.shape.push_back(dimension.get<int64_t>());
  }
  const nlohmann::json& offsets = value["data_offsets"];
  if (!offsets[0].is_number_unsigned() || !offsets[1].is_number_unsigned()) {
    throw fault(fmt::format("data_offsets {} are not a range of bytes", core::json_excerpt(offsets)));
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  const uint64_t element_bytes = bytes_of(entry.dtype);
  if (element_bytes == 0) {
    throw fault(fmt::format("dtype {} is not known", core::excerpt(entry.dtype)));
  }
  if (entry.end < entry.begin || size_of(entry.shape, element_bytes) != entry.end - entry.begin) {
    throw fault(fmt::format("bytes {} to {} do not fit the shape {} in {}", entry.begin, entry.end,
                            core::json_excerpt(value["shape"]), entry.dtype));
  }
  return entry;
}

template <typename T>
void widen(std::span<const std::byte> bytes, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof(bits), sizeof(bits));
    out[i] = static_cast<float>(T(bits, T::from_bits()));
  }
}

}  // namespace

FileDigest write_safetensors(const std::filesystem::path& path, std::span<const TensorToWrite> tensors,
                             const std::map<std::string, std::string>& metadata) {
  for (const TensorToWrite& tensor : tensors) {
    SSGPT_CHECK(size_of(tensor.shape, sizeof(float)) == tensor.values.size_bytes(), "{} has {} values",
                tensor.name, tensor.values.size());
  }
  const std::string header = header_of(tensors, metadata);
  const uint64_t header_bytes = header.size();
  DigestedFile file(path);
  file.write(std::as_bytes(std::span(&header_bytes, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const TensorToWrite& tensor : tensors) {
    // In pieces, so that a value is still in the cache when it is written after it was hashed.
    for (std::span<const std::byte> rest = std::as_bytes(tensor.values); !rest.empty();) {
      const auto piece = rest.first(std::min(rest.size(), kChunkBytes));
      file.write(piece);
      rest = rest.subspan(piece.size());
    }
  }
  return file.commit();
}

int64_t TensorEntry::numel() const {
  return static_cast<int64_t>((end - begin) / bytes_of(dtype));
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  uint64_t header_bytes = 0;
  if (file_.size() < sizeof(header_bytes)) {
    throw core::InputError("{}: {} bytes are too few for a safetensors file", path.string(), file_.size());
  }
  file_.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  data_start_ = sizeof(header_bytes) + header_bytes;
  if (header_bytes < 2 || header_bytes > kMaxHeaderBytes || data_start_ > file_.size()) {
    throw core::InputError(
        "{}: not a safetensors file, or truncated: it announces a header of {} bytes in a file of {}",
        path.string(), header_bytes, file_.size());
  }
  std::string header(header_bytes, '\0');
  file_.read(sizeof(header_bytes), std::as_writable_bytes(std::span(header)));
  parse_header(header);
  std::sort(entries_.begin(), entries_.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  check_coverage();
}

void SafetensorsFile::parse_header(std::string_view header) {
  std::string fault = "not JSON that maps names to tensors";
  const auto json = core::parse_json<nlohmann::json>(header, &fault);
  if (!json.is_object()) {
    throw core::InputError("{}: not a safetensors file: its header is {}", path().string(), fault);
  }
  for (const auto& [name, value] : json.items()) {
    if (name != "__metadata__") {
      entries_.push_back(parse_entry(name, value, path()));
      continue;
    }
    for (const auto& [key, text] : value.items()) {
      if (!value.is_object() || !text.is_string()) {
        throw core::InputError("{}: damaged: its __metadata__ is not a map of texts", path().string());
      }
      metadata_[key] = text;
    }
  }
}

void SafetensorsFile::check_coverage() const {
  uint64_t expected = 0;
  for (const TensorEntry& entry : entries_) {
    if (entry.begin != expected) {
      throw core::InputError(
          "{}: damaged: tensor '{}' starts at byte {} of the data, where {} was expected (tensors overlap, "
          "or bytes belong to none)",
          path().string(), core::excerpt(entry.name), entry.begin, expected);
    }
    expected = entry.end;
  }
  const uint64_t data_bytes = file_.size() - data_start_;
  if (expected != data_bytes) {
    throw core::InputError("{}: {}: its header describes {} bytes of data, the file has {}", path().string(),
                           expected > data_bytes ? "truncated" : "damaged", expected, data_bytes);
  }
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const TensorEntry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

void SafetensorsFile::check_readable(const TensorEntry& entry) const {
  if (entry.dtype != "F32" && entry.dtype != "BF16" && entry.dtype != "F16") {
    throw core::InputError("{}: tensor '{}' has dtype {}; F32, BF16 and F16 can be read", path().string(),
                           core::excerpt(entry.name), entry.dtype);
  }
}

void SafetensorsFile::read(const TensorEntry& entry, std::span<float> out) const {
  SSGPT_CHECK(out.size() == static_cast<size_t>(entry.numel()), "{} values are asked of {}", out.size(),
              entry.name);
  check_readable(entry);
  const uint64_t start = data_start_ + entry.begin;
  if (entry.dtype == "F32") {
    file_.read(start, std::as_writable_bytes(out));
    return;
  }
  std::vector<std::byte> buffer(std::min(kChunkBytes, out.size() * sizeof(uint16_t)));
  for (size_t done = 0; done < out.size();) {
    const size_t count = std::min(buffer.size() / sizeof(uint16_t), out.size() - done);
    const auto bytes = std::span(buffer).first(count * sizeof(uint16_t));
    file_.read(start + done * sizeof(uint16_t), bytes);
    if (entry.dtype == "BF16") {
      widen<c10::BFloat16>(bytes, out.subspan(done, count));
    } else {
      widen<c10::Half>(bytes, out.subspan(done, count));
    }
    done += count;
  }
}

}  // namespace ssgpt::checkpoint
