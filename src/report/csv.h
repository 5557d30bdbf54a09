// Fields of a CSV file (RFC 4180).
#pragma once

#include <string>

namespace ssgpt::report {

// Text as a field: in quotation marks where it holds a comma, a quotation mark or a line break.
std::string csv_field(const std::string& text);

// Reads back to the same double; empty where it is not finite.
std::string csv_number(double value);

}  // namespace ssgpt::report
