#include "metrics/console.h"

#include "core/text.h"

#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace ssgpt::metrics {
namespace {

using Columns = std::vector<std::string>;

void add_step(const ConsoleFigures& figures, Columns& columns) {
  const std::string max_steps = fmt::format("{}", figures.max_steps);
  columns.push_back(fmt::format("step {:>{}}/{}", figures.step, max_steps.size(), max_steps));
}

void add_training(const ConsoleFigures& figures, Columns& columns) {
  if (figures.loss) columns.push_back(fmt::format("loss {:7.4f}", *figures.loss));
  if (figures.smoothed_loss) columns.push_back(fmt::format("smooth {:7.4f}", *figures.smoothed_loss));
  if (figures.validation_loss) columns.push_back(fmt::format("validation {:7.4f}", *figures.validation_loss));
  if (figures.lr) columns.push_back(fmt::format("lr {:.2e}", *figures.lr));
  if (figures.grad_norm) columns.push_back(fmt::format("grad {:6.3f}", *figures.grad_norm));
}

void add_speed(const ConsoleFigures& figures, Columns& columns) {
  if (figures.tokens_per_second) {
    columns.push_back(fmt::format("{:>6} tok/s", core::human_count(*figures.tokens_per_second)));
  }
}

void add_shares(const ConsoleFigures& figures, Columns& columns) {
  if (figures.gemm_share) columns.push_back(fmt::format("GEMM share {:4.1f} %", 100.0 * *figures.gemm_share));
  if (figures.mfu) columns.push_back(fmt::format("MFU {:4.1f} %", 100.0 * *figures.mfu));
}

void add_eta(const ConsoleFigures& figures, Columns& columns) {
  if (figures.eta_seconds) columns.push_back("ETA " + core::human_duration(*figures.eta_seconds));
}

std::string line_of(const Columns& columns) {
  return fmt::format("{}", fmt::join(columns, "   "));
}

}  // namespace

void ConsoleFigures::update(const ConsoleFigures& newer) {
  step = newer.step;
  max_steps = newer.max_steps;
  for (const auto figure :
       {&ConsoleFigures::loss, &ConsoleFigures::smoothed_loss, &ConsoleFigures::validation_loss,
        &ConsoleFigures::lr, &ConsoleFigures::grad_norm, &ConsoleFigures::tokens_per_second,
        &ConsoleFigures::gemm_share, &ConsoleFigures::mfu, &ConsoleFigures::eta_seconds}) {
    if (newer.*figure) this->*figure = newer.*figure;
  }
}

std::string format_console_line(const ConsoleFigures& figures) {
  Columns columns;
  add_step(figures, columns);
  add_training(figures, columns);
  add_speed(figures, columns);
  add_shares(figures, columns);
  add_eta(figures, columns);
  return line_of(columns);
}

std::string format_live_line(const ConsoleFigures& figures) {
  Columns columns;
  add_step(figures, columns);
  add_eta(figures, columns);
  add_speed(figures, columns);
  add_training(figures, columns);
  add_shares(figures, columns);
  return line_of(columns);
}

}  // namespace ssgpt::metrics
