// Typed access to JSON files written by this program or others: every fault is an InputError that names the
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
  // Wraps parsed JSON; messages use `name` as the file name. Throws InputError where it is not an object.
  JsonFields(const std::string& name, nlohmann::json json);

  // Each throws InputError where the key is missing (or null) or its value has another type; the optional
  // forms return nullopt for a missing key.
  int64_t integer(const std::string& key) const;
  int64_t count(const std::string& key) const;  // 0 or more
  double number(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;  // a list with at least one element
  bool flag(const std::string& key) const;
  std::string text(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;  // a list, possibly empty
  std::optional<int64_t> optional_integer(const std::string& key) const;
  std::optional<int64_t> optional_count(const std::string& key) const;
  std::optional<double> optional_number(const std::string& key) const;
  std::optional<bool> optional_flag(const std::string& key) const;
  std::optional<std::string> optional_text(const std::string& key) const;
  // The object under `key`; an empty one where the key is missing.
  JsonFields object(const std::string& key) const;
  // The objects of the list under `key`; empty where the key is missing.
  std::vector<JsonFields> objects(const std::string& key) const;

  // Throws the InputError for a wrong or missing value under `key`. `expected` is a noun phrase, such as "a
  // kind of attention"; a non-empty `reason` is appended.
  [[noreturn]] void fail(const std::string& key, std::string_view expected,
                         std::string_view reason = {}) const;

  bool has(const std::string& key) const { return json_.contains(key) && !json_[key].is_null(); }
  bool is_null(const std::string& key) const { return json_.contains(key) && json_[key].is_null(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  JsonFields(std::filesystem::path path, std::string prefix, nlohmann::json json);
  const nlohmann::json& required(const std::string& key) const;

  std::filesystem::path path_;
  std::string prefix_;  // prefix of keys in messages: "rope_parameters."
  nlohmann::json json_;
};

// A JSON value that reads back to the same bits; values that JSON numbers lack become text ("nan", "inf",
// "-inf").
nlohmann::json exact_number(double value);

}  // namespace ssgpt::core
