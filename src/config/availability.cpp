#include "config/availability.h"

#include "config/schema.h"

#include <fmt/format.h>

namespace ssgpt::config {

namespace {

struct Refusal {
  std::string_view key;
  bool (*is_asked_for)(const Config&);
};

// A value that would silently have no effect is refused here.
constexpr Refusal kNotInThisBuild[] = {
    {"data.format",
     [](const Config& c) {
       return c.data.format == DataFormat::kSft;
     }},
};

}  // namespace

std::optional<std::string> refusal(std::string_view key, const Config& config) {
  for (const Refusal& refused : kNotInThisBuild) {
    if (refused.key == key && refused.is_asked_for(config)) {
      return fmt::format("not available in this build; leave it at {}", find_key(key)->write(Config{}));
    }
  }
  return std::nullopt;
}

}  // namespace ssgpt::config
