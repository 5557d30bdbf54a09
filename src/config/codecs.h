// Reads a value of each type from YAML, writes it back, and describes it. A codec has
//   Value                            the type in Config
//   optional<Value> read(node)       nullopt where the node has another type or is out of range
//   string write(value)              YAML in flow style that reads back to the same value, bit for bit
//   string allowed()                 "a number above 0"
#pragma once

#include "config/config.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <yaml-cpp/yaml.h>

namespace ssgpt::config {

// Whether the node is an unquoted scalar: only these can be numbers and booleans. (JSON quotes names.)
bool is_plain_scalar(const YAML::Node& node);

// `text` in double quotes, with escapes common to YAML and JSON.
std::string double_quoted(std::string_view text);

template <typename T>
struct Integer {
  using Value = T;
  T min;
  T max;
  std::optional<T> read(const YAML::Node& node) const;
  std::string write(T value) const;
  std::string allowed() const;
};
extern template struct Integer<int64_t>;
extern template struct Integer<uint64_t>;

// Finite numbers. A bound is inclusive unless its `open` flag is set.
struct Number {
  using Value = double;
  double min = -std::numeric_limits<double>::infinity();
  bool min_open = false;
  double max = std::numeric_limits<double>::infinity();
  bool max_open = false;
  std::optional<double> read(const YAML::Node& node) const;
  std::string write(double value) const;
  std::string allowed() const;
};

// A list of two numbers.
struct NumberPair {
  using Value = std::array<double, 2>;
  Number element;
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;
};

struct Boolean {
  using Value = bool;
  std::optional<bool> read(const YAML::Node& node) const;
  std::string write(bool value) const;
  std::string allowed() const;
};

// A name that can also serve as a folder name.
struct Name {
  using Value = std::string;
  std::optional<std::string> read(const YAML::Node& node) const;
  std::string write(const std::string& value) const;
  std::string allowed() const;
};

struct Path {
  using Value = std::filesystem::path;
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;
};

// A list of strings, or a single string. `min_count` is 0 or 1; `elements` names the elements in messages.
struct TextList {
  using Value = std::vector<std::string>;
  size_t min_count = 0;
  bool may_be_empty = false;  // whether an element may be empty
  std::string elements = "paths or patterns";
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;
};

// One of the names in `names`.
template <typename E>
struct Choice {
  using Value = E;
  std::vector<std::pair<std::string, E>> names;

  std::optional<E> read(const YAML::Node& node) const {
    for (const auto& [name, value] : names) {
      if (node.IsScalar() && node.Scalar() == name) {
        return value;
      }
    }
    return std::nullopt;
  }
  std::string write(E value) const {
    for (const auto& [name, candidate] : names) {
      if (candidate == value) {
        return name;
      }
    }
    return {};
  }
  std::string allowed() const {
    std::string text;
    for (const auto& [name, value] : names) {
      text += (text.empty() ? "" : " | ") + name;
    }
    return text;
  }
};

// A list of mappings {at_step, kind}, in any order; a single mapping is a list of one. Null, and a mapping of
// nulls as written by earlier versions, is an empty list.
struct SwapList {
  using Value = std::vector<SwapAttention>;
  Integer<int64_t> at_step;
  Choice<AttentionKind> kind;
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;

 private:
  std::optional<SwapAttention> read_one(const YAML::Node& node) const;
};

// A list of layers, in any order, each once; or a mapping {every: K}. Null is an empty list.
struct LayerChoice {
  using Value = NopeLayers;
  Integer<int64_t> layer;
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;
};

// A list of mappings {until_step, total_steps}, in any order.
struct EarlierScheduleList {
  using Value = std::vector<EarlierSchedule>;
  Integer<int64_t> steps;
  std::optional<Value> read(const YAML::Node& node) const;
  std::string write(const Value& value) const;
  std::string allowed() const;
};

// A value, or a word for nullopt: "null" or "auto".
template <typename Codec>
struct Optional {
  using Value = std::optional<typename Codec::Value>;
  Codec codec;
  std::string word;

  std::optional<Value> read(const YAML::Node& node) const {
    if (node.IsNull() ? word == "null" : node.IsScalar() && node.Scalar() == word) {
      return std::optional<Value>(std::in_place, std::nullopt);
    }
    if (auto value = codec.read(node)) {
      return std::optional<Value>(std::in_place, std::move(*value));
    }
    return std::nullopt;
  }
  std::string write(const Value& value) const { return value ? codec.write(*value) : word; }
  std::string allowed() const { return word + " or " + codec.allowed(); }
};

// Values that are words: enumerator names, true and false, and the word that stands for no value.
template <typename Codec>
std::vector<std::string> words_of(const Codec& codec) {
  std::vector<std::string> words;
  if constexpr (requires { codec.names; }) {
    for (const auto& one : codec.names) words.push_back(one.first);
  }
  if constexpr (std::is_same_v<Codec, Boolean>) words = {"true", "false"};
  if constexpr (requires { codec.word; }) words.push_back(codec.word);
  return words;
}

// Whether the value names files.
template <typename Codec>
bool takes_path(const Codec& codec) {
  if constexpr (requires { codec.codec; }) return takes_path(codec.codec);
  if constexpr (std::is_same_v<Codec, TextList>) return !codec.may_be_empty;  // else its elements are texts
  return std::is_same_v<Codec, Path>;
}

}  // namespace ssgpt::config
