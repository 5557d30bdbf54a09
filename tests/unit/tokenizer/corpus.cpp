#include "tokenizer/corpus.h"

#include "core/temporary_directory.h"

#include <cmath>
#include <random>
#include <utility>

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

namespace ssgpt::tokenizer::testing {

namespace {

void append_character(std::string& text, uint32_t code) {
  const auto add = [&](uint32_t byte) {
    text.push_back(static_cast<char>(byte));
  };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | code >> 6);
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | code >> 12);
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | code >> 18);
    add(0x80 | (code >> 12 & 0x3F));
    add(0x80 | (code >> 6 & 0x3F));
    add(0x80 | (code & 0x3F));
  }
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return next_ == lines_.size(); }
  void Next() override { ++next_; }
  const std::string& value() const override { return lines_[next_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t next_ = 0;
};

}  // namespace

std::string train_foreign(std::unordered_map<std::string, std::string> arguments) {
  arguments.insert({{"vocab_size", "450"}, {"minloglevel", "2"}, {"hard_vocab_limit", "false"}});
  std::vector<std::string> lines;
  for (const std::string& document : make_documents(11, 60)) {
    for (size_t start = 0; start < document.size();) {
      const size_t end = document.find('\n', start);
      lines.push_back(document.substr(start, end - start));
      start = end + 1;
    }
  }
  Lines iterator(std::move(lines));
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(arguments, &iterator, &model);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return model;
}

std::vector<std::string> make_documents(uint64_t seed, int num_documents) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) {
    return random() % n;
  };
  std::vector<std::string> words;
  for (int i = 0; i < 500; ++i) {
    std::string word;
    for (uint64_t syllables = 1 + below(3); syllables > 0; --syllables) {
      word += "bdfgklmnprstvz"[below(14)];
      word += "aeiou"[below(5)];
    }
    words.push_back(word);
  }
  std::vector<std::string> documents;
  for (int i = 0; i < num_documents; ++i) {
    std::string text;
    for (uint64_t line = 0; line < 20; ++line) {
      for (uint64_t word = 0; word < 12; ++word) {
        const double uniform = static_cast<double>(below(1'000'000)) / 1e6;
        text += word == 0 ? "" : " ";
        text += words[static_cast<size_t>(std::pow(500.0, uniform)) - 1];
      }
      text += line % 5 == 4 ? ".\n\n" : ".\n";
    }
    text += "    if (x" + std::to_string(below(1000)) +
            ") {\n\treturn;\n    }\nna\xC3\xAFve caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC\n";
    documents.push_back(text);
  }
  return documents;
}

DocumentSource source_of(std::vector<std::string> documents) {
  return [documents = std::move(documents), next = size_t{0}](std::string& document) mutable {
    if (next == documents.size()) {
      return false;
    }
    document = documents[next++];
    return true;
  };
}

std::string random_text(uint64_t seed, int length) {
  static const std::vector<std::string> kFragments = {" ",
                                                      "  ",
                                                      "\n",
                                                      "\n\n",
                                                      "\t",
                                                      "\r\n",
                                                      "\xE2\x96\x81",
                                                      "\xE2\x96\x85",
                                                      "<s>",
                                                      "</s>",
                                                      "<unk>",
                                                      "<0x0A>",
                                                      "\xEF\xBB\xBF",
                                                      "e\xCC\x81",
                                                      "ba",
                                                      "di ",
                                                      "1234",
                                                      "return",
                                                      "\xEF\xBF\xBD",
                                                      "\xC2\xA0",
                                                      "\xE2\x80\x8B",
                                                      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80"};
  std::mt19937_64 random(seed);
  std::string text;
  for (int i = 0; i < length; ++i) {
    switch (random() % 4) {
      case 0:
        text += kFragments[random() % kFragments.size()];
        break;
      case 1:
        append_character(text, static_cast<uint32_t>('a' + random() % 26));
        break;
      case 2:
        append_character(text, static_cast<uint32_t>(random() % 0x300));
        break;
      default: {
        const auto code = static_cast<uint32_t>(random() % 0x110000);
        append_character(text, code >= 0xD800 && code < 0xE000 ? code - 0x800 : code);  // no surrogates
      }
    }
  }
  return text;
}

const Tokenizer& shared_tokenizer() {
  static const Tokenizer tokenizer = [] {
    const TemporaryDirectory folder;
    train(source_of(make_documents(1, 200)), folder / "m.model", {.vocab_size = 700});
    return Tokenizer(folder / "m.model");
  }();
  return tokenizer;
}

}  // namespace ssgpt::tokenizer::testing
