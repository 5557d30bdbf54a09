// ssgpt tokenizer train | encode | decode

#include "tokenizer/tokenizer.h"

#include "cli/commands.h"
#include "cli/number_checks.h"
#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "core/outputs.h"
#include "core/text.h"
#include "data/text_reader.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace ssgpt::cli {

namespace {

std::string read_stdin() {
  std::string text;
  std::vector<char> buffer(size_t{1} << 16);
  while (const size_t count = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    text.append(buffer.data(), count);
  }
  if (std::ferror(stdin) != 0) {
    throw core::InputError("reading standard input failed");
  }
  return text;
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

struct TrainTokenizerArguments {
  std::vector<std::string> inputs;
  std::string output;
  std::string on_bad = "refuse";
  data::TextOptions text;
  tokenizer::TrainOptions train;
  bool overwrite = false;
  bool json = false;
};

// Keeps a repeated command from replacing a model that shards and runs already use, and from overwriting an
// input.
void refuse_existing_output(const TrainTokenizerArguments& arguments,
                            const std::vector<std::filesystem::path>& inputs) {
  if (!core::exists(arguments.output)) return;
  core::refuse_output_over_input("--output", arguments.output, inputs);
  if (arguments.overwrite) return;
  throw core::UsageError("--output {}: exists already; name a new file, or replace it with --overwrite",
                         arguments.output);
}

void run_train(TrainTokenizerArguments& arguments) {
  arguments.text.on_bad = arguments.on_bad == "skip" ? data::OnBad::kSkip : data::OnBad::kRefuse;
  const std::vector<std::filesystem::path> inputs = core::expand_globs(arguments.inputs);
  refuse_existing_output(arguments, inputs);
  data::TextReader reader(inputs, arguments.text);
  tokenizer::train([&](std::string& document) { return reader.next(document); }, arguments.output,
                   arguments.train);
  const data::LeftOut& left_out = reader.left_out();
  if (arguments.json) {
    const nlohmann::ordered_json json = {{"output", arguments.output},
                                         {"vocab_size", arguments.train.vocab_size},
                                         {"left_out", {{"empty", left_out.empty}, {"bad", left_out.bad}}}};
    print(core::json_text(json) + "\n");
    return;
  }
  print(fmt::format("{}: a tokenizer of {} pieces\n", arguments.output, arguments.train.vocab_size));
  if (left_out.bad > 0) {
    print(fmt::format("left out: {} bad document(s)\n", left_out.bad));
  }
}

void add_train_command(CLI::App& parent) {
  const auto arguments = std::make_shared<TrainTokenizerArguments>();
  CLI::App* command = parent.add_subcommand(
      "train", "Train a byte-pair tokenizer (sentencepiece) that reproduces every text exactly");
  command
      ->add_option("--input", arguments->inputs, "Text files: .txt, .jsonl, or either as .zst; globs allowed")
      ->required()
      ->type_name("FILES");
  command->add_option("--output", arguments->output, "Model file to write")->required()->type_name("FILE");
  command->add_option("--vocab-size", arguments->train.vocab_size, "Exact number of pieces")
      ->transform(whole_number(1))
      ->capture_default_str();
  command
      ->add_option(
          "--max-bytes", arguments->train.max_bytes,
          "Maximum memory for the training text, including 80 bytes per line, in bytes or as in 64MB; "
          "larger inputs are sampled evenly")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->type_name("BYTES")
      ->capture_default_str();
  command->add_option("--seed", arguments->train.seed, "Random seed of the sample")
      ->transform(seed_number())
      ->capture_default_str();
  command->add_option("--field", arguments->text.field, "Field of each JSON object that holds the text")
      ->capture_default_str();
  command
      ->add_option("--on-bad", arguments->on_bad,
                   "Treatment of documents that are not JSON or not UTF-8: refuse, or skip and count")
      ->check(CLI::IsMember({"refuse", "skip"}))
      ->capture_default_str();
  command->add_flag("--overwrite", arguments->overwrite, "Replace an existing model");
  command->add_flag("--json", arguments->json, "Print the result as JSON");
  command->footer(
      "Example:\n  ssgpt tokenizer train --input corpus/*.txt --output tokenizer.model --vocab-size 4096");
  command->callback([arguments] { run_train(*arguments); });
}

struct EncodeArguments {
  std::string model;
  std::vector<std::string> text;  // none: standard input
  bool json = false;
  bool pieces = false;
};

void run_encode(const EncodeArguments& arguments) {
  const tokenizer::Tokenizer tokenizer(arguments.model);
  const std::string text = arguments.text.empty() ? read_stdin() : arguments.text.front();
  const std::vector<int32_t> ids = tokenizer.encode(text);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) {
    pieces.push_back(tokenizer.piece(id));
  }
  if (arguments.json) {
    nlohmann::ordered_json json = {{"ids", ids}};
    if (arguments.pieces) {
      json["pieces"] = pieces;
    }
    print(core::json_text(json) + "\n");
    return;
  }
  if (arguments.pieces) {
    for (size_t i = 0; i < ids.size(); ++i) {
      print(fmt::format("{}\t{}\n", ids[i], core::json_text(nlohmann::json(pieces[i]))));
    }
    return;
  }
  print(fmt::format("{}\n", fmt::join(ids, " ")));
}

void add_encode_command(CLI::App& parent) {
  const auto arguments = std::make_shared<EncodeArguments>();
  CLI::App* command = parent.add_subcommand("encode", "Encode text as token ids, separated by spaces");
  command->add_option("--tokenizer", arguments->model, "Sentencepiece model")->required()->type_name("FILE");
  command->add_option("text", arguments->text, "Text to encode [default: all of standard input]")
      ->expected(0, 1);
  command->add_flag("--pieces", arguments->pieces, "Also print the piece of each id, one per line");
  command->add_flag("--json", arguments->json, "Print {\"ids\": [...]}");
  command->footer(
      "Examples:\n  ssgpt tokenizer encode --tokenizer tokenizer.model --pieces \"In the beginning\"\n"
      "  ssgpt tokenizer encode --tokenizer tokenizer.model < text.txt | ssgpt tokenizer decode --tokenizer "
      "tokenizer.model");
  command->callback([arguments] { run_encode(*arguments); });
}

// Parses ids separated by spaces, line breaks or commas, with or without JSON's brackets around them.
std::vector<int32_t> parse_ids(std::string_view text) {
  constexpr std::string_view kSeparators = " \t\r\n,[]";
  std::vector<int32_t> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kSeparators), text.size()));
    if (text.empty()) {
      return ids;
    }
    const std::string_view word = text.substr(0, text.find_first_of(kSeparators));
    int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw core::InputError("\"{}\" is not a token id; ids are whole numbers separated by spaces or commas",
                             word.substr(0, 40));
    }
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

