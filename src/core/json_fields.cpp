#include "core/json_fields.h"

#include "core/error.h"
#include "core/json.h"

#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace ssgpt::core {

namespace {

// Inverse of exact_number; nullopt for any other value.
std::optional<double> exact_double(const nlohmann::json& value) {
  if (value.is_number()) return value.get<double>();
  if (value == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (value == "inf") return std::numeric_limits<double>::infinity();
  if (value == "-inf") return -std::numeric_limits<double>::infinity();
  return std::nullopt;
}

}  // namespace

JsonFields::JsonFields(const std::filesystem::path& path)
    : JsonFields(path.string(), read_json<nlohmann::json>(path)) {}

JsonFields::JsonFields(const std::string& name, nlohmann::json json) : JsonFields(name, "", std::move(json)) {
  if (!json_.is_object()) {
    throw InputError("{}: not a JSON object: the file is damaged", name);
  }
}

JsonFields::JsonFields(std::filesystem::path path, std::string prefix, nlohmann::json json)
    : path_(std::move(path)), prefix_(std::move(prefix)), json_(std::move(json)) {}

const nlohmann::json& JsonFields::required(const std::string& key) const {
  if (!has(key)) {
    throw InputError("{}: the key '{}{}' is missing", path_.string(), prefix_, key);
  }
  return json_.at(key);
}

void JsonFields::fail(const std::string& key, std::string_view expected, std::string_view reason) const {
  throw InputError("{}: '{}{}' is {}, where {} is expected{}{}", path_.string(), prefix_, key,
                   json_.contains(key) ? json_excerpt(json_[key]) : "missing", expected,
                   reason.empty() ? "" : ": ", reason);
}

int64_t JsonFields::integer(const std::string& key) const {
  const nlohmann::json& value = required(key);
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() &&
       value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))) {
    fail(key, "an integer");
  }
  return value.get<int64_t>();
}

int64_t JsonFields::count(const std::string& key) const {
  const nlohmann::json& value = required(key);
  // An unsigned value above the largest int64_t reads as a negative one.
  if (!value.is_number_integer() || value.get<int64_t>() < 0) fail(key, "a whole number of 0 or more");
  return value.get<int64_t>();
}

double JsonFields::number(const std::string& key) const {
  const std::optional<double> value = exact_double(required(key));
  if (!value) {
    fail(key, "a number");
  }
  return *value;
}

std::vector<double> JsonFields::numbers(const std::string& key) const {
  std::vector<double> values;
  for (const nlohmann::json& element : required(key)) {
    const std::optional<double> value = exact_double(element);
    if (!value) {
      fail(key, "a list of numbers");
    }
    values.push_back(*value);
  }
  if (!required(key).is_array() || values.empty()) {
    fail(key, "a list of numbers");
  }
  return values;
}

bool JsonFields::flag(const std::string& key) const {
  const nlohmann::json& value = required(key);
  if (!value.is_boolean()) fail(key, "true or false");
  return value.get<bool>();
}

std::string JsonFields::text(const std::string& key) const {
  if (!required(key).is_string()) {
    fail(key, "a text");
  }
  return json_.at(key).get<std::string>();
}

std::vector<std::string> JsonFields::texts(const std::string& key) const {
  std::vector<std::string> values;
  if (!required(key).is_array()) fail(key, "a list of texts");
  for (const nlohmann::json& element : required(key)) {
    if (!element.is_string()) fail(key, "a list of texts");
    values.push_back(element.get<std::string>());
  }
  return values;
}

std::optional<int64_t> JsonFields::optional_integer(const std::string& key) const {
  return has(key) ? std::optional(integer(key)) : std::nullopt;
}

std::optional<int64_t> JsonFields::optional_count(const std::string& key) const {
  return has(key) ? std::optional(count(key)) : std::nullopt;
}

std::optional<double> JsonFields::optional_number(const std::string& key) const {
  return has(key) ? std::optional(number(key)) : std::nullopt;
}

std::optional<bool> JsonFields::optional_flag(const std::string& key) const {
  return has(key) ? std::optional(flag(key)) : std::nullopt;
}

std::optional<std::string> JsonFields::optional_text(const std::string& key) const {
  return has(key) ? std::optional(text(key)) : std::nullopt;
}

JsonFields JsonFields::object(const std::string& key) const {
  if (!has(key)) {
    return JsonFields(path_, prefix_ + key + ".", nlohmann::json::object());
  }
  if (!json_.at(key).is_object()) {
    fail(key, "an object");
  }
  return JsonFields(path_, prefix_ + key + ".", json_.at(key));
}

std::vector<JsonFields> JsonFields::objects(const std::string& key) const {
  std::vector<JsonFields> list;
  if (!has(key)) return list;
  if (!json_.at(key).is_array()) fail(key, "a list of objects");
  for (const nlohmann::json& element : json_.at(key)) {
    if (!element.is_object()) fail(key, "a list of objects");
    list.push_back(JsonFields(path_, fmt::format("{}{}[{}].", prefix_, key, list.size()), element));
  }
  return list;
}

nlohmann::json exact_number(double value) {
  if (std::isnan(value)) {
    return "nan";
  }
  if (std::isinf(value)) {
    return value > 0 ? "inf" : "-inf";
  }
  return value;
}

}  // namespace ssgpt::core
