// tests/cpp/msl/msl.h on a GPU of NVIDIA.
#include <cuda_runtime.h>

#include <cstring>
#include <stdexcept>

#include "simt.h"
#include "tests/cpp/msl/cuda/registry.h"
#include "tests/cpp/msl/table.h"

namespace msl {

void run(const std::string& function, const std::vector<void*>& buffers, uint32_t groups,
         uint32_t threads_per_group) {
  const Kernel& kernel = kernels().at(function);
  if (buffers.size() != kernel.buffers) throw std::out_of_range(function + ": number of buffers");
  // Parameters are the host's; 4 KB at most.
  void* parameters = simt::allocate(4096);
  std::memcpy(parameters, buffers.back(), 4096);
  std::vector<void*> data(buffers);
  data.back() = parameters;
  int position = 0;
  std::vector<void*> arguments;
  for (void*& buffer : data) arguments.push_back(&buffer);
  arguments.push_back(&position);
  simt::expect(cudaLaunchKernel(kernel.function, dim3(groups), dim3(threads_per_group),
                                arguments.data(), 0, nullptr));
  simt::finish();
  simt::release(parameters);
}

}  // namespace msl
