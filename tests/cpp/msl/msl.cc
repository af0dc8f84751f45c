// tests/cpp/msl/msl.h on the emulator.
#include <mutex>

#include "simt.h"
#include "tests/cpp/msl/registry.h"
#include "tests/cpp/msl/table.h"

namespace msl {

void run(const std::string& function, const std::vector<void*>& buffers, uint32_t groups,
         uint32_t threads_per_group) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const Kernel& kernel = kernels().at(function);
  if (buffers.size() != kernel.buffers) {
    throw std::out_of_range(function + ": " + std::to_string(kernel.buffers) + " buffers, got " +
                            std::to_string(buffers.size()));
  }
  if (!groups || !threads_per_group || threads_per_group % simt::kWarp ||
      threads_per_group > kernel.threads) {
    throw simt::Failure(function + ": cannot be launched with " + std::to_string(groups) +
                        " groups of " + std::to_string(threads_per_group) + " threads");
  }
  simt::run({groups}, {threads_per_group}, kernel.threadgroup_bytes,
            [&] { kernel.call(buffers.data()); });
}

}  // namespace msl
