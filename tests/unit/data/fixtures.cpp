#include "data/fixtures.h"

#include "tokenizer/tokenizer.h"

#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <utility>

#include <zstd.h>

namespace ssgpt::data::testing {

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw std::runtime_error("cannot read " + path.string());
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, std::string> files_of(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename().string()] = read_file(entry.path());
  }
  return files;
}

std::string little_endian(uint64_t value, int num_bytes) {
  std::string bytes;
  for (int i = 0; i < num_bytes; ++i) {
    bytes.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  }
  return bytes;
}

std::string llmc_file(int32_t magic, int32_t version, int32_t count, const std::vector<uint32_t>& tokens,
                      int token_bytes) {
  std::string bytes;
  for (const int32_t value : {magic, version, count}) {
    bytes += little_endian(static_cast<uint32_t>(value), 4);
  }
  bytes.resize(1024, '\0');
  for (const uint32_t token : tokens) {
    bytes += little_endian(token, token_bytes);
  }
  return bytes;
}

std::vector<uint32_t> pattern_tokens(size_t count, uint32_t limit) {
  std::vector<uint32_t> tokens(count);
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = static_cast<uint32_t>((i * 2654435761u + 12345) % limit);
  }
  return tokens;
}

std::string zstd_frame(std::string_view text) {
  std::string frame(ZSTD_compressBound(text.size()), '\0');
  frame.resize(ZSTD_compress(frame.data(), frame.size(), text.data(), text.size(), 3));
  return frame;
}

std::string make_text(uint64_t seed, int num_lines) {
  std::mt19937_64 random(seed);
  const std::vector<std::string> kSyllables = {"ba",  "ko", "li",  "men", "ra",
                                               "sto", "tu", "vey", "zi",  "nor"};
  std::string text;
  for (int line = 0; line < num_lines; ++line) {
    for (uint64_t word = 5 + random() % 10; word > 0; --word) {
      for (uint64_t syllable = 1 + random() % 3; syllable > 0; --syllable) {
        text += kSyllables[random() % kSyllables.size()];
      }
      text += word == 1 ? ".\n" : " ";
    }
    text += line % 5 == 4 ? "\n" : "";
  }
  return text;
}

std::filesystem::path write_tokenizer(const TemporaryDirectory& folder) {
  const std::filesystem::path path = folder / "tokenizer.model";
  bool done = false;
  tokenizer::train(
      [&](std::string& document) {
        document = make_text(99, 2000);
        return !std::exchange(done, true);
      },
      path, {.vocab_size = 600});
  return path;
}

}  // namespace ssgpt::data::testing
