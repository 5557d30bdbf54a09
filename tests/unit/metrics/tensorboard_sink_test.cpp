// What the files hold is read with TensorBoard's own reader, in tests/integration/test_tensorboard.py.
#include "metrics/tensorboard_sink.h"

#include "core/error.h"
#include "core/temporary_directory.h"

#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

TEST(TensorBoardSink, AMissingFolderIsAnError) {
  const TemporaryDirectory root;
  EXPECT_THROW(TensorBoardSink(root / "absent", /*purge_step=*/-1), core::RunError);
}

}  // namespace
}  // namespace ssgpt::metrics
