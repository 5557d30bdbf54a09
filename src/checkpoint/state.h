// The contents of a checkpoint, in memory.
#pragma once

#include "config/config.h"
#include "core/range.h"
#include "kernels/product_choices.h"
#include "model/gpt.h"
#include "model/parameters.h"
#include "run/beginning.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ssgpt::checkpoint {

// The state that only training needs (trainer/state.json). Doubles are written so that they read back to the
// same bits.
struct TrainerState {
  int64_t step = 0;    // finished updates
  int64_t tokens = 0;  // predicted tokens seen so far
  std::string run_id;  // id of the run that wrote it
  // Where that run began, for a copy of the checkpoint without its run; nullopt: not known.
  std::optional<run::Beginning> beginning = {};
  std::string dtype;                       // compute dtype, "float32" or "bfloat16"
  std::string data_fingerprint;            // fingerprint of the training shards, or of the examples
  int64_t steps_per_epoch = 0;             // 0: the data are not fine-tuning examples
  std::string tokenizer_fingerprint = {};  // core::checksum_of_file; empty: none, or not known
  std::string config;                      // the resolved config, YAML
  std::string directory = {};              // where the config's relative paths start; empty: not known
  // The meters between two lines of metrics.jsonl, so that a resumed run writes the next line bit for bit.
  // Step of the last line with a training loss, or the step at which the run began; nullopt if the file has
  // no such field.
  std::optional<int64_t> last_line_step = 0;
  std::vector<double> loss_sums = {0.0};  // sum of the steps' mean losses since then: each rank's part
  int64_t loss_steps = 0;                 // how many of them were finite
  double smoothed_loss = 0.0;             // exponential mean; meaningful where smoothed_weight > 0
  double smoothed_weight = 0.0;
  // The algorithms of a GPU's GEMMs; nullopt: cuBLASLt's first proposals, or a CPU.
  std::optional<kernels::ProductChoices> products = {};
};

// Flat fp32 tensors and their layout: on the CPU if they are read or written, on the device that trains if
// they are trained.
struct FlatState {
  std::vector<model::Parameter> layout;
  at::Tensor master;
  at::Tensor exp_avg;     // undefined if there is no optimizer state
  at::Tensor exp_avg_sq;  // likewise
  // The elements of the flat tensor that exp_avg and exp_avg_sq hold, back to back: sorted and disjoint,
  // without regard to where parameters and their padding begin. Empty: they hold the whole flat tensor.
  std::vector<core::Range> moment_ranges = {};
};

struct Snapshot {
  model::GPTSpec spec;
  FlatState flat;
  std::optional<TrainerState> trainer;             // nullopt: a model without trainer/
  std::optional<std::filesystem::path> tokenizer;  // sentencepiece model to copy into the checkpoint
};

// A state of zeros for these parameters, laid out in the given order as ParameterStore does. The moments are
// defined if `with_moments` is set.
FlatState make_flat_state(const std::vector<model::ParameterSpec>& specs, bool with_moments);

// Copies every tensor of `from` whose name `to` has into it, moments included where both have them; returns
// the names that only `to` has, in its order. `from` holds whole moments; of them `to` takes its
// moment_ranges. Throws core::InputError where shapes differ.
std::vector<std::string> copy_by_name(const FlatState& from, const FlatState& to);

// Copies every tensor of `to` out of `from` by name, as copy_by_name does. Throws core::InputError that lists
// what `from` lacks, or where shapes differ.
void load_into(const FlatState& from, const FlatState& to);

// `from`, which holds whole moments, with another attention kind: shared tensors and their moments bit for
// bit, new parameters at their initial values (s from `attention.scale_init`, b from `attention.bias_init`,
// p_n = log n) with zero moments, parameters that the kind does not have dropped. An s or b that both kinds
// have is kept, but where it comes to multiply another function of n, as between softmax_temperature and
// ssmax, it changes its unit: it is multiplied by config::position_ratio, and its moments are those of that
// s. A head's mean row scale stays where neither kind has b or a learned p_n; what these add to it in other
// kinds is lost with them. Warns of a kind that learns nothing and multiplies scores by notably more than
// before. The same kind gives an equal copy.
Snapshot with_attention(const Snapshot& from, const config::AttentionConfig& attention);

}  // namespace ssgpt::checkpoint
