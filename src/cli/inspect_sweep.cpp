// Inspection of the folder of a sweep.

#include "cli/inspection.h"
#include "cli/table.h"
#include "config/config.h"
#include "core/file.h"
#include "run/sweep_record.h"
#include "sweep/status.h"

#include <fmt/format.h>

namespace ssgpt::cli {
namespace {

namespace fs = std::filesystem;
using Align = Table::Align;
using Json = nlohmann::ordered_json;

// Status of the run. A run without a config has not begun.
sweep::Status status_of(const fs::path& sweep, const std::string& name) {
  const fs::path config = run::sweep_config(sweep, name);
  const int64_t max_steps = core::exists(config) ? config::load_stored(config).train.max_steps : 1;
  return sweep::status_or_failure(run::RunDirectory(sweep / name), max_steps);
}

}  // namespace

Inspection inspect_sweep(const fs::path& path) {
  const run::SweepRecord record = run::read_sweep_record(path);
  Inspection result;
  result.json = {
      {"type", "sweep"}, {"path", path.string()}, {"baseline", record.baseline}, {"runs", Json::array()}};
  Table head({Align::kLeft, Align::kLeft});
  head.add({"sweep", path.string()});
  head.add({"baseline", record.baseline});
  Table table({Align::kLeft, Align::kLeft});
  for (const run::SweepRecord::Run& one : record.runs) {
    const sweep::Status status = status_of(path, one.name);
    const std::string state = to_string(status.state);
    result.json["runs"].push_back({{"name", one.name},
                                   {"variant", one.variant},
                                   {"point", one.point},
                                   {"state", state},
                                   {"step", status.step}});
    table.add({one.name, status.step > 0 ? fmt::format("{}, step {}/{}", state, status.step, status.max_steps)
                                         : state});
  }
  result.text = fmt::format("{}\n{}", head.text(), table.text(/*indent=*/2));
  return result;
}

}  // namespace ssgpt::cli
