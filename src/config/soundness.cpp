#include "config/soundness.h"

#include "config/faults.h"
#include "config/schema.h"
#include "config/validation.h"

#include <string>
#include <vector>

#include <yaml-cpp/yaml.h>

namespace ssgpt::config {

void require_sound(const Config& config, std::string_view origin) {
  const std::string file(origin);
  Faults faults;
  std::vector<std::string> faulty;
  Config read_back;
  for (const Key& key : schema()) {
    const YAML::Node value = YAML::Load(key.write(config));
    if (key.read(value, read_back)) continue;
    add_fault(faults, {file, 0}, wrong_value(key, value));
    faulty.push_back(key.name);
  }
  validate(config, /*entries=*/{}, faulty, file, faults);
  throw_if_any(faults);
}

}  // namespace ssgpt::config
