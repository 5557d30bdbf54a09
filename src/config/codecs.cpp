#include "config/codecs.h"

#include "core/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::config {

bool is_plain_scalar(const YAML::Node& node) {
  return node.IsScalar() && node.Tag() == "?";
}

std::string double_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char character : text) {
    if (character == '"' || character == '\\') {
      result += '\\';
      result += character;
    } else if (static_cast<unsigned char>(character) < 0x20 || character == 0x7F) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned>(character));
    } else {
      result += character;
    }
  }
  return result + '"';
}

template <typename T>
std::optional<T> Integer<T>::read(const YAML::Node& node) const {
  const auto value = is_plain_scalar(node) ? core::parse_number<T>(node.Scalar()) : std::nullopt;
  return value && *value >= min && *value <= max ? value : std::nullopt;
}
template <typename T>
std::string Integer<T>::write(T value) const {
  return fmt::format("{}", value);
}
template <typename T>
std::string Integer<T>::allowed() const {
  return fmt::format("an integer from {} to {}", min, max);
}
template struct Integer<int64_t>;
template struct Integer<uint64_t>;

std::optional<double> Number::read(const YAML::Node& node) const {
  const auto value = is_plain_scalar(node) ? core::parse_number<double>(node.Scalar()) : std::nullopt;
  if (!value || !std::isfinite(*value) || *value < min || *value > max || (min_open && *value == min) ||
      (max_open && *value == max)) {
    return std::nullopt;
  }
  return value;
}
std::string Number::write(double value) const {
  return fmt::format("{}", value);  // the shortest text that reads back
}
std::string Number::allowed() const {
  std::string text = "a number";
  if (std::isfinite(min)) {
    text += fmt::format(" {} {:g}", min_open ? "above" : "of at least", min);
  }
  if (std::isfinite(max)) {
    text += fmt::format("{} {} {:g}", std::isfinite(min) ? " and" : "", max_open ? "below" : "at most", max);
  }
  return text;
}

std::optional<NumberPair::Value> NumberPair::read(const YAML::Node& node) const {
  if (!node.IsSequence() || node.size() != 2) {
    return std::nullopt;
  }
  const auto first = element.read(node[0]);
  const auto second = element.read(node[1]);
  return first && second ? std::optional(Value{*first, *second}) : std::nullopt;
}
std::string NumberPair::write(const Value& value) const {
  return fmt::format("[{}, {}]", element.write(value[0]), element.write(value[1]));
}
std::string NumberPair::allowed() const {
  return "a list of two, each " + element.allowed();
}

std::optional<bool> Boolean::read(const YAML::Node& node) const {
  if (is_plain_scalar(node) && (node.Scalar() == "true" || node.Scalar() == "false")) {
    return node.Scalar() == "true";
  }
  return std::nullopt;
}
std::string Boolean::write(bool value) const {
  return value ? "true" : "false";
}
std::string Boolean::allowed() const {
  return "true | false";
}

std::optional<std::string> Name::read(const YAML::Node& node) const {
  constexpr size_t kMaxLength = 100;
  if (!node.IsScalar()) {
    return std::nullopt;
  }
  const std::string& text = node.Scalar();
  const bool sound = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
  if (!sound || text.empty() || text.size() > kMaxLength || text[0] == '.' || text[0] == '-') {
    return std::nullopt;
  }
  return text;
}
std::string Name::write(const std::string& value) const {
  return double_quoted(value);
}
std::string Name::allowed() const {
  return "1 to 100 letters, digits, '.', '_' and '-', the first a letter, digit or '_'";
}

std::optional<Path::Value> Path::read(const YAML::Node& node) const {
  if (!node.IsScalar() || node.Scalar().empty() || node.Scalar().find('\0') != std::string::npos) {
    return std::nullopt;
  }
  return Value(node.Scalar());
}
std::string Path::write(const Value& value) const {
  return double_quoted(value.string());
}
std::string Path::allowed() const {
  return "a path";
}

std::optional<TextList::Value> TextList::read(const YAML::Node& node) const {
  Value list;
  const auto add = [&](const YAML::Node& element) {
    if (!element.IsScalar() || (element.Scalar().empty() && !may_be_empty)) {
      return false;
    }
    list.push_back(element.Scalar());
    return true;
  };
  if (node.IsSequence()) {
    for (const YAML::Node& element : node) {
      if (!add(element)) {
        return std::nullopt;
      }
    }
  } else if (!add(node)) {
    return std::nullopt;
  }
  return list.size() >= min_count ? std::optional(std::move(list)) : std::nullopt;
}
std::string TextList::write(const Value& value) const {
  std::string text;
  for (const std::string& element : value) {
    text += (text.empty() ? "" : ", ") + double_quoted(element);
  }
  return fmt::format("[{}]", text);
}
std::string TextList::allowed() const {
  return fmt::format("a list of {}{}", elements, min_count > 0 ? ", at least one" : "");
}

