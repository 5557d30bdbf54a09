// Which choices of products a run takes over, makes anew or refuses, with a library of the test's own.
#include "start/choose_products.h"

#include "core/error.h"

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::start {
namespace {

using kernels::ProductAlgorithm;
using kernels::ProductChoices;
using kernels::ProductShape;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

ProductShape shape_of(int64_t m) {
  return {
      .m = m, .n = 2, .k = 3, .bf16_inputs = true, .a_alignment = 64, .b_alignment = 64, .out_alignment = 64};
}

class MadeUpLibrary : public ProductChooser {
 public:
  kernels::ProductLibrary library() override { return name; }
  bool takes(const ProductShape&, const ProductAlgorithm& algorithm, const kernels::ProductTerms&) override {
    return !refused.contains(algorithm[0]);
  }
  Choice choose(const ProductShape& shape, bool accumulate, const kernels::ProductTerms& terms,
                std::optional<int64_t> candidate) override {
    if (failing.contains(shape.m)) throw core::RunError("it cannot");
    asked.push_back(shape.m);
    accumulated |= accumulate;
    last_terms = terms;
    const auto mark = static_cast<uint64_t>(100 * shape.m + candidate.value_or(0));
    return {.algorithm = {mark}, .seconds = 1e-3, .first_seconds = 2e-3, .description = {}};
  }

  kernels::ProductLibrary name = {.version = "library 1", .gpu = "GPU"};
  std::set<uint64_t> refused;
  std::set<int64_t> failing;
  std::vector<int64_t> asked;
  bool accumulated = false;
  kernels::ProductTerms last_terms;
};

const std::map<ProductShape, bool> kNeeded = {{shape_of(1), false}, {shape_of(2), true}};

TEST(SettleProducts, ChoosesEachOnceAndKeepsThemOnResume) {
  MadeUpLibrary library;
  const ProductChoices first = settle_products(kNeeded, std::nullopt, "", {}, library);
  EXPECT_THAT(library.asked, ElementsAre(1, 2));
  EXPECT_TRUE(library.accumulated);
  EXPECT_EQ(library.last_terms.workspace_bytes, int64_t{32} << 20);
  EXPECT_EQ(library.last_terms.reductions, kernels::kReduceAnyhow);
  EXPECT_EQ(first.library, library.name);
  EXPECT_EQ(first.algorithms.at(shape_of(2))[0], 200u);
  const ProductChoices again = settle_products(kNeeded, first, "state.json", {}, library);
  EXPECT_EQ(again, first);
  EXPECT_THAT(library.asked, ElementsAre(1, 2)) << "measured again";
}

TEST(SettleProducts, MeasuresOnlyNewShapesAndDropsOldOnes) {
  MadeUpLibrary library;
  const ProductChoices first =
      settle_products({{shape_of(1), false}, {shape_of(7), false}}, std::nullopt, "", {}, library);
  library.asked.clear();
  ProductChoices held = first;
  held.workspace_bytes = 5;
  const ProductChoices settled = settle_products(kNeeded, held, "state.json", {}, library);
  EXPECT_THAT(library.asked, ElementsAre(2));
  EXPECT_EQ(library.last_terms.workspace_bytes, 5) << "the run's, which all its choices share";
  EXPECT_EQ(settled.algorithms.size(), 2u);
  EXPECT_EQ(settled.algorithms.at(shape_of(1)), first.algorithms.at(shape_of(1)));
}

TEST(SettleProducts, AnotherLibraryOrGpuIsToldAndChosenForAnew) {
  for (const bool other_gpu : {false, true}) {
    MadeUpLibrary library;
    const ProductChoices held = settle_products(kNeeded, std::nullopt, "", {}, library);
    (other_gpu ? library.name.gpu : library.name.version) += " B";
    library.asked.clear();
    testing::internal::CaptureStderr();
    const ProductChoices settled = settle_products(kNeeded, held, "x/state.json", {}, library);
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_THAT(library.asked, ElementsAre(1, 2));
    EXPECT_EQ(settled.library, library.name);
    EXPECT_THAT(log, testing::AllOf(HasSubstr("x/state.json"), HasSubstr("library 1 on GPU"),
                                    HasSubstr(to_string(library.name)), HasSubstr("not bit for bit")));
  }
}

TEST(SettleProducts, AChoiceThatItsOwnLibraryRefusesIsDamage) {
  MadeUpLibrary library;
  const ProductChoices held = settle_products(kNeeded, std::nullopt, "", {}, library);
  library.refused = {200};
  try {
    settle_products(kNeeded, held, "x/state.json", {}, library);
    ADD_FAILURE() << "taken";
  } catch (const core::InputError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("x/state.json"), HasSubstr("2 x 2 x 3"),
                                             HasSubstr("train.tune_products=false")));
  }
  // One that is not needed any more is not asked for.
  EXPECT_EQ(settle_products({{shape_of(1), false}}, held, "x/state.json", {}, library).algorithms.size(), 1u);
}

