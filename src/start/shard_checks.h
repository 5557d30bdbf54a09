// Whether token shards belong together: finished, by one tokenizer, and not both trained and validated on.
// What `ssgpt prepare` says of its shards stands in prepare.json beside them; shards without one are taken as
// they are.
#pragma once

#include "data/token_source.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// What a prepare.json says.
struct PreparedFolder {
  std::filesystem::path record;  // that file
  bool complete = true;
  std::filesystem::path tokenizer;    // as its command named it
  std::string tokenizer_fingerprint;  // core::checksum_of_file; empty where it does not say
};
using Prepared = std::vector<PreparedFolder>;

// Of each folder that shards of `source` lie in. Throws core::InputError where one is no JSON object.
Prepared read_prepared(const data::TokenSource& source);

// Throws core::InputError for shards that an interrupted `ssgpt prepare` left: they are whole, but not all.
void refuse_unfinished(const Prepared& prepared);

// Throws core::InputError, naming both, where shards were made with another tokenizer than `tokenizer`, whose
// checksum is `fingerprint`, or, where it is none, than others of the shards.
void refuse_other_tokenizers(const std::vector<Prepared>& prepared,
                             const std::optional<std::filesystem::path>& tokenizer,
                             const std::string& fingerprint);

// Throws core::UsageError, naming both files, where a shard to train on is a shard to validate on, or holds
// the same tokens by data::fingerprint. Reads only of shards of the same length.
void refuse_shared_shards(const data::TokenSource& training, const data::TokenSource& validation);

}  // namespace ssgpt::start
