// Fields of a CSV file (RFC 4180).
#pragma once

#include <string>

namespace ssgpt::report {

// Formats text as a field: in quotation marks if it contains a comma, a quotation mark or a line break.
std::string csv_field(const std::string& text);

// Reads back to the same double; empty if not finite.
std::string csv_number(double value);

}  // namespace ssgpt::report
