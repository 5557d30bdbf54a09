// The wording by which an evaluation's tables describe their contents.
#pragma once

#include "report/evaluation.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ssgpt::report {

// Whether points are bins of positions; otherwise they are lengths.
bool has_bins(EvaluationKind kind);

// "32..63"
std::string range_text(const Point& point);

// "loss", "share right"
std::string_view figure_name(Figure figure);
// With its unit: "loss, nats per token"
std::string figure_words(Figure figure);

// "32..63", "1024", "1024 at 50 %": a point in a sentence.
std::string point_label(EvaluationKind kind, const Point& point);

// The first cells of a table's rows, which identify the point: their names, and those of one point.
std::vector<std::string> point_head(EvaluationKind kind);
std::vector<std::string> point_cells(const Evaluation& evaluation, const Point& point);

// "12 windows of 4096 tokens, which do not overlap (overlap 0), of v.bin": the data that bins are over.
std::string windows_text(const Evaluation& evaluation);

// The lines above the tables: what was measured, for which variants, on which data. Not for attention, which
// has its own (report/attention_report.h).
std::string heading(const Evaluation& evaluation);

}  // namespace ssgpt::report
