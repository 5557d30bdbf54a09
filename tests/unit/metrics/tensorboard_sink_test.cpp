// The contents of the files are read with TensorBoard's own reader, in tests/integration/test_tensorboard.py.
#include "metrics/tensorboard_sink.h"

#include "core/error.h"
#include "core/temporary_directory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

TEST(TensorBoardSink, AMissingFolderIsAnError) {
  const TemporaryDirectory root;
  EXPECT_THROW(TensorBoardSink(root / "absent", /*purge_step=*/-1), core::RunError);
}

// TensorBoard reads the files in the order of their names, whatever the clock said.
TEST(TensorBoardSink, ANewFileSortsBehindThoseThatAreThere) {
  for (const char* name :
       {"events.out.tfevents.7999999999.000041.host.1.0", "events.out.tfevents.7999999999.host.12.v2",
        "events.out.tfevents.7999999999.999999.host.1.0", "events.out.tfevents.1000000000.host",
        "events.out.tfevents.1700000000.12", "events.out.tfevents.7999999999.12",
        "events.out.tfevents.7999999999", "events.out.tfevents.123", "events.out.tfevents."}) {
    const TemporaryDirectory root;
    std::ofstream(root / name) << "";
    std::ofstream(root / "metrics.jsonl") << "";
    std::vector<std::string> made;
    for (int i = 0; i < 2; ++i) {
      const TensorBoardSink sink(root.path(), /*purge_step=*/-1);
      std::vector<std::string> names;
      for (const auto& entry : std::filesystem::directory_iterator(root.path())) {
        const std::string found = entry.path().filename();
        if (found.starts_with("events.")) names.push_back(found);
      }
      made.push_back(*std::max_element(names.begin(), names.end()));
    }
    EXPECT_LT(std::string(name), made[0]);
    EXPECT_LT(made[0], made[1]);
  }
}

}  // namespace
}  // namespace ssgpt::metrics
