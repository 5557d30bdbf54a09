// The line that training prints: one string, columns that stay in place from line to line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ssgpt::metrics {

// What a line may hold; what is absent takes no room.
struct ConsoleFigures {
  int64_t step = 0;
  int64_t max_steps = 0;
  std::optional<double> loss = std::nullopt;
  std::optional<double> smoothed_loss = std::nullopt;
  std::optional<double> validation_loss = std::nullopt;
  std::optional<double> lr = std::nullopt;
  std::optional<double> grad_norm = std::nullopt;
  std::optional<double> tokens_per_second = std::nullopt;
  std::optional<double> gemm_share = std::nullopt;  // 0 to 1, as is the MFU
  std::optional<double> mfu = std::nullopt;
  std::optional<double> eta_seconds = std::nullopt;  // until max_steps

  // Takes over what `newer` has; what it lacks stays.
  void update(const ConsoleFigures& newer);
};

// "step  120/2000   loss  4.1234   smooth  4.2011   lr 3.00e-04   grad  0.821    12.3K tok/s   ETA 20 s"; the
// GEMM share and the MFU stand before the ETA where they are known.
std::string format_console_line(const ConsoleFigures& figures);

// The same figures for the line that is redrawn on a terminal: what changes at each redraw comes first, since
// the end is cut off where the terminal is narrow.
std::string format_live_line(const ConsoleFigures& figures);

}  // namespace ssgpt::metrics
