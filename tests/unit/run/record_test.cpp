#include "run/record.h"

#include "config/minimal_config.h"
#include "core/error.h"
#include "core/json.h"
#include "core/temporary_directory.h"

#include <filesystem>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

device::Machine small_machine() {
  return {.host = "host",
          .system = "Linux 1 x86_64",
          .cpu = "a processor",
          .cpu_capability = "AVX2",
          .threads = 3,
          .memory_bytes = 1 << 20,
          .gpu = device::GpuDescription{
              .index = 1, .name = "a GPU", .compute_major = 9, .compute_minor = 0, .memory_bytes = 1 << 10}};
}

// The record of a run that was begun from a checkpoint, with its first session.
Record some_record() {
  return {.run_id = "0123456789abcdef",
          .name = "a name",
          .command = "ssgpt train --resume a",
          .num_parameters = 1234,
          .data_fingerprint = "f",
          .tokenizer_fingerprint = "t",
          .beginning = {.first_step = 20,
                        .parent = "runs/a/checkpoints/step-00000020",
                        .ancestors = {{.checkpoint = "runs/a/checkpoints/step-00000020",
                                       .run_id = "fedcba9876543210",
                                       .step = 20,
                                       .config = "run: {seed: 3}",
                                       .data_fingerprint = "g",
                                       .tokenizer_fingerprint = "u"}}},
          .sessions = {new_session("ssgpt train --resume a", 2, small_machine())}};
}

TEST(Record, ReadsBackWhatWasWritten) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  EXPECT_FALSE(read_record(run).has_value());
  Record record = some_record();
  record.sessions.push_back(new_session("ssgpt train --resume b", 1, small_machine()));
  write_record(run, record, small_machine());
  const std::optional<Record> read = read_record(run);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->run_id, record.run_id);
  EXPECT_EQ(read->name, "a name");
  EXPECT_EQ(read->command, "ssgpt train --resume a");
  EXPECT_EQ(read->num_parameters, 1234);
  EXPECT_EQ(read->data_fingerprint, "f");
  EXPECT_EQ(read->tokenizer_fingerprint, "t");
  EXPECT_EQ(read->beginning.first_step, 20);
  EXPECT_EQ(read->beginning.parent, record.beginning.parent);
  ASSERT_EQ(read->beginning.ancestors.size(), 1U);
  EXPECT_EQ(read->beginning.ancestors[0].checkpoint, record.beginning.parent);
  EXPECT_EQ(read->beginning.ancestors[0].run_id, "fedcba9876543210");
  EXPECT_EQ(read->beginning.ancestors[0].step, 20);
  EXPECT_EQ(read->beginning.ancestors[0].config, "run: {seed: 3}");
  EXPECT_EQ(read->beginning.ancestors[0].data_fingerprint, "g");
  EXPECT_EQ(read->beginning.ancestors[0].tokenizer_fingerprint, "u");
  ASSERT_EQ(read->sessions.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(read->sessions[i].started, record.sessions[i].started);
    EXPECT_EQ(read->sessions[i].command, record.sessions[i].command);
    EXPECT_EQ(read->sessions[i].revision, record.sessions[i].revision);
    EXPECT_EQ(read->sessions[i].host, "host");
    EXPECT_EQ(read->sessions[i].ranks, record.sessions[i].ranks);
    EXPECT_EQ(read->sessions[i].threads, 3);
    EXPECT_EQ(read->sessions[i].gpu, "a GPU");
  }
  // The fields that people and other programs look for.
  const auto json = nlohmann::json::parse(std::ifstream(run.record()));
  EXPECT_EQ(json["command"], "ssgpt train --resume a");
  EXPECT_EQ(json["hardware"]["cpu"], "a processor");
  EXPECT_EQ(json["hardware"]["gpu"]["compute_capability"], "9.0");
  EXPECT_TRUE(json["versions"].contains("libtorch"));
}

TEST(Record, WithoutWhatAnEarlierVersionDidNotWriteIsEmptyThere) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  std::ofstream(run.record()) << R"({"run_id": "id"})";
  const std::optional<Record> read = read_record(run);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->run_id, "id");
  EXPECT_FALSE(read->beginning.first_step.has_value());
  EXPECT_TRUE(read->beginning.ancestors.empty() && read->beginning.parent.empty() &&
              read->data_fingerprint.empty() && read->tokenizer_fingerprint.empty() &&
              read->sessions.empty());
}

