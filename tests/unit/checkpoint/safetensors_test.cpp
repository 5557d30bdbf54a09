#include "checkpoint/safetensors.h"

#include "checkpoint/snapshots.h"
#include "core/error.h"
#include "core/temporary_directory.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::checkpoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A file of this header and so many bytes of data.
std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(sizeof(size), '\0');
  std::memcpy(bytes.data(), &size, sizeof(size));
  return bytes + header + std::string(data_bytes, '\1');
}

void expect_refused(const std::string& bytes, const std::string& reason) {
  const TemporaryDirectory directory;
  const auto path = directory / "hostile.safetensors";
  write_bytes(path, bytes);
  try {
    const SafetensorsFile file(path);
    ADD_FAILURE() << "was read, but: " << reason;
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

TEST(Safetensors, RoundTripsValuesShapesAndMetadata) {
  const TemporaryDirectory directory;
  const auto path = directory / "a.safetensors";
  const std::vector<float> matrix = {1.0F, -0.0F, std::nanf("7"), INFINITY, 1e-45F, 3.0F};
  const std::vector<float> vector = {0.5F};
  const std::vector<TensorToWrite> tensors = {{.name = "z", .shape = {2, 3}, .values = matrix},
                                              {.name = "a", .shape = {1}, .values = vector}};
  const FileDigest digest = write_safetensors(path, tensors, {{"key", "value \"x\""}});
  EXPECT_EQ(digest.size, std::filesystem::file_size(path));
  EXPECT_EQ(digest.checksum, core::checksum_of_file(path));

  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.metadata().at("key"), "value \"x\"");
  ASSERT_NE(file.find("z"), nullptr);
  EXPECT_THAT(file.find("z")->shape, ElementsAre(2, 3));
  EXPECT_EQ(file.find("y"), nullptr);
  std::vector<float> read(6);
  file.read(*file.find("z"), read);
  EXPECT_EQ(std::memcmp(read.data(), matrix.data(), sizeof(float) * 6), 0);
  read.resize(1);
  file.read(*file.find("a"), read);
  EXPECT_EQ(read[0], 0.5F);
}

TEST(Safetensors, DataStartAtAMultipleOf64Bytes) {
  const TemporaryDirectory directory;
  for (const std::string name : {"a", "ab", "abcdefghij"}) {
    const std::vector<float> values = {1.0F};
    const std::vector<TensorToWrite> tensors = {{.name = name, .shape = {}, .values = values}};
    write_safetensors(directory / name, tensors, {});
    EXPECT_EQ((std::filesystem::file_size(directory / name) - sizeof(float)) % 64, 0U);
    EXPECT_TRUE(SafetensorsFile(directory / name).find(name)->shape.empty());
  }
}

TEST(Safetensors, WidensHalfPrecisions) {
  const TemporaryDirectory directory;
  const std::string header = R"({"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},)"
                             R"("h":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}})";
  // bf16 1.5 = 0x3fc0, -2 = 0xc000; fp16 1.5 = 0x3e00, the smallest subnormal = 0x0001 (2^-24).
  const std::string data("\xc0\x3f\x00\xc0\x00\x3e\x01\x00", 8);
  write_bytes(directory / "half", file_with(header, 0) + data);
  const SafetensorsFile file(directory / "half");
  std::vector<float> values(2);
  file.read(*file.find("b"), values);
  EXPECT_THAT(values, ElementsAre(1.5F, -2.0F));
  file.read(*file.find("h"), values);
  EXPECT_THAT(values, ElementsAre(1.5F, 0x1p-24F));
}

TEST(Safetensors, RefusesADtypeThatCannotBeAWeight) {
  const TemporaryDirectory directory;
  write_bytes(directory / "i", file_with(R"({"i":{"dtype":"I32","shape":[1],"data_offsets":[0,4]}})", 4));
  const SafetensorsFile file(directory / "i");
  std::vector<float> values(1);
  EXPECT_THROW(file.read(*file.find("i"), values), core::InputError);
}

TEST(Safetensors, RefusesDamagedAndForeignFiles) {
  expect_refused("", "too few");
  expect_refused("1234567", "too few");
  expect_refused(std::string(64, '\xff'), "not a safetensors file");
  expect_refused("# a text file that is long enough to hold a header length\n", "not a safetensors file");
  expect_refused(file_with("{\"a\":", 0), "not JSON");
  expect_refused(file_with("[1,2]", 0), "not JSON");
  expect_refused(file_with(R"({"a":1})", 0), "lacks dtype");
  expect_refused(file_with(R"({"__metadata__":{"a":1}})", 0), "__metadata__");
  expect_refused(file_with(R"({"__metadata__":7})", 0), "__metadata__");
}

TEST(Safetensors, RefusesEntriesThatDoNotFitTheirRanges) {
  const auto one = [](const std::string& entry) {
    return "{\"a\":{" + entry + "}}";
  };
  expect_refused(file_with(one(R"("dtype":"X9","shape":[1],"data_offsets":[0,4])"), 4), "dtype X9");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), 4), "shape");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])"), 4), "shape");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), 4), "do not fit");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])"), 4), "data_offsets");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4), "do not fit");
  // 2^62 elements of 4 bytes are 2^64 bytes, which wraps to 0.
  expect_refused(file_with(one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])"), 0),
                 "do not fit");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 7), "truncated");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), 9), "damaged");
  expect_refused(file_with(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])"), 8), "starts at byte 4");
}

TEST(Safetensors, RefusesOverlapsAndHoles) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a + R"(},"b":{"dtype":"F32","shape":[2],)" +
           R"("data_offsets":)" + b + "}}";
  };
  expect_refused(file_with(two("[0,8]", "[4,12]"), 12), "overlap");
  expect_refused(file_with(two("[0,8]", "[0,8]"), 8), "overlap");
  expect_refused(file_with(two("[0,8]", "[12,20]"), 20), "overlap");
}

TEST(Safetensors, RefusesAFileCutAnywhere) {
  const TemporaryDirectory directory;
  const std::vector<float> values(100, 1.0F);
  const std::vector<TensorToWrite> tensors = {{.name = "a", .shape = {100}, .values = values}};
  write_safetensors(directory / "whole", tensors, {});
  std::ifstream in(directory / "whole", std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  for (size_t size = 0; size < bytes.size(); size += 5) {
    write_bytes(directory / "cut", bytes.substr(0, size));
    EXPECT_THROW(SafetensorsFile(directory / "cut"), core::InputError) << size;
  }
}

}  // namespace
}  // namespace ssgpt::checkpoint
