// The line that training prints: one string, with columns that keep their place from line to line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::metrics {

// Figures that a line may hold; absent ones take no space.
struct ConsoleFigures {
  int64_t step = 0;
  int64_t max_steps = 0;
  std::optional<double> loss = std::nullopt;
  std::optional<double> smoothed_loss = std::nullopt;
  std::optional<double> validation_loss = std::nullopt;
  std::optional<double> lr = std::nullopt;
  std::optional<double> grad_norm = std::nullopt;
  std::optional<double> tokens_per_second = std::nullopt;
  std::optional<double> gemm_share = std::nullopt;  // in [0, 1], as is the MFU
  std::optional<double> mfu = std::nullopt;
  std::optional<double> eta_seconds = std::nullopt;  // until max_steps

  // Overwrites the figures that `newer` has; the others stay.
  void update(const ConsoleFigures& newer);
};

// "step  120/2000   loss  4.1234   smooth  4.2011   lr 3.00e-04   grad  0.821    12.3K tok/s   ETA 20 s"; the
// GEMM share and the MFU come before the ETA if they are known.
std::string format_console_line(const ConsoleFigures& figures);

// The same figures for the live line of a terminal: those that change at each redraw come first, since a
// narrow terminal cuts off the end.
std::string format_live_line(const ConsoleFigures& figures);

}  // namespace ssgpt::metrics