TEST(SettleProducts, AProductThatNoneComputesIsLeftOut) {
  MadeUpLibrary library;
  library.failing = {1};
  testing::internal::CaptureStderr();
  const ProductChoices settled = settle_products(kNeeded, std::nullopt, "", {}, library);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("1 x 2 x 3"), HasSubstr("it cannot")));
  EXPECT_EQ(settled.algorithms.size(), 1u);
}

TEST(SettleProducts, SwitchesSayWhatIsChosenAndNothingOfWhatIsHeld) {
  MadeUpLibrary library;
  const ProductSwitches switches = {.candidate = 3,
                                    .fp32_reductions = 2,
                                    .workspace_bytes = 9,
                                    .set = {"SSGPT_LT_CANDIDATE", "SSGPT_LT_MASK"}};
  const ProductChoices settled = settle_products(kNeeded, std::nullopt, "", switches, library);
  EXPECT_EQ(settled.algorithms.at(shape_of(1))[0], 103u);
  EXPECT_EQ(settled.workspace_bytes, 9);
  EXPECT_EQ(library.last_terms.reductions, 2u);
  const ProductChoices held = settle_products(kNeeded, std::nullopt, "", {}, library);
  testing::internal::CaptureStderr();
  EXPECT_EQ(settle_products(kNeeded, held, "x/state.json", switches, library), held);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("SSGPT_LT_CANDIDATE, SSGPT_LT_MASK"));
}

TEST(ProductDifferences, AreNamedWithTheWayOut) {
  MadeUpLibrary library;
  const ProductChoices of_rank_zero = settle_products(kNeeded, std::nullopt, "", {}, library);
  EXPECT_THAT(product_differences(of_rank_zero, library), IsEmpty());
  library.refused = {100};
  EXPECT_THAT(product_differences(of_rank_zero, library),
              ElementsAre(testing::AllOf(HasSubstr("1 x 2 x 3"), HasSubstr("train.tune_products=false"))));
  library.name.gpu = "other";
  EXPECT_THAT(product_differences(of_rank_zero, library),
              ElementsAre(HasSubstr("library 1 on GPU on rank 0, library 1 on other here")));
}

TEST(ProductsText, ReachesOtherRanksAsItIs) {
  MadeUpLibrary library;
  const ProductChoices choices = settle_products(kNeeded, std::nullopt, "", {}, library);
  EXPECT_EQ(read_products_text(products_text(choices)), choices);
  EXPECT_EQ(read_products_text(products_text(std::nullopt)), std::nullopt);
  for (const char* text : {"{}", "[]", "not JSON", "null"}) {
    EXPECT_THROW(read_products_text(text), core::InputError) << text;
  }
}

class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { setenv(name, value, /*overwrite=*/1); }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* const name_;
};

