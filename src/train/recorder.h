// Turns steps into metrics (means between lines, throughput, ETA) and writes them to the sinks. Decides when
// a line is due; a step without a line is not waited for and exchanges nothing between ranks.
#pragma once

#include "checkpoint/state.h"
#include "config/config.h"
#include "metrics/gemm_share.h"
#include "metrics/live_line.h"
#include "metrics/meters.h"
#include "metrics/tensorboard_sink.h"
#include "parallel/communicator.h"
#include "run/directory.h"
#include "run/metrics_line.h"
#include "train/samples.h"
#include "train/training_step.h"
#include "train/validation.h"

#include <cstdint>
#include <memory>
#include <optional>

#include <ATen/core/Tensor.h>

namespace ssgpt::train {

class Recorder {
 public:
  // While one exists, time does not count as training time.
  class Pause {
   public:
    explicit Pause(Recorder& recorder) : recorder_(recorder) { recorder_.pause(); }
    ~Pause() { recorder_.resume(); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    Recorder& recorder_;
  };

  // Opens the sinks in the run directory, on rank 0. All ranks of the communicator, which must outlive this,
  // make the same calls and compute the same figures. `model`: the model whose steps are recorded, and on
  // whose device GEMMs are measured. `state`: the state of the checkpoint that the run resumes from; step 0
  // for a new run. `has_earlier_points`: the directory holds TensorBoard event files with points that may lie
  // beyond that step.
  Recorder(const config::Config& config, const model::GPT& model, const run::RunDirectory& directory,
           const checkpoint::TrainerState& state, bool has_earlier_points,
           parallel::Communicator& communicator);

  void start();  // call it just before the first step

  // Adds the step to the means. At a step with a line it reads the device and throws core::RunError if the
  // loss or the gradient has not been finite since the last check (train.on_nonfinite: stop), naming the
  // first such step.
  void record(const StepResult& result, model::GPT& model);

  // Adds the validation loss over `data` (DataSources::validation_label) to the step's line.
  void record_validation(const WindowLoss& validation, const std::string& data);
  // Passes the texts that the model generated after this step to the log, samples.jsonl and TensorBoard.
  void record_samples(const std::vector<TextSample>& samples);

  // Writes the step's line, if it has one, to the sinks and the log, and redraws the live line of a terminal,
  // where a `notable` log line always stays. Throws core::RunError if a sink, or the log file since the last
  // call, could not be written (a full disk).
  void finish_step(bool notable);

  // Reads the device and throws as record() does; call it before saving anything.
  void check_finite();

  // Fills in the part of the state that belongs to the meters.
  void save_state(checkpoint::TrainerState& state);
  void flush();  // to the disk, metrics.jsonl included

 private:
  void pause();
  void resume();
  bool line_due(int64_t step) const;
  void count_finished_steps();
  void add_training_figures(const StepResult& result, model::GPT& model);
  void add_speed();
  double measure_product();
  void write_line(bool notable);
  void warn_of_spike(double loss, int64_t step);

  const config::Config config_;
  parallel::Communicator& communicator_;
  const model::Execution execution_;
  const double flops_per_token_;
  const bool measures_product_;
  metrics::GemmShare gemm_share_;
  const std::optional<double> spec_sheet_flops_;  // FLOP/s, all ranks together
  std::unique_ptr<run::LineWriter> metrics_;      // on rank 0 only, as are the next two
  std::unique_ptr<run::LineWriter> samples_;      // null without prompts
  std::unique_ptr<metrics::TensorBoardSink> tensorboard_;
  metrics::ThroughputMeter throughput_;
  metrics::LiveLine live_;
  metrics::ConsoleFigures figures_;  // of the last line
  // On a GPU a recorded step may not have finished. Its time is counted with the next step that is waited
  // for.
  int64_t uncounted_steps_ = 0;
  int64_t uncounted_tokens_ = 0;
  metrics::SmoothedMean smoothed_;
  // On the device, fp64 (3): this rank's part of the sum of the finite mean losses since the last line; their
  // number; and the number of the first non-finite step since the last check (0: none).
  at::Tensor meters_;
  run::MetricsLine line_;
  bool has_line_ = false;
  int64_t step_ = 0;
  int64_t tokens_ = 0;
  std::optional<int64_t> last_line_step_;  // last line with a training loss; nullopt: unknown
};

}  // namespace ssgpt::train