// Requires each of the two keys exactly once, and no other.
std::optional<SwapAttention> SwapList::read_one(const YAML::Node& node) const {
  std::optional<int64_t> step;
  std::optional<AttentionKind> to;
  for (const auto& item : node) {
    if (!item.first.IsScalar()) return std::nullopt;
    if (item.first.Scalar() == "at_step" && !step) {
      step = at_step.read(item.second);
    } else if (item.first.Scalar() == "kind" && !to) {
      to = kind.read(item.second);
    } else {
      return std::nullopt;
    }
  }
  if (!step || !to) return std::nullopt;
  return SwapAttention{.at_step = *step, .kind = *to};
}

std::optional<SwapList::Value> SwapList::read(const YAML::Node& node) const {
  Value list;
  const auto is_null = [](const auto& item) {
    const std::string name = item.first.IsScalar() ? item.first.Scalar() : "";
    return item.second.IsNull() && (name == "at_step" || name == "kind");
  };
  const bool of_nulls = node.IsMap() && node.size() == 2 && std::all_of(node.begin(), node.end(), is_null);
  if (node.IsNull() || of_nulls) return list;
  const auto add = [&](const YAML::Node& element) {
    const auto swap = element.IsMap() ? read_one(element) : std::nullopt;
    if (swap) list.push_back(*swap);
    return swap.has_value();
  };
  if (!node.IsSequence()) return add(node) ? std::optional(std::move(list)) : std::nullopt;
  for (const YAML::Node& element : node) {
    if (!add(element)) return std::nullopt;
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const SwapAttention& a, const SwapAttention& b) { return a.at_step < b.at_step; });
  return list;
}
std::string SwapList::write(const Value& value) const {
  std::string text;
  for (const SwapAttention& swap : value) {
    text += fmt::format("{}{{at_step: {}, kind: {}}}", text.empty() ? "" : ", ", at_step.write(swap.at_step),
                        kind.write(swap.kind));
  }
  return fmt::format("[{}]", text);
}
std::string SwapList::allowed() const {
  return fmt::format("a list of {{at_step: {}, kind: {}}}, or one of them", at_step.allowed(),
                     kind.allowed());
}

std::optional<LayerChoice::Value> LayerChoice::read(const YAML::Node& node) const {
  Value value;
  if (node.IsNull()) return value;
  if (node.IsMap()) {
    if (node.size() != 1 || !node["every"]) return std::nullopt;
    value.every = Integer<int64_t>{1, layer.max + 1}.read(node["every"]);
    return value.every ? std::optional(std::move(value)) : std::nullopt;
  }
  if (!node.IsSequence()) return std::nullopt;
  for (const YAML::Node& element : node) {
    const std::optional<int64_t> one = layer.read(element);
    if (!one || std::find(value.layers.begin(), value.layers.end(), *one) != value.layers.end())
      return std::nullopt;
    value.layers.push_back(*one);
  }
  std::sort(value.layers.begin(), value.layers.end());
  return value;
}
std::string LayerChoice::write(const Value& value) const {
  if (value.every) return fmt::format("{{every: {}}}", *value.every);
  return fmt::format("[{}]", fmt::join(value.layers, ", "));
}
std::string LayerChoice::allowed() const {
  return fmt::format("a list of layers, each once, or {{every: K}} with K of at least 1; a layer is {}",
                     layer.allowed());
}

std::optional<EarlierScheduleList::Value> EarlierScheduleList::read(const YAML::Node& node) const {
  if (!node.IsSequence()) return std::nullopt;
  Value list;
  for (const YAML::Node& element : node) {
    if (!element.IsMap() || element.size() != 2 || !element["until_step"] || !element["total_steps"]) {
      return std::nullopt;
    }
    const std::optional<int64_t> until = steps.read(element["until_step"]);
    const std::optional<int64_t> total = steps.read(element["total_steps"]);
    if (!until || !total) return std::nullopt;
    list.push_back({.until_step = *until, .total_steps = *total});
  }
  std::stable_sort(list.begin(), list.end(), [](const EarlierSchedule& a, const EarlierSchedule& b) {
    return a.until_step < b.until_step;
  });
  return list;
}
std::string EarlierScheduleList::write(const Value& value) const {
  std::string text;
  for (const EarlierSchedule& one : value) {
    text += fmt::format("{}{{until_step: {}, total_steps: {}}}", text.empty() ? "" : ", ", one.until_step,
                        one.total_steps);
  }
  return fmt::format("[{}]", text);
}
std::string EarlierScheduleList::allowed() const {
  return fmt::format("a list of {{until_step: {0}, total_steps: {0}}}", steps.allowed());
}

}  // namespace ssgpt::config
