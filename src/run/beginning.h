// Where a training run began, as run.json and each of its checkpoints tell. The only reader and writer.
#pragma once

#include "core/json_fields.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace ssgpt::run {

// Identifies a training run whose weights another run continued from.
struct Ancestor {
  std::string checkpoint;  // absolute path by which it was named
  std::string run_id;
  int64_t step = 0;    // finished updates
  std::string config;  // YAML, as stored in the checkpoint
  std::string data_fingerprint;
  std::string tokenizer_fingerprint = {};  // empty: none or unknown
  bool operator==(const Ancestor&) const = default;
};

struct Beginning {
  std::optional<int64_t> first_step = {};  // finished updates at the start of the run: above 0 for a fork
  std::string parent = {};                 // checkpoint that a fork or --init-from started from; empty: none
  // From the first training run to that of `parent`; empty if there is none, or not all are known.
  std::vector<Ancestor> ancestors = {};
  bool operator==(const Beginning&) const = default;

  // Where it is known that there is no parent, the first step is: it is stored of every run.
  bool is_known() const { return first_step.has_value() || !parent.empty(); }
};

// Adds "first_step", "parent" and "ancestors" to the object, each if there is something to tell.
void add_beginning(const Beginning& beginning, nlohmann::ordered_json& to);

// Reads these fields, as far as they are there. Throws core::InputError, with the field, for one of another
// type.
Beginning read_beginning(const core::JsonFields& fields);

}  // namespace ssgpt::run
