#include "parallel/environment.h"

#include "core/error.h"
#include "core/file.h"
#include "core/temporary_directory.h"
#include "parallel/launcher_variables.h"

#include <ctime>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace ssgpt::parallel {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Rank 5 of 8 on two machines of 4, under each launcher.
const Values kByHand = {
    {"RANK", "5"}, {"WORLD_SIZE", "8"}, {"LOCAL_RANK", "1"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "12345"}};
const Values kMpirun = {{"OMPI_COMM_WORLD_RANK", "5"},
                        {"OMPI_COMM_WORLD_SIZE", "8"},
                        {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                        {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                        {"MASTER_ADDR", "b"}};
const Values kSrun = {{"SLURM_PROCID", "5"},
                      {"SLURM_NTASKS", "8"},
                      {"SLURM_LOCALID", "1"},
                      {"SLURM_STEP_ID", "0"},
                      {"MASTER_ADDR", "c"}};

// `values` with these changes. An empty variable is as good as none, which IgnoresEmptyVariables shows.
Values changed(Values values, const Values& changes) {
  for (const auto& [name, value] : changes) values[name] = value;
  return values;
}

Environment read(const Values& values) {
  const Variables variables(values);
  return read_environment();
}

std::string message_of(const Values& values) {
  try {
    read(values);
  } catch (const core::UsageError& error) {
    return error.what();
  }
  return "no error";
}

void expect_alone(const Environment& environment) {
  EXPECT_EQ(environment.launcher, Launcher::kNone);
  EXPECT_EQ(environment.rank, 0);
  EXPECT_EQ(environment.world_size, 1);
  EXPECT_EQ(environment.local_rank, 0);
  EXPECT_FALSE(environment.agent_serves_store);
  EXPECT_FALSE(environment.error_file);
}

TEST(Environment, IsOneProcessWithoutALauncher) {
  const Environment environment = read({});
  expect_alone(environment);
  EXPECT_FALSE(environment.elastic_agent);
}

TEST(Environment, IgnoresEmptyVariables) {
  expect_alone(read({{"RANK", ""}, {"WORLD_SIZE", ""}, {"OMPI_COMM_WORLD_RANK", ""}, {"SLURM_PROCID", ""}}));
  expect_alone(read({{"MASTER_ADDR", "a"}, {"MASTER_PORT", "12345"}}));  // an address alone starts nothing
}

TEST(Environment, ReadsWhatTorchrunSets) {
  const Environment environment = read(changed(kByHand, {{"LOCAL_WORLD_SIZE", "4"},
                                                         {"TORCHELASTIC_RUN_ID", "none"},
                                                         {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                                                         {"TORCHELASTIC_ERROR_FILE", "/tmp/x/error.json"}}));
  EXPECT_EQ(environment.launcher, Launcher::kTorchrun);
  EXPECT_EQ(environment.rank, 5);
  EXPECT_EQ(environment.world_size, 8);
  EXPECT_EQ(environment.local_rank, 1);
  EXPECT_EQ(environment.local_world_size, 4);
  EXPECT_EQ(environment.master_address, "a");
  EXPECT_EQ(environment.master_port, 12345);
  EXPECT_TRUE(environment.agent_serves_store);
  EXPECT_TRUE(environment.elastic_agent);
  EXPECT_EQ(environment.error_file, "/tmp/x/error.json");
}

TEST(Environment, ReadsTorchrunsVariablesSetByHand) {
  const Environment environment = read(kByHand);
  EXPECT_EQ(environment.launcher, Launcher::kTorchrun);
  EXPECT_EQ(environment.rank, 5);
  EXPECT_EQ(environment.local_world_size, std::nullopt);
  EXPECT_FALSE(environment.agent_serves_store);
  EXPECT_FALSE(environment.elastic_agent);
  EXPECT_FALSE(environment.error_file);
  EXPECT_FALSE(read(changed(kByHand, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).agent_serves_store);
}

TEST(Environment, ReadsWhatMpirunSets) {
  const Environment environment = read(changed(kMpirun, {{"MASTER_PORT", "12346"}}));
  EXPECT_EQ(environment.launcher, Launcher::kOpenMpi);
  EXPECT_EQ(environment.rank, 5);
  EXPECT_EQ(environment.world_size, 8);
  EXPECT_EQ(environment.local_rank, 1);
  EXPECT_EQ(environment.local_world_size, 4);
  EXPECT_EQ(environment.master_address, "b");
  EXPECT_EQ(environment.master_port, 12346);
  EXPECT_FALSE(environment.elastic_agent);
}

TEST(Environment, ReadsWhatSrunSets) {
  const Environment environment = read(kSrun);
  EXPECT_EQ(environment.launcher, Launcher::kSlurm);
  EXPECT_EQ(environment.rank, 5);
  EXPECT_EQ(environment.world_size, 8);
  EXPECT_EQ(environment.local_rank, 1);
  EXPECT_EQ(environment.local_world_size, std::nullopt);
  EXPECT_EQ(environment.master_address, "c");
  EXPECT_EQ(environment.master_port, 29500);
  EXPECT_FALSE(environment.elastic_agent);
}

TEST(Environment, KnowsTheLauncherOfASingleProcess) {
  EXPECT_EQ(read(changed(kByHand, {{"RANK", "0"}, {"WORLD_SIZE", "1"}, {"LOCAL_RANK", "0"}})).launcher,
            Launcher::kTorchrun);
  const Environment mpirun = read(
      {{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "0"}});
  EXPECT_EQ(mpirun.launcher, Launcher::kOpenMpi);
  EXPECT_EQ(mpirun.master_address, "127.0.0.1");
  EXPECT_EQ(mpirun.master_port, 29500);
  const Environment srun =
      read({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_LOCALID", "0"}, {"SLURM_STEP_ID", "3"}});
  EXPECT_EQ(srun.launcher, Launcher::kSlurm);
  EXPECT_EQ(srun.master_address, "127.0.0.1");
  EXPECT_EQ(srun.master_port, 29500);
}

TEST(Environment, TakesAnAllocationWithoutAStepForOneProcess) {
  // In an sbatch script the allocation's variables are set although srun started nothing.
  expect_alone(read({{"SLURM_NTASKS", "8"}, {"SLURM_PROCID", "0"}, {"SLURM_LOCALID", "0"}}));
  expect_alone(read({{"SLURM_NTASKS", "8"}, {"SLURM_STEP_ID", "0"}}));
}

TEST(Environment, TakesSlurmsRanksWithAnAddressForAStep) {
  const Environment environment = read(changed(kSrun, {{"SLURM_STEP_ID", ""}}));
  EXPECT_EQ(environment.launcher, Launcher::kSlurm);
  EXPECT_EQ(environment.rank, 5);
}

TEST(Environment, NeedsAnAddressOnSeveralMachines) {
  // All on one machine.
  const Environment local =
      read(changed(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "8"}, {"MASTER_ADDR", ""}}));
  EXPECT_EQ(local.master_address, "127.0.0.1");
  EXPECT_EQ(local.master_port, 29500);

  EXPECT_THAT(message_of(changed(kMpirun, {{"MASTER_ADDR", ""}})),
              AllOf(HasSubstr("OMPI_COMM_WORLD_SIZE=8"), HasSubstr("MASTER_ADDR is not set"),
                    HasSubstr("mpirun -x MASTER_ADDR")));
  EXPECT_THAT(message_of(changed(kMpirun, {{"MASTER_ADDR", ""}, {"OMPI_COMM_WORLD_LOCAL_SIZE", ""}})),
              HasSubstr("MASTER_ADDR is not set"));
  EXPECT_THAT(message_of(changed(kSrun, {{"MASTER_ADDR", ""}})),
              AllOf(HasSubstr("SLURM_NTASKS=8"), HasSubstr("MASTER_ADDR is not set"),
                    HasSubstr("scontrol show hostnames")));
}

TEST(Environment, NamesAllVariablesThatAreMissing) {
  EXPECT_THAT(message_of({{"RANK", "0"}}),
              AllOf(HasSubstr("WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"),
                    HasSubstr("although RANK is")));
  EXPECT_THAT(message_of({{"WORLD_SIZE", "1"}}),
              HasSubstr("RANK, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are not set"));
  EXPECT_THAT(message_of({{"LOCAL_RANK", "0"}, {"MASTER_PORT", "1"}}),
              HasSubstr("RANK, WORLD_SIZE and MASTER_ADDR are not set"));
  for (const auto& [name, value] : kByHand) {
    EXPECT_THAT(message_of(changed(kByHand, {{name, ""}})), HasSubstr(name + " is not set"));
  }
  EXPECT_THAT(message_of({{"OMPI_COMM_WORLD_RANK", "0"}}),
              HasSubstr("OMPI_COMM_WORLD_SIZE and OMPI_COMM_WORLD_LOCAL_RANK are not set"));
  EXPECT_THAT(message_of({{"OMPI_COMM_WORLD_SIZE", "2"}}),
              HasSubstr("OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_LOCAL_RANK are not set"));
  EXPECT_THAT(message_of({{"OMPI_COMM_WORLD_LOCAL_RANK", "0"}}),
              HasSubstr("OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE are not set"));
  EXPECT_THAT(message_of({{"SLURM_PROCID", "0"}, {"SLURM_STEP_ID", "0"}}),
              HasSubstr("SLURM_NTASKS and SLURM_LOCALID are not set"));
  EXPECT_THAT(message_of(changed(kSrun, {{"SLURM_LOCALID", ""}})), HasSubstr("SLURM_LOCALID is not set"));
}

TEST(Environment, RefusesWhatIsNoWholeNumberInRange) {
  for (const char* wrong : {"one", "-1", "1.0", "1 ", " 1", "0x1", "2147483648", "99999999999999999999"}) {
    for (const char* name : {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT"}) {
      EXPECT_THAT(message_of(changed(kByHand, {{name, wrong}})),
                  HasSubstr(std::string(name) + "=" + wrong + " is not a whole number"));
    }
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
                             "OMPI_COMM_WORLD_LOCAL_SIZE", "MASTER_PORT"}) {
      EXPECT_THAT(message_of(changed(kMpirun, {{name, wrong}})), HasSubstr(std::string(name) + "=" + wrong));
    }
    for (const char* name : {"SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "MASTER_PORT"}) {
      EXPECT_THAT(message_of(changed(kSrun, {{name, wrong}})), HasSubstr(std::string(name) + "=" + wrong));
    }
  }
  for (const char* name : {"WORLD_SIZE", "LOCAL_WORLD_SIZE"}) {
    EXPECT_THAT(message_of(changed(kByHand, {{name, "0"}})), HasSubstr(std::string(name) + "=0"));
  }
}

TEST(Environment, RefusesPortsOutOfRange) {
  for (const Values& launcher : {kByHand, kMpirun, kSrun}) {
    for (const char* port : {"0", "65536"}) {
      EXPECT_THAT(message_of(changed(launcher, {{"MASTER_PORT", port}})),
                  HasSubstr(std::string("MASTER_PORT=") + port + " is not a whole number from 1 to 65535"));
    }
    EXPECT_EQ(read(changed(launcher, {{"MASTER_PORT", "1"}})).master_port, 1);
    EXPECT_EQ(read(changed(launcher, {{"MASTER_PORT", "65535"}})).master_port, 65535);
  }
}

TEST(Environment, RefusesVariablesThatContradictEachOther) {
  EXPECT_THAT(message_of(changed(kByHand, {{"RANK", "8"}})),
              HasSubstr("RANK=8 and WORLD_SIZE=8 contradict each other"));
  EXPECT_THAT(message_of(changed(kByHand, {{"LOCAL_RANK", "6"}})),
              HasSubstr("LOCAL_RANK=6 and RANK=5 contradict each other"));
  EXPECT_THAT(message_of(changed(kByHand, {{"LOCAL_WORLD_SIZE", "1"}})),
              HasSubstr("LOCAL_RANK=1 and LOCAL_WORLD_SIZE=1 contradict each other"));
  EXPECT_THAT(message_of(changed(kByHand, {{"LOCAL_WORLD_SIZE", "9"}})),
              HasSubstr("LOCAL_WORLD_SIZE=9 and WORLD_SIZE=8 contradict each other"));
  EXPECT_THAT(message_of(changed(kMpirun, {{"OMPI_COMM_WORLD_RANK", "8"}})),
              HasSubstr("OMPI_COMM_WORLD_RANK=8 and OMPI_COMM_WORLD_SIZE=8 contradict each other"));
  EXPECT_THAT(
      message_of(changed(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_RANK", "4"}})),
      HasSubstr("OMPI_COMM_WORLD_LOCAL_RANK=4 and OMPI_COMM_WORLD_LOCAL_SIZE=4 contradict each other"));
  EXPECT_THAT(message_of(changed(kMpirun, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "9"}})),
              HasSubstr("OMPI_COMM_WORLD_LOCAL_SIZE=9 and OMPI_COMM_WORLD_SIZE=8 contradict each other"));
  EXPECT_THAT(message_of(changed(kSrun, {{"SLURM_PROCID", "8"}})),
              HasSubstr("SLURM_PROCID=8 and SLURM_NTASKS=8 contradict each other"));
  EXPECT_THAT(message_of(changed(kSrun, {{"SLURM_LOCALID", "6"}})),
              HasSubstr("SLURM_LOCALID=6 and SLURM_PROCID=5 contradict each other"));
}

TEST(Environment, ReadsTorchrunsBeforeMpirunsBeforeSruns) {
  const Environment all = read(changed(changed(kSrun, kMpirun), kByHand));
  EXPECT_EQ(all.launcher, Launcher::kTorchrun);
  EXPECT_EQ(all.master_address, "a");
  // mpirun starts its daemons with srun, which have ranks of their own.
  const Environment mpirun =
      read(changed(changed(kSrun, {{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}}), kMpirun));
  EXPECT_EQ(mpirun.launcher, Launcher::kOpenMpi);
  EXPECT_EQ(mpirun.rank, 5);
}

TEST(Environment, IgnoresWhatStartedTorchrun) {
  const Values torchrun = changed(kByHand, {{"TORCHELASTIC_RUN_ID", "none"}});
  EXPECT_EQ(read(changed(torchrun, {{"SLURM_PROCID", "1"},
                                    {"SLURM_NTASKS", "2"},
                                    {"SLURM_LOCALID", "0"},
                                    {"SLURM_STEP_ID", "0"}}))
                .rank,
            5);
  EXPECT_EQ(read(changed(torchrun, {{"OMPI_COMM_WORLD_RANK", "1"}, {"OMPI_COMM_WORLD_SIZE", "2"}})).rank, 5);
}

TEST(Environment, RefusesRanksByHandThatAreNotTheLaunchers) {
  EXPECT_THAT(
      message_of(changed(kByHand, {{"OMPI_COMM_WORLD_RANK", "1"}})),
      AllOf(HasSubstr("RANK=5 and OMPI_COMM_WORLD_RANK=1 contradict each other"), HasSubstr("mpirun")));
  EXPECT_THAT(message_of(changed(kByHand, {{"OMPI_COMM_WORLD_RANK", "5"}, {"OMPI_COMM_WORLD_SIZE", "6"}})),
              HasSubstr("WORLD_SIZE=8 and OMPI_COMM_WORLD_SIZE=6 contradict each other"));
  EXPECT_THAT(message_of(changed(kByHand, {{"SLURM_PROCID", "1"}, {"SLURM_STEP_ID", "0"}})),
              AllOf(HasSubstr("RANK=5 and SLURM_PROCID=1 contradict each other"), HasSubstr("srun")));
  EXPECT_THAT(message_of(changed(kByHand, {{"SLURM_NTASKS", "2"}, {"SLURM_STEP_ID", "0"}})),
              HasSubstr("WORLD_SIZE=8 and SLURM_NTASKS=2 contradict each other"));
}

TEST(Environment, ComparesRanksByHandOnlyWithWhoStartedTheProcesses) {
  // A batch script that starts its processes itself.
  EXPECT_EQ(
      read(changed(kByHand, {{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "1"}, {"SLURM_LOCALID", "0"}})).rank, 5);
  // mpirun in a Slurm step, under a script that copies mpirun's ranks.
  EXPECT_EQ(read(changed(changed(kMpirun, kByHand),
                         {{"SLURM_PROCID", "1"}, {"SLURM_NTASKS", "2"}, {"SLURM_STEP_ID", "0"}}))
                .rank,
            5);
}

TEST(ErrorFile, HoldsTheMessageAsTorchrunsAgentReadsIt) {
  const TemporaryDirectory directory;
  Environment environment;
  environment.error_file = directory / "error.json";
  const std::string message = "Rank 1: \"loss\" is not finite,\nstep 3 \\ \xC3\xA9";
  const std::time_t before = std::time(nullptr);
  write_error_file(environment, message);
  const auto json = nlohmann::json::parse(core::read_text(*environment.error_file));
  EXPECT_EQ(json.at("message").at("message"), message);
  EXPECT_EQ(json.at("message").at("extraInfo").at("py_callstack"),
            message);  // the part that the agent prints
  const auto time =
      json.at("message").at("extraInfo").at("timestamp").get<std::string>();  // it calls int() on it
  EXPECT_GE(std::stoll(time), before);
  EXPECT_LE(std::stoll(time), std::time(nullptr));
  // Nothing else remains in the folder.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(ErrorFile, TakesBytesThatAreNotText) {
  const TemporaryDirectory directory;
  Environment environment;
  environment.error_file = directory / "error.json";
  write_error_file(environment, "byte \xFF of a file");
  const auto json = nlohmann::json::parse(core::read_text(*environment.error_file));
  EXPECT_EQ(json.at("message").at("message"), "byte \xEF\xBF\xBD of a file");  // U+FFFD
}

TEST(ErrorFile, IsLeftOutWhereThereIsNoneOrItCannotBeWritten) {
  write_error_file(Environment{}, "no file");
  const TemporaryDirectory directory;
  Environment environment;
  environment.error_file = directory / "missing" / "error.json";
  write_error_file(environment, "no folder");
  EXPECT_FALSE(std::filesystem::exists(directory / "missing"));
}

TEST(Environment, RefusesRanksThatItCannotRead) {
  EXPECT_THAT(message_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}}), HasSubstr("PMI_SIZE=2"));
  EXPECT_EQ(message_of({{"PMI_RANK", "0"}, {"PMI_SIZE", "1"}}), "no error");
  EXPECT_EQ(message_of(changed(kMpirun, {{"PMI_SIZE", "8"}, {"MASTER_ADDR", "a"}})),
            "no error");  // some set both
}

}  // namespace
}  // namespace ssgpt::parallel
