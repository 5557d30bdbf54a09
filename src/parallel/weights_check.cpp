#include "parallel/weights_check.h"

#include "core/check.h"
#include "core/checksum.h"
#include "core/error.h"

#include <span>
#include <vector>

#include <fmt/ranges.h>

namespace ssgpt::parallel {

std::string weights_checksum(const at::Tensor& flat) {
  const at::Tensor host = flat.cpu();
  SSGPT_CHECK(host.is_contiguous(), "the checksum of a tensor that is not contiguous");
  return core::checksum_of({static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()});
}

std::vector<int64_t> ranks_with_another(Communicator& communicator, const std::string& checksum) {
  // Half of the digits: 64 bits fit the integers that ranks exchange.
  const std::vector<int64_t> checksums =
      communicator.gather(static_cast<int64_t>(std::stoull(checksum.substr(0, 16), nullptr, 16)));
  std::vector<int64_t> others;
  for (size_t rank = 1; rank < checksums.size(); ++rank) {
    if (checksums[rank] != checksums[0]) others.push_back(static_cast<int64_t>(rank));
  }
  return others;
}

std::vector<int64_t> ranks_with_other_weights(Communicator& communicator, const at::Tensor& flat) {
  return ranks_with_another(communicator, weights_checksum(flat));
}

void require_equal_weights(Communicator& communicator, const at::Tensor& flat, int64_t step) {
  const std::vector<int64_t> others = ranks_with_other_weights(communicator, flat);
  if (others.empty()) return;
  throw core::RunError(
      "After step {} the weights of rank {} are not those of rank 0, bit for bit: the ranks no longer train "
      "one model. Nothing was saved after it; resume from the last checkpoint, and suspect the memory or the "
      "network of that machine.",
      step, fmt::join(others, ", "));
}

}  // namespace ssgpt::parallel
