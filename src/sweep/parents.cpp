#include "sweep/parents.h"

#include "checkpoint/checkpoint.h"
#include "core/error.h"
#include "core/file.h"
#include "core/outputs.h"
#include "run/directory.h"
#include "run/record.h"
#include "start/rules.h"
#include "sweep/plan.h"

#include <exception>
#include <map>
#include <set>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::sweep {
namespace {

namespace fs = std::filesystem;

struct Parent {
  std::optional<fs::path> checkpoint;
  std::optional<int64_t> step;  // its step, if a trainer wrote it
};

// Finds the parents run by run, and collects the faults.
class ParentFinder {
 public:
  explicit ParentFinder(const fs::path& directory) : directory_(directory) {}

  Parent find(const config::SweepRun& run) {
    const run::RunDirectory own = directory_of(directory_, run);
    std::optional<run::Record> record;
    try {
      if (!own.complete_checkpoints().empty()) record = run::read_record(own);
    } catch (const std::exception&) {  // problems of the run are reported elsewhere
      return {};
    }
    if (record) return begun(run, *record);
    return run.init_from.empty() ? Parent() : named(run);
  }

  void require_equal_steps(std::span<const config::SweepRun> runs, const std::vector<Parent>& parents) {
    std::map<std::string, std::map<uint64_t, int64_t>> steps;  // by variant with its point, and seed
    for (size_t i = 0; i < runs.size(); ++i) {
      if (parents[i].step) steps[runs[i].config.run.name].emplace(runs[i].seed, *parents[i].step);
    }
    for (const auto& [name, of_seeds] : steps) {
      std::set<int64_t> different;
      std::vector<std::string> parts;
      for (const auto& [seed, step] : of_seeds) {
        different.insert(step);
        parts.push_back(fmt::format("seed {}: {}", seed, step));
      }
      if (different.size() < 2) continue;
      add(
          fmt::format("{}: its seeds would begin at different steps ({}); name one: "
                      "init_from: '.../checkpoints/step-{:08}'",
                      name, fmt::join(parts, ", "), *different.begin()));
    }
  }

  void throw_if_any() const {
    if (lines_.empty()) return;
    throw core::UsageError("init_from: these runs cannot begin:\n{}\nNothing was changed.",
                           fmt::join(lines_, "\n"));
  }

 private:
  void add(const std::string& line) { lines_.push_back(fmt::format("  {}", line)); }

  Parent begun(const config::SweepRun& run, const run::Record& record) {
    const fs::path held = record.beginning.parent;
    const bool agrees =
        held.empty() || run.init_from.empty()
            ? held.empty() == run.init_from.empty()
            : core::is_same_path(held, run.init_from) || core::is_same_path(run::run_of(held), run.init_from);
    const auto text_of = [](const fs::path& path) {
      return path.empty() ? "initial values" : path.string();
    };
    if (!agrees)
      add(fmt::format("{}: it began from {}, not {}", run.name, text_of(held), text_of(run.init_from)));
    Parent parent;
    if (!held.empty()) parent.checkpoint = held;
    if (!record.beginning.ancestors.empty()) parent.step = record.beginning.ancestors.back().step;
    return parent;
  }

  Parent named(const config::SweepRun& run) {
    const run::RunDirectory of_parent(run.init_from);
    const std::vector<run::Checkpoint> saved = of_parent.complete_checkpoints();
    if (saved.empty() && !core::exists(run.init_from / "config.json")) {
      const bool exists = core::is_directory(run.init_from);
      add(fmt::format("{}: {} {}", run.name, run.init_from.string(),
                      exists ? "holds no complete checkpoint" : "is no such run"));
      return {};
    }
    if (!saved.empty() && run::is_locked(of_parent)) {
      add(fmt::format("{}: {} is still being trained", run.name, run.init_from.string()));
      return {};
    }
    const fs::path checkpoint = saved.empty() ? run.init_from : saved.back().directory;
    const checkpoint::Summary summary = checkpoint::read_summary(checkpoint);
    require_model(run, checkpoint, summary);
    return {.checkpoint = checkpoint,
            .step = summary.trainer ? std::optional(summary.trainer->step) : std::nullopt};
  }

  void require_model(const config::SweepRun& run, const fs::path& checkpoint,
                     const checkpoint::Summary& summary) {
    try {
      start::refuse_other_model(summary.spec, run.config, checkpoint);
    } catch (const core::UsageError& error) {
      add(fmt::format("{}: {}", run.name, error.what()));
      return;
    }
    const config::AttentionKind held = summary.spec.config.attention.kind;
    const config::AttentionKind asked = config::attention_kind(run.config, /*update=*/1);
    if (held == asked) return;
    add(
        fmt::format("{}: {} has attention kind {}, and the run begins with {}; a swap is "
                    "train.swap_attention",
                    run.name, checkpoint.string(), config::to_string(held), config::to_string(asked)));
  }

  const fs::path& directory_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::optional<fs::path>> find_parents(const fs::path& directory,
                                                  std::span<const config::SweepRun> runs) {
  ParentFinder finder(directory);
  std::vector<Parent> parents;
  for (const config::SweepRun& run : runs) parents.push_back(finder.find(run));
  finder.require_equal_steps(runs, parents);
  finder.throw_if_any();
  std::vector<std::optional<fs::path>> checkpoints;
  for (const Parent& parent : parents) checkpoints.push_back(parent.checkpoint);
  return checkpoints;
}

}  // namespace ssgpt::sweep
