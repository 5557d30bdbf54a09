// An evaluation of models over an axis of context: what was measured, under which conditions, and how the
// variants compare; as text, JSON and CSV.
#pragma once

#include "report/attention_values.h"
#include "report/curves.h"
#include "report/measured.h"
#include "report/variants.h"

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::report {

enum class EvaluationKind { kPosition, kRetrieval, kNeedle, kAttention };
std::string_view to_string(EvaluationKind kind);  // "position", "retrieval", "needle", "attention"

// What is compared of an evaluation of this kind, the first before the others: the loss; accuracy and loss;
// the share of right answers and the margin; nothing of attention, which is shown and not judged.
std::vector<Figure> figures_of(EvaluationKind kind);

// What was changed in a model on reading it.
struct ModelChanges {
  std::optional<double> rope_theta;
  std::optional<double> yarn_factor;
  std::optional<double> row_scale;
  std::optional<std::string> attention;  // the kind's name
  bool extend_pn = false;
};

// p_n beyond its table, a1 log n + a2 by least squares over its entries.
struct FittedPositions {
  double a1 = 0.0;
  double a2 = 0.0;
  double rms_residual = 0.0;
  double max_residual = 0.0;
  int64_t entries = 0;
};

// The attention on the needles of one length and depth: of the last token of each prompt, the weight that a
// head pays to the needle's tokens together.
struct NeedleHead {
  int64_t layer = 0;
  int64_t head = 0;
  double mean = 0.0;  // over trials
};
// How a trial was answered: with the number, with its first digit at least, or with another text.
enum class TrialOutcome { kRight, kFirstDigit, kWrong };
inline constexpr std::array kTrialOutcomes = {TrialOutcome::kRight, TrialOutcome::kFirstDigit,
                                              TrialOutcome::kWrong};
std::string_view to_string(TrialOutcome outcome);  // "right", "first digit", "wrong"
struct NeedleTop {
  int64_t layer = 0;
  int64_t head = 0;
  double weight = 0.0;  // the largest of all heads in this trial
  TrialOutcome outcome = TrialOutcome::kWrong;
};
struct NeedleAttention {
  std::vector<NeedleHead> heads;  // the highest 25, the highest first
  std::vector<NeedleTop> trials;
};

// One model under one condition.
struct EvaluatedModel {
  std::string variant;  // what it is compared as, changes of the row scale and of the attention included
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  std::optional<int64_t> step;  // of a checkpoint that a trainer wrote
  std::string attention;        // the kind's name, in effect
  int64_t trained_length = 0;   // tokens of a window of its training
  double rope_theta = 0.0;      // in effect
  ModelChanges changes;
  std::optional<FittedPositions> fitted;
  // At the points of the evaluation.
  std::vector<PointValue> loss;                        // of positions and a retrieval
  std::vector<PointValue> accuracy;                    // of a retrieval
  std::vector<PointValue> share_right;                 // of needles, of each trial 0 or 1
  std::vector<PointValue> margin;                      // of needles
  std::vector<int64_t> first_digit_right = {};         // of needles: trials whose answer has the first digit
  std::vector<NeedleAttention> needle_attention = {};  // of needles, where it was asked for
  AttentionValues attention_values = {};               // of attention
};

const std::vector<PointValue>& values_of(const EvaluatedModel& model, Figure figure);

// How many trials of a share were right; none where a trial has no value.
std::optional<int64_t> num_right(const PointValue& share_right);

// The models under one RoPE theta.
struct EvaluatedCondition {
  std::optional<double> rope_theta;  // none: each model's own
  std::string baseline;              // a variant of `models`
  std::vector<EvaluatedModel> models;
  std::vector<JudgedFigure> figures;  // see judge(); none of attention, which is shown and not judged
};

struct Evaluation {
  EvaluationKind kind = EvaluationKind::kPosition;
  std::vector<Point> points;   // of a retrieval, the lengths; of needles, each length with all depths
  int64_t trained_length = 0;  // tokens of a window of the baseline's training
  bool single = false;  // one checkpoint, one value of each change: the last model is what was asked for
  std::vector<std::string> data;  // of position, attention and needles: the shards
  bool documents = false;         // the windows are beginnings of documents
  std::string task;               // of retrieval
  std::string task_description;
  std::string prompt;         // of needles: what asks, with {city}
  int64_t distractors = 0;    // of needles: wrong numbers that the margin is over
  int64_t answer_tokens = 0;  // of needles: what of a length is left for the answer
  uint64_t seed = 0;
  int64_t trials = 0;  // windows, or sequences of each length, or of each length at each depth
  std::string dtype;   // of the computation: "float32", "bfloat16"
  std::string device;  // that computed: "cpu", "cuda:0"
  std::vector<EvaluatedCondition> conditions;
  std::vector<Note> notes;
};

// Fills in `figures`, those of the kind. Checks what judge_curves() checks.
void judge(EvaluationKind kind, EvaluatedCondition& condition);

// "RoPE theta as trained (10000)", "RoPE theta 500000, YaRN factor 4".
std::string condition_title(const EvaluatedCondition& condition);

// Tables for people: for each condition and figure the means by variant, the differences to the baseline and
// their verdicts, under a heading that says what the numbers are; of needles also the attention on them,
// where it was measured.
std::string to_table(const Evaluation& evaluation);

// One object, indented, with everything but the trials. Numbers read back to the same double; null where
// there is none.
std::string to_json(const Evaluation& evaluation);

// One row for each condition, model and point (of attention also layer and head). Fields without a value are
// empty.
std::string to_csv(const Evaluation& evaluation);

// Writes evaluation.json, evaluation.csv and table.txt into `directory`, which is made where it is missing;
// each file appears whole or not at all. What scripts/report.py drew there from earlier numbers
// (evaluation.png, needle_attention.png, report.html) is removed first. Throws core::RunError.
void write_files(const Evaluation& evaluation, const std::filesystem::path& directory);

}  // namespace ssgpt::report
