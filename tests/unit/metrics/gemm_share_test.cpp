#include "metrics/gemm_share.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

// Products of these speeds, one a call.
class Products {
 public:
  explicit Products(std::vector<double> flops) : flops_(std::move(flops)) {}
  double next() { return flops_.at(calls_++); }
  size_t calls() const { return calls_; }

 private:
  std::vector<double> flops_;
  size_t calls_ = 0;
};

TEST(GemmShare, MeasuresTheProductWhenAShareIsFirstAskedFor) {
  Products products({200.0});
  GemmShare share([&] { return products.next(); });
  EXPECT_EQ(products.calls(), 0u);
  EXPECT_DOUBLE_EQ(share.of(150.0), 0.75);
  EXPECT_DOUBLE_EQ(share.of(50.0), 0.25);
  EXPECT_DOUBLE_EQ(share.of(200.0), 1.0);
  EXPECT_EQ(products.calls(), 1u);
}

TEST(GemmShare, MeasuresAgainWhatABusyMachineSlowedDown) {
  Products products({100.0, 200.0});
  GemmShare share([&] { return products.next(); });
  EXPECT_DOUBLE_EQ(share.of(160.0), 0.8);  // not 160 %
  EXPECT_EQ(products.calls(), 2u);
  EXPECT_DOUBLE_EQ(share.of(100.0), 0.5);  // the better product stays
  EXPECT_EQ(products.calls(), 2u);
}

TEST(GemmShare, IsNeverAboveOneSinceTheTrainingItselfProvesASpeed) {
  Products products({100.0, 90.0, 80.0});
  GemmShare share([&] { return products.next(); });
  EXPECT_DOUBLE_EQ(share.of(150.0), 1.0);
  EXPECT_DOUBLE_EQ(share.best_flops(), 150.0);
  EXPECT_DOUBLE_EQ(share.of(75.0), 0.5);
  EXPECT_EQ(products.calls(), 2u);
  EXPECT_DOUBLE_EQ(share.of(160.0), 1.0);
  EXPECT_EQ(products.calls(), 3u);
}

TEST(GemmShare, IsZeroWhereNoProductCouldBeMeasured) {
  Products products({0.0});
  GemmShare share([&] { return products.next(); });
  EXPECT_EQ(share.of(50.0), 0.0);
  EXPECT_EQ(share.of(60.0), 0.0);
  EXPECT_EQ(products.calls(), 1u);
}

}  // namespace
}  // namespace ssgpt::metrics
