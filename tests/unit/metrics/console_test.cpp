#include "metrics/console.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ssgpt::metrics {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

TEST(ConsoleLine, ShowsEveryFigureItIsGiven) {
  ConsoleFigures figures{.step = 120, .max_steps = 2000};
  figures.loss = 4.12345;
  figures.smoothed_loss = 4.2;
  figures.lr = 3e-4;
  figures.grad_norm = 0.8214;
  figures.tokens_per_second = 12300;
  figures.gemm_share = 0.793;
  figures.mfu = 0.412;
  figures.eta_seconds = 192;
  const std::string line = format_console_line(figures);
  for (const char* part : {"step  120/2000", "loss  4.1235", "smooth  4.2000", "lr 3.00e-04", "grad  0.821",
                           "tok/s", "GEMM share 79.3 %", "MFU 41.2 %", "ETA 3 min 12 s"}) {
    EXPECT_THAT(line, HasSubstr(part));
  }
}

TEST(ConsoleLine, IsSilentAboutWhatIsAbsent) {
  EXPECT_EQ(format_console_line({.step = 7, .max_steps = 10}), "step  7/10");
  ConsoleFigures figures{.step = 7, .max_steps = 10};
  figures.loss = 1.0;
  EXPECT_THAT(format_console_line(figures), Not(AnyOf(HasSubstr("MFU"), HasSubstr("GEMM"))));
}

TEST(ConsoleLine, KeepsItsColumnsFromLineToLine) {
  ConsoleFigures first{.step = 1, .max_steps = 2000};
  first.loss = 10.5;
  first.lr = 1e-6;
  first.grad_norm = 12.25;
  ConsoleFigures later{.step = 1999, .max_steps = 2000};
  later.loss = 3.25;
  later.lr = 6e-4;
  later.grad_norm = 0.5;
  for (const char* column : {"loss", "lr", "grad"}) {
    EXPECT_EQ(format_console_line(first).find(column), format_console_line(later).find(column)) << column;
  }
}

// Eighty columns are what a terminal has at least.
TEST(LiveLine, HasWhatChangesAtEachStepWithinEightyColumns) {
  ConsoleFigures figures{.step = 123456, .max_steps = 200000};
  figures.loss = 4.1234;
  figures.smoothed_loss = 4.2;
  figures.lr = 3e-4;
  figures.grad_norm = 0.8214;
  figures.tokens_per_second = 12300;
  figures.gemm_share = 0.793;
  figures.eta_seconds = 86000;
  const std::string line = format_live_line(figures);
  const std::string cut = line.substr(0, 80);
  for (const char* part : {"step 123456/200000", "loss  4.1234", "12.3K tok/s", "ETA 23 h"}) {
    EXPECT_THAT(cut, HasSubstr(part)) << line;
  }
  for (const char* part : {"smooth  4.2000", "lr 3.00e-04", "grad  0.821", "GEMM share 79.3 %"}) {
    EXPECT_THAT(line, HasSubstr(part)) << line;
  }
}

TEST(ConsoleFigures, KeepWhatANewerLineLacks) {
  ConsoleFigures figures{
      .step = 10, .max_steps = 100, .loss = 4.0, .lr = 0.5, .gemm_share = 0.25, .mfu = 0.125};
  figures.update({.step = 15, .max_steps = 90, .smoothed_loss = 4.5, .validation_loss = 3.0});
  figures.update({.step = 20,
                  .max_steps = 90,
                  .loss = 2.0,
                  .grad_norm = 1.5,
                  .tokens_per_second = 7.0,
                  .eta_seconds = 8.0});
  EXPECT_EQ(figures.step, 20);
  EXPECT_EQ(figures.max_steps, 90);
  EXPECT_EQ(figures.loss, 2.0);
  EXPECT_EQ(figures.smoothed_loss, 4.5);
  EXPECT_EQ(figures.validation_loss, 3.0);
  EXPECT_EQ(figures.lr, 0.5);
  EXPECT_EQ(figures.grad_norm, 1.5);
  EXPECT_EQ(figures.tokens_per_second, 7.0);
  EXPECT_EQ(figures.gemm_share, 0.25);
  EXPECT_EQ(figures.mfu, 0.125);
  EXPECT_EQ(figures.eta_seconds, 8.0);
}

}  // namespace
}  // namespace ssgpt::metrics
