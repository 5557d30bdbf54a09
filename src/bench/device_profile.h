// Device time per phase and operation: how long the device works on what is queued inside a scope, including
// idle time. For host time see core::HostProfile.
#pragma once

#include "core/profile.h"
#include "model/device_timing.h"

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace ssgpt::bench {

class DeviceProfile : public core::ProfileListener {
 public:
  explicit DeviceProfile(std::unique_ptr<model::DeviceMarks> marks) : marks_(std::move(marks)) {}

  // Scopes set marks and do not wait.
  void begin(std::string_view name, const core::Work& work) override;
  void end() override;

  // Waits for the device and adds the times of the scopes since the last call to their entries; no scope may
  // be open. Called after each step, which bounds the number of marks to that of one step. Returns the
  // seconds from the first of these scopes to the last.
  double collect();

  const std::vector<core::ProfileEntry>& entries() const { return entries_.all(); }

 private:
  struct Span {
    size_t entry;
    size_t begin, end;  // marks
  };
  std::unique_ptr<model::DeviceMarks> marks_;
  core::ProfileEntries entries_;
  std::vector<size_t> begins_;  // marks of the open scopes
  std::vector<Span> spans_;
};

}  // namespace ssgpt::bench
