// Numbers that are none, in memory and on the way to disk.
#include "checkpoint/finite.h"

#include "checkpoint/checkpoint.h"
#include "checkpoint/manifest.h"
#include "checkpoint/model_file.h"
#include "checkpoint/optimizer_files.h"
#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/temporary_directory.h"

#include <limits>
#include <tuple>

#include <ATen/ops/cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const char* const kName = "model.layers.1.mlp.up_proj.weight";  // 20 x 12

// Puts `value` at [row, column] of that parameter.
void put(const FlatState& flat, const at::Tensor& tensor, int64_t row, int64_t column, float value) {
  tensor.mutable_data_ptr<float>()[find(flat, kName)->offset + row * 12 + column] = value;
}

std::string said(const FlatState& flat) {
  return first_invalid(flat).value_or("");
}

TEST(FirstInvalid, NamesTensorAndIndex) {
  for (const config::AttentionKind kind : all_kinds()) {
    EXPECT_EQ(said(random_snapshot(kind).flat), "");
  }
  const FlatState flat = random_snapshot(config::AttentionKind::kSsmax).flat;
  put(flat, flat.master, 0, 0, std::numeric_limits<float>::max());
  put(flat, flat.master, 0, 1, std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(said(flat), "");
  put(flat, flat.exp_avg_sq, 19, 11, kInfinity);
  EXPECT_EQ(said(flat),
            "the second moment (exp_avg_sq) of tensor '" + std::string(kName) + "' is inf at [19, 11]");
  put(flat, flat.exp_avg_sq, 19, 10, -0.5F);
  EXPECT_EQ(said(flat),
            "the second moment (exp_avg_sq) of tensor '" + std::string(kName) + "' is -0.5 at [19, 10]");
  put(flat, flat.exp_avg_sq, 19, 10, -std::numeric_limits<float>::denorm_min());
  EXPECT_THAT(said(flat), testing::EndsWith("at [19, 10]"));
  put(flat, flat.exp_avg_sq, 19, 10, -0.0F);
  EXPECT_THAT(said(flat), testing::EndsWith("is inf at [19, 11]"));
  put(flat, flat.exp_avg, 3, 0, -kInfinity);
  EXPECT_EQ(said(flat),
            "the first moment (exp_avg) of tensor '" + std::string(kName) + "' is -inf at [3, 0]");
  put(flat, flat.master, 7, 5, kNaN);
  EXPECT_EQ(said(flat), "tensor '" + std::string(kName) + "' is nan at [7, 5]");
}

// A rank of ZeRO-1 holds some ranges of the flat tensor, back to back.
TEST(FirstInvalid, FindsItsPlaceInAShareOfTheMoments) {
  const FlatState whole = random_snapshot(config::AttentionKind::kSsmax).flat;
  put(whole, whole.exp_avg, 7, 5, kNaN);
  const int64_t begin = find(whole, kName)->offset + 5 * 12;
  FlatState share = whole;
  share.moment_ranges = {{0, 100}, {begin, begin + 60}};
  const auto held = [&](const at::Tensor& moment) {
    return at::cat({moment.narrow(0, 0, 100), moment.narrow(0, begin, 60)});
  };
  share.exp_avg = held(whole.exp_avg);
  share.exp_avg_sq = held(whole.exp_avg_sq);
  EXPECT_THAT(said(share), testing::EndsWith("'" + std::string(kName) + "' is nan at [7, 5]"));
  share.moment_ranges = {{0, 100}};
  share.exp_avg = whole.exp_avg.narrow(0, 0, 100).clone();
  share.exp_avg_sq = whole.exp_avg_sq.narrow(0, 0, 100).clone();
  EXPECT_EQ(said(share), "");
}

TEST(Checkpoint, WithANumberThatIsNoneIsNotWritten) {
  const TemporaryDirectory directory;
  for (const bool moment : {false, true}) {
    const Snapshot snapshot = random_snapshot(config::AttentionKind::kSsmax);
    put(snapshot.flat, moment ? snapshot.flat.exp_avg : snapshot.flat.master, 7, 5, kNaN);
    try {
      write(directory / "c", snapshot);
      ADD_FAILURE() << "it was written";
    } catch (const core::RunError& error) {
      EXPECT_THAT(error.what(),
                  testing::AllOf(testing::HasSubstr(kName), testing::HasSubstr("nan at [7, 5]")));
    }
    EXPECT_TRUE(files_below(directory.path()).empty());
  }
}

// As written by a program that does not check, or after a bit flip: the root of a negative second moment
// would be NaN in the next step.
TEST(Checkpoint, WithANumberThatIsNoneIsNotRead) {
  for (const auto& [moment, value, words] :
       {std::tuple(false, kInfinity, "inf at [7, 5]"), std::tuple(true, kInfinity, "inf at [7, 5]"),
        std::tuple(true, -1.5F, "exp_avg_sq")}) {
    const TemporaryDirectory directory;
    const Snapshot snapshot = random_snapshot(config::AttentionKind::kSsmax);
    write(directory / "c", snapshot);
    put(snapshot.flat, moment ? snapshot.flat.exp_avg_sq : snapshot.flat.master, 7, 5, value);
    Manifest manifest = read_manifest(directory / "c");
    manifest.files[kModelName] = write_model_file(directory / "c" / kModelName, snapshot.flat);
    const std::string name = optimizer_file_name(0, 1);
    manifest.files[name] = write_optimizer_file(directory / "c" / name, snapshot.flat);
    write_manifest(directory / "c", manifest);
    EXPECT_TRUE(verify(directory / "c").empty());
    try {
      read(directory / "c", /*with_optimizer=*/true);
      ADD_FAILURE() << "it was read";
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr(kName), testing::HasSubstr(words)));
    }
    if (moment) {  // nobody takes them
      EXPECT_NO_THROW(read(directory / "c", /*with_optimizer=*/false));
    }
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
