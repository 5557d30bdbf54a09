#include "tokenizer/model_spec.h"

#include "tokenizer/charsmap.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace ssgpt::tokenizer {

namespace {

// One field of a protobuf message: `number` holds a varint, `bytes` a length-delimited value.
struct Field {
  uint64_t id = 0;
  uint64_t number = 0;
  std::string_view bytes;
};

std::optional<uint64_t> take_varint(std::string_view& message) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(message.front());
    message.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<Field> take_field(std::string_view& message) {
  constexpr uint64_t kVarint = 0, kFixed64 = 1, kDelimited = 2, kFixed32 = 5;
  const auto tag = take_varint(message);
  if (!tag) {
    return std::nullopt;
  }
  Field field{.id = *tag >> 3, .number = 0, .bytes = {}};
  uint64_t size = 0;
  switch (*tag & 7) {
    case kVarint: {
      const auto value = take_varint(message);
      field.number = value.value_or(0);
      return value ? std::optional(field) : std::nullopt;
    }
    case kDelimited: {
      const auto length = take_varint(message);
      if (!length) {
        return std::nullopt;
      }
      size = *length;
      break;
    }
    case kFixed64:
      size = 8;
      break;
    case kFixed32:
      size = 4;
      break;
    default:
      return std::nullopt;
  }
  if (size > message.size()) {
    return std::nullopt;
  }
  field.bytes = message.substr(0, static_cast<size_t>(size));
  message.remove_prefix(static_cast<size_t>(size));
  return field;
}

void for_each_field(std::string_view message, const std::function<void(const Field&)>& visit) {
  while (!message.empty()) {
    const auto field = take_field(message);
    if (!field) {
      return;
    }
    visit(*field);
  }
}

}  // namespace

ModelSpec read_model_spec(std::string_view serialized) {
  constexpr uint64_t kPieces = 1, kTrainerSpec = 2, kNormalizerSpec = 3, kDenormalizerSpec = 5;
  constexpr uint64_t kModelType = 3, kBpe = 2, kWhitespaceAsSuffix = 24, kByteFallback = 35;
  constexpr uint64_t kCharsmap = 2, kAddDummyPrefix = 3, kRemoveExtraWhitespaces = 4, kEscapeWhitespaces = 5;
  constexpr uint64_t kText = 1, kType = 3, kUserDefined = 4;
  ModelSpec spec;
  for_each_field(serialized, [&](const Field& section) {
    if (section.id == kPieces) {
      spec.user_defined.push_back(false);
      for_each_field(section.bytes, [&](const Field& field) {
        if (field.id == kType) {
          spec.user_defined.back() = field.number == kUserDefined;
        } else if (field.id == kText) {
          spec.longest_piece = std::max(spec.longest_piece, field.bytes.size());
          const bool is_text = !field.bytes.empty() && field.bytes.find('\0') == std::string_view::npos;
          spec.pieces_are_texts = spec.pieces_are_texts && is_text;
        }
      });
    }
    for_each_field(section.id == kTrainerSpec ? section.bytes : std::string_view(), [&](const Field& field) {
      switch (field.id) {
        case kModelType:
          spec.bpe = field.number == kBpe;
          break;
        case kWhitespaceAsSuffix:
          spec.blank_ends_piece = field.number != 0;
          break;
        case kByteFallback:
          spec.byte_fallback = field.number != 0;
          break;
        default:
          break;
      }
    });
    const bool normalizer = section.id == kNormalizerSpec;
    const bool any_normalizer = normalizer || section.id == kDenormalizerSpec;
    for_each_field(any_normalizer ? section.bytes : std::string_view(), [&](const Field& field) {
      if (field.id == kCharsmap) {
        spec.normalizes = spec.normalizes || !field.bytes.empty();
        spec.charsmaps_are_sound = spec.charsmaps_are_sound && is_sound_charsmap(field.bytes);
      } else if (normalizer && field.id == kAddDummyPrefix) {
        spec.adds_blank = field.number != 0;
      } else if (normalizer && field.id == kRemoveExtraWhitespaces) {
        spec.removes_blanks = field.number != 0;
      } else if (normalizer && field.id == kEscapeWhitespaces) {
        spec.escapes_blanks = field.number != 0;
      }
    });
  });
  return spec;
}

std::string reason_against_byte_pairs(const ModelSpec& spec) {
  if (!spec.bpe)
    return "it is not a byte-pair model: which split of a text is the best depends on how sums are rounded";
  if (spec.normalizes) return "it rewrites text by rules (normalization_rule_name)";
  if (spec.removes_blanks) return "it removes spaces (remove_extra_whitespaces)";
  if (!spec.byte_fallback) return "it has no pieces for bytes (byte_fallback)";
  if (!spec.escapes_blanks) return "it does not escape spaces (escape_whitespaces)";
  if (spec.blank_ends_piece) return "spaces end its pieces (treat_whitespace_as_suffix)";
  return "it has pieces that extend from one word into the next, or that are never used";
}

}  // namespace ssgpt::tokenizer
