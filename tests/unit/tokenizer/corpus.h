// Text for the tests, made from a seed: words of a Zipf distribution in lines, with some code, numbers and
// scripts.
#pragma once

#include "tokenizer/tokenizer.h"

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace ssgpt::tokenizer::testing {

std::vector<std::string> make_documents(uint64_t seed, int num_documents);

DocumentSource source_of(std::vector<std::string> documents);

// Valid UTF-8 of `length` random characters, drawn so that blanks, line breaks, reserved names, letters, and
// the whole of Unicode are all frequent.
std::string random_text(uint64_t seed, int length);

// The model that sentencepiece's own trainer makes of such documents with these arguments, as it lies in a
// file; 450 pieces where "vocab_size" says nothing else.
std::string train_foreign(std::unordered_map<std::string, std::string> arguments);

// A tokenizer of 700 pieces trained once on make_documents(1, 200), for all tests that need one.
const Tokenizer& shared_tokenizer();

}  // namespace ssgpt::tokenizer::testing
