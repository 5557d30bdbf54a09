#include "core/text.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace ssgpt::core {
namespace {

TEST(HumanText, HasFewDigitsAndAUnit) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes((uint64_t{1} << 30) - 1), "1.0 GiB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(human_count(950), "950");
  EXPECT_EQ(human_count(6'800'000), "6.8M");
  EXPECT_EQ(human_count(1.25e9), "1.25B");
  EXPECT_EQ(human_count(999'999), "1M");
  EXPECT_EQ(human_count(162'147'000), "162M");
  EXPECT_EQ(human_count(12'345), "12.3K");
  EXPECT_EQ(human_duration(2.44), "2.4 s");
  EXPECT_EQ(human_duration(45), "45 s");
  EXPECT_EQ(human_duration(59.7), "1 min 00 s");
  EXPECT_EQ(human_duration(192), "3 min 12 s");
  EXPECT_EQ(human_duration(7500), "2 h 05 min");
  EXPECT_EQ(human_duration(3 * 86400 + 4 * 3600), "3 d 4 h");
  EXPECT_EQ(human_duration(1.0 / 0.0), "unknown");
}

TEST(Counted, HasTheNounInTheNumberThatBelongsToIt) {
  EXPECT_EQ(counted(0, "layer"), "0 layers");
  EXPECT_EQ(counted(1, "layer"), "1 layer");
  EXPECT_EQ(counted(2, "layer"), "2 layers");
}

TEST(Listed, HasCommasAndOneAnd) {
  using Parts = std::vector<std::string>;
  EXPECT_EQ(listed(Parts{}), "");
  EXPECT_EQ(listed(Parts{"A"}), "A");
  EXPECT_EQ(listed(Parts{"A", "B"}), "A and B");
  EXPECT_EQ(listed(Parts{"A", "B", "C"}), "A, B and C");
}

TEST(ClosestMatch, FindsTyposAndNothingElse) {
  const std::vector<std::string> words = {"warmup_steps", "decay_steps", "lr", "betas"};
  EXPECT_EQ(closest_match("warmup_step", words), "warmup_steps");
  EXPECT_EQ(closest_match("wramup_steps", words), "warmup_steps");
  EXPECT_EQ(closest_match("Betas", words), "betas");
  EXPECT_EQ(closest_match("beta", words), "betas");
  EXPECT_EQ(closest_match("vocabulary", words), std::nullopt);
  EXPECT_EQ(closest_match("xy", words), std::nullopt);
  EXPECT_EQ(closest_match("", words), std::nullopt);
  EXPECT_EQ(closest_match("word", {}), std::nullopt);
}

TEST(UnicodeEscape, IsOneCharacterOrHalfOfAPair) {
  const auto expect = [](std::string_view text, uint32_t code_point, size_t length, bool is_half_pair) {
    const auto escape = unicode_escape(text);
    ASSERT_TRUE(escape.has_value()) << text;
    EXPECT_EQ(escape->code_point, code_point) << text;
    EXPECT_EQ(escape->length, length) << text;
    EXPECT_EQ(escape->is_half_pair(), is_half_pair) << text;
  };
  expect(R"(\u00e9 and more)", 0xE9, 6, false);
  expect(R"(\uFDD0)", 0xFDD0, 6, false);
  expect(R"(\uD83D\ude00)", 0x1F600, 12, false);
  expect(R"(\uDBFF\uDFFF)", 0x10FFFF, 12, false);
  expect(R"(\ud83d\ud83d\ude00)", 0xD83D, 6, true);
  expect(R"(\ud83d\u0041)", 0xD83D, 6, true);
  expect(R"(\ud83d\ude0)", 0xD83D, 6, true);
  expect(R"(\ude00)", 0xDE00, 6, true);
  for (const char* none :
       {"", "\\", "\\n", "\\u", "\\u00e", "\\u00g0", "\\u-001", "\\U00e9", "u00e9", "x\\u00e9"}) {
    EXPECT_EQ(unicode_escape(none).has_value(), false) << none;
  }
}

TEST(ParseNumber, TakesTheWholeTextOrNothing) {
  EXPECT_EQ(parse_number<int64_t>("-12"), -12);
  EXPECT_EQ(parse_number<int64_t>("+12"), 12);
  EXPECT_EQ(parse_number<int64_t>("9223372036854775807"), INT64_MAX);
  EXPECT_EQ(parse_number<uint64_t>("18446744073709551615"), UINT64_MAX);
  EXPECT_EQ(parse_number<double>("1e-3"), 0.001);
  EXPECT_EQ(parse_number<double>("+.5"), 0.5);
  for (const char* wrong : {"", "+", "+-1", "1 ", " 1", "0x10", "1.5", "1e3", "9223372036854775808"}) {
    EXPECT_EQ(parse_number<int64_t>(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(parse_number<uint64_t>("-1"), std::nullopt);
  for (const char* wrong : {"", "+", "1,5", "1.5x", "1e999", "--1"}) {
    EXPECT_EQ(parse_number<double>(wrong), std::nullopt) << wrong;
  }
}

TEST(ReplaceAll, SearchesNothingThatItPutIn) {
  EXPECT_EQ(replace_all("{a}-{a}{b}", "{a}", "x"), "x-x{b}");
  EXPECT_EQ(replace_all("aaa", "a", "aa"), "aaaaaa");
  EXPECT_EQ(replace_all("aaab", "aa", ""), "ab");
  EXPECT_EQ(replace_all("abc", "abcd", "x"), "abc");
  EXPECT_EQ(replace_all("", "a", "x"), "");
}

TEST(ShellWord, QuotesWhatAShellMayInterpret) {
  EXPECT_EQ(shell_word("runs/a-1_b.c:d,e+f=g@h%"), "runs/a-1_b.c:d,e+f=g@h%");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  for (const std::string_view special :
       {" ", "\t", "\n", "*",  "?", "[", "]", "\"", "$", "&", ";", "|",       "<",
        ">", "(",  ")",  "\\", "#", "~", "{", "}",  "!", "`", "^", "\xC3\xBC"}) {
    EXPECT_EQ(shell_word(special), "'" + std::string(special) + "'");
  }
}

TEST(FindInvalidUtf8, AcceptsTheFirstAndLastCharacterOfEachLength) {
  for (const std::string text : {"", "\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                 "\xEE\x80\x80", "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF",
                                 "plain text of more than eight bytes", "z\xC3\xBCrich \xE2\x82\xAC"}) {
    EXPECT_EQ(find_invalid_utf8(text), std::nullopt) << text;
  }
  EXPECT_EQ(find_invalid_utf8(std::string(3, '\0')), std::nullopt);
}

TEST(FindInvalidUtf8, LocatesEveryKindOfFault) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"\x80", "a continuation byte alone"},
      {"\xC0\x80", "overlong, 2 bytes"},
      {"\xC1\xBF", "overlong, 2 bytes"},
      {"\xE0\x9F\xBF", "overlong, 3 bytes"},
      {"\xF0\x8F\xBF\xBF", "overlong, 4 bytes"},
      {"\xED\xA0\x80", "a surrogate"},
      {"\xED\xBF\xBF", "a surrogate"},
      {"\xF4\x90\x80\x80", "above U+10FFFF"},
      {"\xF5\x80\x80\x80", "above U+10FFFF"},
      {"\xFF", "no lead byte"},
      {"\xC2", "cut after 1 of 2"},
      {"\xE2\x82", "cut after 2 of 3"},
      {"\xF0\x9F\x98", "cut after 3 of 4"},
      {"\xE2\x41\x82", "a letter inside"},
      {"\xF0\x9F\x41\x80", "a letter inside"},
      {"\xF0\x9F\x98\x41", "a letter inside"},
  };
  for (const auto& [bytes, name] : faults) {
    for (size_t before = 0; before < 150; ++before) {
      std::string text(before, 'x');
      EXPECT_EQ(find_invalid_utf8(text + bytes), before) << name;
      EXPECT_EQ(find_invalid_utf8("\xC3\xBC" + text + bytes + "xxxxxxxxxx"), before + 2) << name;
    }
  }
}

TEST(FindInvalidUtf8, LocatesACharacterThatTheEndCutsOff) {
  for (size_t before = 0; before < 150; ++before) {
    const std::string text = std::string(before, 'x') + "\xF0\x9F\x98\x80";
    EXPECT_EQ(find_invalid_utf8(text), std::nullopt);
    for (size_t kept = 1; kept < 4; ++kept) {
      EXPECT_EQ(find_invalid_utf8(std::string_view(text).substr(0, before + kept)), before);
    }
  }
}

TEST(ReplaceInvalidUtf8, ReplacesEachByteThatIsPartOfNoCharacter) {
  EXPECT_EQ(replace_invalid_utf8("", "?"), "");
  EXPECT_EQ(replace_invalid_utf8("z\xC3\xBCrich", "?"), "z\xC3\xBCrich");
  EXPECT_EQ(replace_invalid_utf8("\x80 a\xE2\x82 \xED\xA0\x80\xC3\xBC\xFF", "<>"),
            "<> a<><> <><><>\xC3\xBC<>");
}

TEST(ClosestMatch, OfAWordOfMegabytesTakesNoTime) {
  const std::vector<std::string> words = {"warmup_steps", "decay_steps"};
  EXPECT_EQ(closest_match(std::string(10'000'000, 'x'), words), std::nullopt);
}

TEST(Printable, EscapesWhatATerminalWouldObeyAndWhatIsNotUtf8) {
  EXPECT_EQ(printable("\x1b[2J\x07 \r\x7f"), "\\x1b[2J\\x07 \\x0d\\x7f");
  EXPECT_EQ(printable(std::string("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(printable("a\xC2\x9B"
                      "31m"),
            "a\\xc2\\x9b31m");  // U+009B, which begins a sequence as ESC [ does
  EXPECT_EQ(printable("a\xff\xC3z"), "a\\xff\\xc3z");
  const std::string plain = "line\n\ttext Z\u00fcrich \u5b9f\u9a13 \U0001f600 \u00a0 C:\\x";
  EXPECT_EQ(printable(plain), plain);
  EXPECT_EQ(printable(printable("\x1b\xff\n")), "\\x1b\\xff\n");
  EXPECT_EQ(printable_line("a\n\tb\x1b"), "a\\n\\tb\\x1b");
}

TEST(Shortened, CutsBetweenCharactersAndSaysHowMuchIsLeftOut) {
  EXPECT_EQ(shortened("12345", 5), "12345");
  EXPECT_EQ(shortened("123456", 5), "12345... (1 B more)");
  EXPECT_EQ(shortened("1234\u00fc6", 5), "1234... (3 B more)");
  EXPECT_EQ(shortened(std::string(9, '\x80'), 5), "\x80\x80... (7 B more)");  // no character to cut before
  EXPECT_EQ(excerpt(std::string(3 << 20, '\n'), 2), "\\n\\n... (3.0 MiB more)");
}

TEST(MessageText, IsPrintableAndOfBoundedLines) {
  for (const char* text : {"", "a", "a\nb", "a\n", "\n\n", "a\tb\n c"}) EXPECT_EQ(message_text(text), text);
  EXPECT_EQ(message_text("\x1b[31m\nb"), "\\x1b[31m\nb");
  const std::string line(4096, 'x');
  EXPECT_EQ(message_text(line + "\nb\n" + line + "yz"), line + "\nb\n" + line + "... (2 B more)");
  EXPECT_EQ(message_text(std::string(2000, '\x1b')).substr(4096), "... (3.8 KiB more)");  // of the escapes
  std::string many;
  for (int i = 0; i < 100'000; ++i) many += "x\n";
  EXPECT_LT(message_text(many).size(), 66'000U);
  EXPECT_TRUE(message_text(many).ends_with("x\n... (131.3 KiB more)"));
}

}  // namespace
}  // namespace ssgpt::core
