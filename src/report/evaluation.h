// An evaluation of models along an axis of context: what was measured, under which conditions, and how the
// variants compare; as text, JSON and CSV.
#pragma once

#include "report/attention_values.h"
#include "report/curves.h"
#include "report/lineage.h"
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

// The figures compared in an evaluation of this kind, the main one first: the loss; accuracy and loss; the
// share of right answers and the margin; entropy, largest weight and weight of the first token of attention,
// over all layers and heads (its row scale follows from the kind and its parameters).
std::vector<Figure> figures_of(EvaluationKind kind);

// Changes made to a model on loading it.
struct ModelChanges {
  std::optional<double> rope_theta;
  std::optional<double> yarn_factor;
  std::optional<double> row_scale;
  std::optional<std::string> attention;  // the kind's name
  bool extend_pn = false;
};

// The continuation of p_n beyond its table, a1 log n + a2 by least squares over its entries.
struct FittedPositions {
  double a1 = 0.0;
  double a2 = 0.0;
  double rms_residual = 0.0;
  double max_residual = 0.0;
  int64_t entries = 0;
};

// The attention on the needles at one length and depth: the total weight that a head gives to the needle's
// tokens, at the last token of each prompt.
struct NeedleHead {
  int64_t layer = 0;
  int64_t head = 0;
  double mean = 0.0;  // over trials
};
// How a trial was answered: with the number, with at least its first digit right, or with another text.
enum class TrialOutcome { kRight, kFirstDigit, kWrong };
inline constexpr std::array kTrialOutcomes = {TrialOutcome::kRight, TrialOutcome::kFirstDigit,
                                              TrialOutcome::kWrong};
std::string_view to_string(TrialOutcome outcome);  // "right", "first digit", "wrong"
struct NeedleTop {
  int64_t layer = 0;
  int64_t head = 0;
  double weight = 0.0;                  // largest of all heads in this trial
  std::optional<TrialOutcome> outcome;  // nullopt if its log-probabilities are not finite
};
struct NeedleAttention {
  std::vector<NeedleHead> heads;  // the highest 25, highest first
  std::vector<NeedleTop> trials;
};

// One model under one condition.
struct EvaluatedModel {
  std::string variant;  // what it is compared as, including changes of row scale and attention
  uint64_t seed = 0;
  std::filesystem::path checkpoint;
  std::optional<int64_t> step;  // nullopt unless a trainer wrote the checkpoint
  Lineage lineage = {};         // what its training began from
  std::string attention;        // name of the kind in effect
  int64_t trained_length = 0;   // tokens in a window of its training
  double rope_theta = 0.0;      // in effect
  ModelChanges changes;
  std::optional<FittedPositions> fitted;
  // At the points of the evaluation.
  std::vector<PointValue> loss;                        // for positions and retrieval
  std::vector<PointValue> accuracy;                    // for retrieval
  std::vector<PointValue> share_right;                 // for needles; 0 or 1 per trial
  std::vector<PointValue> margin;                      // for needles
  std::vector<int64_t> first_digit_right = {};         // for needles: trials whose answer has the first digit
  std::vector<NeedleAttention> needle_attention = {};  // for needles, if requested
  AttentionValues attention_values = {};               // for attention
};

const std::vector<PointValue>& values_of(const EvaluatedModel& model, Figure figure);

// Number of right trials in a share; nullopt if a trial has no value.
std::optional<int64_t> num_right(const PointValue& share_right);

// The models under one RoPE theta.
struct EvaluatedCondition {
  std::optional<double> rope_theta;  // nullopt: each model's own
  std::string baseline;              // a variant of `models`
  std::vector<EvaluatedModel> models;
  std::vector<JudgedFigure> figures;  // see judge()
};

struct Evaluation {
  EvaluationKind kind = EvaluationKind::kPosition;
  std::vector<Point> points;   // for retrieval, the lengths; for needles, each length with all depths
  int64_t trained_length = 0;  // tokens in a window of the baseline's training
  bool single = false;  // one checkpoint, one value of each change: the last model is the one asked for
  std::vector<std::string> data;  // for position, attention and needles: the shards
  bool documents = false;         // the windows are beginnings of documents
  std::string task;               // for retrieval
  std::string task_description;
  std::string prompt;         // for needles: the question, with {city}
  int64_t distractors = 0;    // for needles: wrong numbers that the margin is over
  int64_t answer_tokens = 0;  // for needles: part of a length left for the answer
  uint64_t seed = 0;
  int64_t trials = 0;  // number of windows, or of sequences per length, or per length and depth
  std::string dtype;   // compute dtype: "float32", "bfloat16"
  std::string device;  // compute device: "cpu", "cuda:0"
  std::vector<EvaluatedCondition> conditions;
  std::vector<Note> notes;
};

// Fills in `figures` for the kind. Checks what judge_curves() checks.
void judge(EvaluationKind kind, EvaluatedCondition& condition);

// "RoPE theta as trained (10000)", "RoPE theta 500000, YaRN factor 4".
std::string condition_title(const EvaluatedCondition& condition);

// Tables for users: for each condition and figure the means by variant, the differences from the baseline and
// their verdicts, under a heading that explains the numbers; for needles also the attention on them, if
// measured.
std::string to_table(const Evaluation& evaluation);

// One indented object with everything except the trials. Numbers read back to the same double; missing ones
// are null.
std::string to_json(const Evaluation& evaluation);

// One row per condition, model and point (for attention also layer and head). Missing values are empty
// fields.
std::string to_csv(const Evaluation& evaluation);

// Names of all files that write_files() writes or removes.
inline constexpr const char* kEvaluationFileNames[] = {
    "evaluation.json", "evaluation.csv",       "table.txt",
    "evaluation.png",  "needle_attention.png", "report.html"};

// Writes evaluation.json, evaluation.csv and table.txt into `directory`, which is created if missing; each
// file appears complete or not at all. First removes what scripts/report.py drew there from earlier numbers
// (evaluation.png, needle_attention.png, report.html). Throws core::RunError.
void write_files(const Evaluation& evaluation, const std::filesystem::path& directory);

}  // namespace ssgpt::report