TEST(ProductSwitches, AreReadAndRefused) {
  EXPECT_THAT(read_product_switches().set, IsEmpty());
  {
    const Variable candidate("SSGPT_LT_CANDIDATE", "3"), mask("SSGPT_LT_MASK", "0"),
        workspace("SSGPT_LT_WORKSPACE_MIB", "64");
    const ProductSwitches switches = read_product_switches();
    EXPECT_EQ(switches.candidate, 3);
    EXPECT_EQ(switches.fp32_reductions, 0u);
    EXPECT_EQ(switches.workspace_bytes, int64_t{64} << 20);
    EXPECT_EQ(switches.set.size(), 3u);
  }
  for (const auto& [name, value] :
       {std::pair{"SSGPT_LT_CANDIDATE", "0"}, std::pair{"SSGPT_LT_MASK", "8"},
        std::pair{"SSGPT_LT_MASK", "0x7"}, std::pair{"SSGPT_LT_WORKSPACE_MIB", "1025"}}) {
    const Variable variable(name, value);
    try {
      read_product_switches();
      ADD_FAILURE() << name << "=" << value << " was taken";
    } catch (const core::UsageError& error) {
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr(name), HasSubstr(value), HasSubstr(" to ")));
    }
  }
}

TEST(ChoosesProducts, OnAGpuThatNeedNotRepeatItself) {
  config::TrainConfig train;
  train.device = config::Device::kCuda;
  EXPECT_TRUE(chooses_products(train));
  train.deterministic = true;
  EXPECT_FALSE(chooses_products(train));
  train.deterministic = false;
  train.tune_products = false;
  EXPECT_FALSE(chooses_products(train));
  train.tune_products = true;
  train.device = config::Device::kCpu;
  EXPECT_FALSE(chooses_products(train));
}

// On a CPU, the only effect of stored choices is the message of a run that resumes without them.
TEST(ChooseProducts, ARunWithoutThemTellsThatItHadThem) {
  MadeUpLibrary library;
  const ProductChoices held = settle_products(kNeeded, std::nullopt, "", {}, library);
  config::Config config;
  for (const bool deterministic : {false, true}) {
    config.train.device = deterministic ? config::Device::kCuda : config::Device::kCpu;
    config.train.deterministic = deterministic;
    testing::internal::CaptureStderr();
    EXPECT_EQ(choose_products(config, /*num_ranks=*/1, std::nullopt, "x/state.json"), std::nullopt);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    testing::internal::CaptureStderr();
    EXPECT_EQ(choose_products(config, /*num_ranks=*/1, held, "x/state.json"), std::nullopt);
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::AllOf(HasSubstr("x/state.json"), HasSubstr("not bit for bit"),
                               HasSubstr(deterministic ? "deterministic = true" : "device = cpu")));
  }
}

// (rows, in) by (out, in): y = x W^T, dx = dy W, dW = dy^T x, for each matrix of a layer and the head. dW
// adds to the gradient where a step has more micro-batches than one on each rank.
TEST(ProductsOfAStep, AreThoseOfOneLayerAndTheHead) {
  config::Config config;
  config.model.vocab_size = 112;
  config.model.hidden_size = 32;
  config.model.num_hidden_layers = 3;
  config.model.num_attention_heads = 2;
  config.model.intermediate_size = 48;
  config.data.sequence_length = 16;
  config.train.micro_batch_size = 4;
  config.train.global_batch_size = 12;
  config.train.device = config::Device::kCpu;
  config.train.dtype = config::Dtype::kFloat32;
  for (const int64_t num_ranks : {1, 3}) {
    std::map<std::tuple<int64_t, int64_t, int64_t, bool, bool>, bool> expected;
    const int64_t rows = 64;
    for (const auto& [out, in] :
         {std::pair<int64_t, int64_t>{96, 32}, {32, 32}, {96, 32}, {32, 48}, {112, 32}}) {
      expected[{rows, out, in, false, true}] |= false;
      expected[{rows, in, out, false, false}] |= false;
      expected[{out, in, rows, true, false}] = num_ranks == 1;
    }
    std::map<std::tuple<int64_t, int64_t, int64_t, bool, bool>, bool> asked;
    for (const auto& [shape, accumulate] : products_of_a_step(config, num_ranks)) {
      asked[{shape.m, shape.n, shape.k, shape.a_transposed, shape.b_transposed}] = accumulate;
      EXPECT_EQ(shape.a_alignment + shape.b_alignment + shape.out_alignment, 3 * 64) << to_string(shape);
    }
    EXPECT_EQ(asked, expected) << num_ranks;
  }
}

}  // namespace
}  // namespace ssgpt::start
