#include "checkpoint/manifest.h"

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace ssgpt::checkpoint {

namespace {

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;  // two files per rank, for 99,999 ranks

// One text for one manifest: reading compares byte for byte with what would be written, and `self` is the
// checksum of the text without it, so no change of the file goes unnoticed.
std::string text_of(const Manifest& manifest) {
  nlohmann::ordered_json json;
  json["format"] = "ssgpt-checkpoint";
  json["version"] = kFormatVersion;
  json["checksum"] = "xxh3-128";
  json["files"] = nlohmann::ordered_json::object();
  for (const auto& [name, digest] : manifest.files) {
    json["files"][name] = {{"size", digest.size}, {"checksum", digest.checksum}};
  }
  const std::string body = core::json_text(json);
  json["self"] = core::checksum_of(std::as_bytes(std::span(body)));
  return core::json_text(json, 2) + "\n";
}

Manifest parse(const std::string& text, const std::filesystem::path& path) {
  const auto json = core::parse_json<nlohmann::json>(text);
  const auto damaged = [&] {
    return core::InputError("{}: the manifest is damaged; use another checkpoint", path.string());
  };
  if (!json.is_object() || json.value("format", nlohmann::json()) != "ssgpt-checkpoint" ||
      !json.contains("version") || !json["version"].is_number_integer()) {
    throw damaged();
  }
  if (json["version"].get<int64_t>() != kFormatVersion) {
    throw core::InputError(
        "{}: checkpoint format version {}; this program reads version {}: use a newer ssgpt", path.string(),
        core::json_excerpt(json["version"]), kFormatVersion);
  }
  Manifest manifest;
  try {
    for (const auto& [name, digest] : json.at("files").items()) {
      manifest.files[name] = {.size = digest.at("size"), .checksum = digest.at("checksum")};
    }
  } catch (const nlohmann::json::exception&) {
    throw damaged();
  }
  if (text_of(manifest) != text) {
    throw damaged();
  }
  for (const auto& [name, digest] : manifest.files) {
    if (core::is_name_inside(name)) continue;
    throw core::InputError(
        "{}: the manifest lists '{}', which is no file inside of the checkpoint; use another checkpoint",
        path.string(), core::excerpt(name));
  }
  return manifest;
}

}  // namespace

void DigestedFile::write(std::span<const std::byte> bytes) {
  checksum_.update(bytes);
  file_.write(bytes);
}

FileDigest DigestedFile::commit() {
  file_.commit();
  return {.size = file_.bytes_written(), .checksum = checksum_.hex()};
}

FileDigest write_digested(const std::filesystem::path& path, std::string_view text) {
  DigestedFile file(path);
  file.write(std::as_bytes(std::span(text)));
  return file.commit();
}

void write_manifest(const std::filesystem::path& directory, const Manifest& manifest) {
  core::write_text_atomically(directory / kManifestName, text_of(manifest));
}

Manifest read_manifest(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / kManifestName;
  return parse(core::read_text(path, kMaxBytes), path);
}

std::vector<std::string> compare_with_manifest(const std::filesystem::path& directory,
                                               const Manifest& manifest, bool checksums) {
  std::vector<std::string> faults;
  for (const auto& [name, digest] : manifest.files) {
    const std::filesystem::path path = directory / name;
    try {
      const uint64_t size = core::InputFile(path).size();
      if (size != digest.size) {
        faults.push_back(fmt::format("{}: {} bytes, the manifest says {}", path.string(), size, digest.size));
      } else if (checksums && core::checksum_of_file(path) != digest.checksum) {
        faults.push_back(
            fmt::format("{}: its checksum is not the manifest's: its contents changed", path.string()));
      }
    } catch (const core::InputError& error) {
      faults.emplace_back(error.what());
    }
  }
  return faults;
}

}  // namespace ssgpt::checkpoint
