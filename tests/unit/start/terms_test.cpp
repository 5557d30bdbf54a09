#include "start/terms.h"

#include "config/minimal_config.h"
#include "core/error.h"
#include "core/version.h"
#include "parallel/ranks.h"

#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Terms some_terms() {
  Terms terms;
  terms.revision = core::git_revision();
  terms.arithmetic = "AVX2";
  terms.config = config::minimal_with({});
  terms.step = 5;
  terms.run_id = "0123456789abcdef";
  terms.run_directory = "/some where/\"run\"";
  terms.training_fingerprint = "t";
  terms.validation_fingerprint = "v";
  terms.products = kernels::ProductChoices{
      .library = {.version = "a library", .gpu = "a GPU"},
      .workspace_bytes = 5,
      .algorithms = {{{.m = 8, .n = 9, .k = 10, .a_alignment = 4, .b_alignment = 4, .out_alignment = 4},
                      {1, 2, 3, 4, 5, 6, 7, 8}}}};
  return terms;
}

TEST(Terms, ReachTheOtherRanksAsTheyAre) {
  std::mutex mutex;
  std::vector<Terms> received;
  const auto thrown = parallel::run_unopened_ranks(3, [&](parallel::Communicator& communicator) {
    if (communicator.is_main()) {
      post_terms(communicator.exchange(), some_terms());
    } else {
      const Terms terms = read_terms(communicator.exchange());
      const std::lock_guard guard(mutex);
      received.push_back(terms);
    }
  });
  EXPECT_EQ(thrown, parallel::nothing_thrown(3));
  ASSERT_EQ(received.size(), 2U);
  for (const Terms& terms : received) {
    EXPECT_THAT(differences(some_terms(), terms), ElementsAre());
    EXPECT_EQ(terms.run_id, some_terms().run_id);
    EXPECT_EQ(terms.products, some_terms().products);
    EXPECT_EQ(terms.revision, some_terms().revision);
  }
}

TEST(Terms, ThatDifferAreNamedOneByOne) {
  Terms other = some_terms();
  other.config.optimizer.lr = 0.5;
  other.arithmetic = "AVX512";
  other.training_fingerprint = "u";
  other.validation_fingerprint = "";
  other.run_directory = "/else";
  other.step = 6;
  EXPECT_THAT(differences(some_terms(), other),
              ElementsAre("optimizer.lr: 0.0006 on rank 0, 0.5 here",
                          "what the processor or GPU computes with: AVX2 on rank 0, AVX512 here",
                          "the training data's fingerprint: t on rank 0, u here",
                          "the validation data's fingerprint: v on rank 0, none here",
                          "the run directory: /some where/\"run\" on rank 0, /else here",
                          "the step to start from: 5 on rank 0, 6 here"));
}

// The words of another build need not mean the same here: nothing but its revision is read.
TEST(Terms, OfAnotherBuildAreNotRead) {
  const auto thrown = parallel::run_unopened_ranks(2, [](parallel::Communicator& communicator) {
    if (communicator.is_main()) {
      communicator.exchange().post("terms", R"({"revision": "fedcba", "something": "else"})");
      parallel::agree(communicator.exchange(), "start", {});
    } else {
      read_terms(communicator.exchange());
    }
  });
  for (const std::string& message : thrown) {
    EXPECT_THAT(message,
                AllOf(HasSubstr("Rank 1 does not do what rank 0 does"), HasSubstr("fedcba on rank 0")));
  }
}

// Whoever reaches the ranks' store can write into it.
TEST(Terms, WhatIsNotOfTheirFormIsRefused) {
  const std::string revision(core::git_revision());
  for (const std::string& text :
       {std::string("GET / HTTP/1.1"), std::string("[]"), std::string("null"),
        "{\"revision\": \"" + revision + "\"}", "{\"revision\": \"" + revision + "\", \"arithmetic\": 5}"}) {
    const auto thrown = parallel::run_unopened_ranks(2, [&](parallel::Communicator& communicator) {
      if (communicator.is_main()) {
        communicator.exchange().post("terms", text);
        parallel::agree(communicator.exchange(), "start", {});
      } else {
        read_terms(communicator.exchange());
      }
    });
    EXPECT_THAT(thrown[1], HasSubstr("does another program reach the store")) << text;
  }
}

TEST(Terms, HaveAChecksumOverEachOfThem) {
  const auto changed = [](auto change) {
    Terms terms = some_terms();
    change(terms);
    return checksum_of(terms);
  };
  EXPECT_EQ(checksum_of(some_terms()), checksum_of(some_terms()));
  const std::vector<std::string> checksums = {
      checksum_of(some_terms()),
      changed([](Terms& terms) { terms.config.train.dtype = config::Dtype::kBfloat16; }),
      changed([](Terms& terms) { terms.products->algorithms.begin()->second[7] = 9; }),
      changed([](Terms& terms) { terms.products.reset(); }),
      changed([](Terms& terms) { terms.config.optimizer.lr = 0.5; }),
      changed([](Terms& terms) { terms.step = 6; }),
      changed([](Terms& terms) { terms.run_id = "0123456789abcdee"; }),
      changed([](Terms& terms) { terms.arithmetic = "AVX512"; }),
      changed([](Terms& terms) { terms.training_fingerprint = "u"; }),
      changed([](Terms& terms) { terms.validation_fingerprint = ""; }),
      changed([](Terms& terms) { terms.run_directory = "/else"; }),
      changed([](Terms& terms) { terms.revision = "fedcba"; })};
  EXPECT_EQ(std::set(checksums.begin(), checksums.end()).size(), checksums.size());
}

}  // namespace
}  // namespace ssgpt::start
