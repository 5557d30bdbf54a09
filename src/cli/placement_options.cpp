#include "cli/placement_options.h"

#include "config/config.h"

#include <map>
#include <string>

namespace ssgpt::cli {

void add_placement_options(CLI::App& command, evaluation::Placement& placement) {
  using config::Device;
  static const std::map<std::string, Device> devices = {
      {"auto", Device::kAuto}, {"cpu", Device::kCpu}, {"cuda", Device::kCuda}};
  command
      .add_option("--device", placement.device,
                  "Device to compute on: cpu, cuda, or auto (a GPU if there is one)")
      ->transform(CLI::CheckedTransformer(devices).description("{auto,cpu,cuda}"))
      ->default_str(placement.device == Device::kAuto ? "auto" : "cpu");
  command.add_flag("--bfloat16", placement.bfloat16, "Compute in bfloat16 instead of float32");
}

}  // namespace ssgpt::cli
