// Whether token shards belong together: finished, made by one tokenizer, and not used for both training and
// validation. `ssgpt prepare` records this in prepare.json beside its shards; shards without one are accepted
// as they are.
#pragma once

#include "data/token_source.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace ssgpt::start {

// Contents of a prepare.json.
struct PreparedFolder {
  std::filesystem::path record;  // the prepare.json
  bool complete = true;
  std::filesystem::path tokenizer;    // as given on its command line
  std::string tokenizer_fingerprint;  // core::checksum_of_file; empty if not recorded
};
using Prepared = std::vector<PreparedFolder>;

// Reads the record of each folder that holds shards of `source`. Throws core::InputError if one is not a JSON
// object.
Prepared read_prepared(const data::TokenSource& source);

// Throws core::InputError for shards of an interrupted `ssgpt prepare`: each is complete, but some are
// missing.
void refuse_unfinished(const Prepared& prepared);

// Throws core::InputError, naming both, if shards were made with another tokenizer than `tokenizer`, whose
// checksum is `fingerprint`, or, without a tokenizer, than other shards.
void refuse_other_tokenizers(const std::vector<Prepared>& prepared,
                             const std::optional<std::filesystem::path>& tokenizer,
                             const std::string& fingerprint);

// Throws core::UsageError, naming both files, if a training shard is also a validation shard, or holds the
// same tokens by data::fingerprint. Reads only shards of equal length.
void refuse_shared_shards(const data::TokenSource& training, const data::TokenSource& validation);

}  // namespace ssgpt::start