TEST(Record, IsOneWhereItSaysWhatRunItIsOf) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  EXPECT_FALSE(is_record(run));
  const auto holds = [&](const std::string& text) {
    std::ofstream(run.record()) << text;
    return is_record(run);
  };
  EXPECT_TRUE(holds(R"({"run_id": "0123456789abcdef"})"));
  EXPECT_TRUE(holds(R"({"parent": "runs/a"})"));
  for (const std::string text : {"", "{}", "[]", "{\"run_id\": ", "text"}) EXPECT_FALSE(holds(text)) << text;
  const std::string deep(100'000, '[');
  EXPECT_FALSE(holds("{\"run_id\": " + deep + std::string(deep.size(), ']') + "}"));
}

TEST(Record, LargerThanAnyIsNotRead) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  std::ofstream(run.record()) << "{}";
  std::filesystem::resize_file(run.record(), core::kMaxJsonBytes + 1);
  EXPECT_THROW(is_record(run), core::InputError);
}

TEST(Record, AFieldOfAnotherTypeIsNamed) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  const auto expect_named = [&](const std::string& name, const std::string& value) {
    std::ofstream(run.record()) << "{\"" << name << "\": " << value << "}";
    try {
      read_record(run);
      ADD_FAILURE() << name << " = " << value << " was taken";
    } catch (const core::InputError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("run.json"), testing::HasSubstr(name)));
    }
  };
  for (const char* name :
       {"run_id", "name", "command", "parent", "data_fingerprint", "tokenizer_fingerprint"})
    expect_named(name, "1");
  for (const char* name : {"first_step", "num_parameters"}) {
    for (const char* value : {"-1", "\"1\"", "1.5", "18446744073709551615"}) expect_named(name, value);
  }
  for (const char* value : {"{}", "[1]", "\"x\"", "[{\"ranks\": \"2\"}]"}) expect_named("sessions", value);
  for (const char* value :
       {"{}", "[1]", "[{}]", "[{\"checkpoint\": \"a\", \"run_id\": \"b\", \"step\": -1}]"})
    expect_named("ancestors", value);
  std::ofstream(run.record()) << "[1]";
  EXPECT_THROW(read_record(run), core::InputError);
}

TEST(ReadConfig, HasTheSwapThatAnEarlierVersionKeptInTheRecord) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  const config::Config config = config::minimal_with({"train.swap_attention={at_step: 5, kind: ssmax}"});
  std::ofstream(run.config()) << config::dump(config);
  EXPECT_EQ(read_config(run).train.swap_attention, config.train.swap_attention);
  std::ofstream(run.record()) << R"({"manual_swap": {"at_step": 12, "kind": "ssmax_bias"}})";
  const std::vector<config::SwapAttention> both = {
      {.at_step = 5, .kind = config::AttentionKind::kSsmax},
      {.at_step = 12, .kind = config::AttentionKind::kSsmaxBias}};
  EXPECT_EQ(read_config(run).train.swap_attention, both);
  for (const char* swap : {R"({"at_step": 12, "kind": "max"})", R"({"at_step": -1, "kind": "ssmax"})",
                           R"({"kind": "ssmax"})", "[12]"}) {
    std::ofstream(run.record()) << "{\"manual_swap\": " << swap << "}";
    EXPECT_THROW(read_config(run), core::InputError) << swap;
  }
}

TEST(NewRunId, IsAnotherEachTime) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const std::string id = new_run_id();
    EXPECT_EQ(id.size(), 16U);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    ids.insert(id);
  }
  EXPECT_EQ(ids.size(), 100U);
}

TEST(Record, OfItsFieldsThoseThatAreKnownAreHandedOn) {
  const TemporaryDirectory root;
  const RunDirectory run(root.path());
  EXPECT_EQ(known_fields(run), nlohmann::ordered_json::object());
  write_record(run, some_record(), small_machine());
  const auto written = nlohmann::json::parse(std::ifstream(run.record()));
  EXPECT_EQ(nlohmann::json(known_fields(run)), written);  // all that the program itself writes
  nlohmann::json more = written;
  more["unknown"] = {{"deep", {1, 2, 3}}};
  more["hardware"]["unknown"] = "x";
  more["hardware"]["gpu"]["unknown"] = "x";
  more["versions"]["unknown"] = "x";
  more["sessions"][0]["unknown"] = "x";
  std::ofstream(run.record()) << more.dump();
  EXPECT_EQ(nlohmann::json(known_fields(run)), written);
  for (const char* wrong :
       {R"({"revision": 1})", R"({"versions": []})", R"({"hardware": {"threads": "3"}})",
        R"({"hardware": {"gpu": 1}})", R"({"sessions": [1]})", R"({"num_parameters": "x"})"}) {
    std::ofstream(run.record()) << wrong;
    EXPECT_THROW(known_fields(run), core::InputError) << wrong;
  }
}

}  // namespace
}  // namespace ssgpt::run
