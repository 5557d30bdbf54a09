#include "run/beginning.h"

#include <nlohmann/json.hpp>

namespace ssgpt::run {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const Ancestor& ancestor) {
  Json json = {{"checkpoint", ancestor.checkpoint},
               {"run_id", ancestor.run_id},
               {"step", ancestor.step},
               {"config", ancestor.config},
               {"data_fingerprint", ancestor.data_fingerprint}};
  if (!ancestor.tokenizer_fingerprint.empty()) json["tokenizer_fingerprint"] = ancestor.tokenizer_fingerprint;
  return json;
}

Ancestor to_ancestor(const core::JsonFields& fields) {
  return {.checkpoint = fields.text("checkpoint"),
          .run_id = fields.text("run_id"),
          .step = fields.count("step"),
          .config = fields.text("config"),
          .data_fingerprint = fields.text("data_fingerprint"),
          .tokenizer_fingerprint = fields.optional_text("tokenizer_fingerprint").value_or("")};
}

}  // namespace

void add_beginning(const Beginning& beginning, Json& to) {
  if (beginning.first_step) to["first_step"] = *beginning.first_step;
  if (!beginning.parent.empty()) to["parent"] = beginning.parent;
  if (!beginning.ancestors.empty()) to["ancestors"] = Json::array();
  for (const Ancestor& one : beginning.ancestors) to["ancestors"].push_back(json_of(one));
}

Beginning read_beginning(const core::JsonFields& fields) {
  Beginning beginning;
  beginning.first_step = fields.optional_count("first_step");
  beginning.parent = fields.optional_text("parent").value_or("");
  for (const core::JsonFields& one : fields.objects("ancestors")) {
    beginning.ancestors.push_back(to_ancestor(one));
  }
  return beginning;
}

}  // namespace ssgpt::run
