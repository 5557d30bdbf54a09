// Plain aligned columns for results on stdout.
#pragma once

#include "report/text_table.h"

namespace ssgpt::cli {

using Table = report::TextTable;

}  // namespace ssgpt::cli