struct DecodeArguments {
  std::string model;
  std::vector<std::string> ids;  // none: standard input
  bool json = false;
};

void run_decode(const DecodeArguments& arguments) {
  const tokenizer::Tokenizer tokenizer(arguments.model);
  const std::string source =
      arguments.ids.empty() ? read_stdin() : fmt::format("{}", fmt::join(arguments.ids, " "));
  const std::string text = tokenizer.decode(parse_ids(source));
  print(arguments.json ? core::json_text(nlohmann::json({{"text", text}})) + "\n" : text);
}

void add_decode_command(CLI::App& parent) {
  const auto arguments = std::make_shared<DecodeArguments>();
  CLI::App* command = parent.add_subcommand(
      "decode",
      "Decode token ids to text, and print it without adding a line break; BOS and EOS decode to nothing");
  command->add_option("--tokenizer", arguments->model, "Sentencepiece model")->required()->type_name("FILE");
  command
      ->add_option("ids", arguments->ids,
                   "Token ids, separated by spaces or commas [default: standard input]")
      ->type_name("IDS");
  command->add_flag("--json", arguments->json, "Print {\"text\": ...}");
  command->footer("Example:\n  ssgpt tokenizer decode --tokenizer tokenizer.model 412 17 1093");
  command->callback([arguments] { run_decode(*arguments); });
}

}  // namespace

void add_tokenizer(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("tokenizer", "Train a tokenizer, encode text as token ids, or decode them");
  command->require_subcommand(1);
  add_train_command(*command);
  add_encode_command(*command);
  add_decode_command(*command);
}

}  // namespace ssgpt::cli
