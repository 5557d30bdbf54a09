// Typed reading of the JSON files that this program or others wrote: every fault is an InputError that names
// file, key and value.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace ssgpt::core {

class JsonFields {
 public:
  // Parses the file. Throws InputError where it is missing or not a JSON object.
  explicit JsonFields(const std::filesystem::path& path);
  // Of an object that was parsed before; `name` stands for the file's in messages. Throws InputError where it
  // is not an object.
  JsonFields(const std::string& name, nlohmann::json json);

  // Each throws where the key is missing (or null) or of another type; the optional forms give none where it
  // is missing.
  int64_t integer(const std::string& key) const;
  int64_t count(const std::string& key) const;  // 0 or more
  double number(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;  // a list of at least one
  bool flag(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;  // a list, which may be empty
  std::optional<int64_t> optional_integer(const std::string& key) const;
  std::optional<int64_t> optional_count(const std::string& key) const;
  std::optional<double> optional_number(const std::string& key) const;
  std::optional<bool> optional_flag(const std::string& key) const;
  std::optional<std::string> optional_text(const std::string& key) const;
  // The object under `key`; an empty one where it is missing.
  JsonFields object(const std::string& key) const;
  // The objects of the list under `key`; none where it is missing.
  std::vector<JsonFields> objects(const std::string& key) const;

  // Throws the error of a value under `key`, or of none, in whose place there has to be what is `expected`, a
  // noun: "a kind of attention". `reason`, where there is one, tells in words of its own why.
  [[noreturn]] void fail(const std::string& key, std::string_view expected,
                         std::string_view reason = {}) const;

  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  bool is_null(const std::string& key) const { return json_.contains(key) && json_[key].is_null(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  JsonFields(std::filesystem::path path, std::string prefix, nlohmann::json json);
  const nlohmann::json& required(const std::string& key) const;

  std::filesystem::path path_;
  std::string prefix_;  // of keys in messages: "rope_parameters."
  nlohmann::json json_;
};

// A number that reads back to the same bits; those that JSON does not have are written as text ("nan", "inf",
// "-inf").
nlohmann::json exact_number(double value);

}  // namespace ssgpt::core
