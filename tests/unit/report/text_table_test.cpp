#include "report/text_table.h"

#include <string>

#include <gtest/gtest.h>

namespace ssgpt::report {
namespace {

using Align = TextTable::Align;

// Widths as Unicode's EastAsianWidth.txt and the general categories Mn and Cf give them.
TEST(DisplayWidth, CountsCellsOfATerminal) {
  EXPECT_EQ(display_width(""), 0U);
  EXPECT_EQ(display_width("plain"), 5U);
  EXPECT_EQ(display_width("Z\u00fcrich"), 6U);
  EXPECT_EQ(display_width("Zu\u0308rich"), 6U);  // u and a combining diaeresis
  EXPECT_EQ(display_width("\u20ac \u2212"), 3U);
  EXPECT_EQ(display_width("\u5b9f\u9a13"), 4U);
  EXPECT_EQ(display_width("\ud55c"), 2U);
  EXPECT_EQ(display_width("\U0001f600"), 2U);
  EXPECT_EQ(display_width("a\xff\xc3z"), 4U);
}

TEST(TextTable, ShowsACellOnOneLineWithoutWhatATerminalWouldObey) {
  TextTable table({Align::kLeft, Align::kRight});
  table.add({"a\nb\x1b[2J", "1"});
  table.add({"Z\u00fcrich", "2"});
  EXPECT_EQ(table.text(), "a\\nb\\x1b[2J  1\nZ\u00fcrich       2\n");
}

TEST(TextTable, PadsEachColumnToItsWidestCell) {
  TextTable table({Align::kLeft, Align::kRight, Align::kLeft});
  table.add({"name", "n", "note"});
  table.add_rule();
  table.add({"a", "1000", ""});
  EXPECT_EQ(table.text(1),
            " name     n  note\n"
            " ----------------\n"
            " a     1000\n");
}

TEST(TextTable, NamesOutsideAsciiKeepTheColumnsAligned) {
  TextTable table({Align::kLeft, Align::kRight});
  table.add({"plain-", "1"});
  table.add({"Z\u00fcrich", "2"});
  table.add({"\u5b9f\u9a13\u5ba4", "3"});
  table.add({"e\u0301", "4"});
  EXPECT_EQ(table.text(),
            "plain-  1\n"
            "Z\u00fcrich  2\n"
            "\u5b9f\u9a13\u5ba4  3\n"
            "e\u0301       4\n");
}

}  // namespace
}  // namespace ssgpt::report
