// Asks the CUDA driver which devices there are, and says in words why they cannot be used.
#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "cuda/launch.h"

namespace jaxinv::cuda {
namespace {

// What this build holds machine code for, and the architecture of its PTX, which the driver compiles for any
// later one; as 10 · major + minor.
constexpr int kMachineCode[] = {JAXINV_CUDA_MACHINE_CODE};
constexpr int kPtx = JAXINV_CUDA_PTX;

bool runs_on(int major, int minor) {
  for (int arch : kMachineCode) {
    if (arch / 10 == major && arch % 10 <= minor) return true;
  }
  return kPtx <= 10 * major + minor;
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

struct Devices {
  std::string names;
  std::string unavailable;
  bool refused = false;

  Devices() {
    int driver = 0, runtime = 0, count = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
      unavailable = "no NVIDIA driver is installed";
      return;
    }
    cudaRuntimeGetVersion(&runtime);
    cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver) {
      refused = true;
      unavailable = "the NVIDIA driver is for CUDA " + version_text(driver) +
                    ", this build needs one for CUDA " + version_text(runtime) + " or later";
      return;
    }
    if (error != cudaSuccess || count == 0) {
      unavailable = std::string("no CUDA device: ") +
                    (error == cudaSuccess ? "none is visible" : cudaGetErrorString(error));
      cudaGetLastError();  // it must not show up in somebody else's launch
      return;
    }
    for (int i = 0; i < count; ++i) describe(i);
  }

  void describe(int ordinal) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) return;
    names += (ordinal ? ", " : "") + std::string(properties.name);
    if (!unavailable.empty() || runs_on(properties.major, properties.minor)) return;
    refused = true;
    unavailable = "device " + std::to_string(ordinal) + ", " + properties.name +
                  ", has compute capability " + std::to_string(properties.major) + "." +
                  std::to_string(properties.minor) + ", this build is for " + kernel_set();
  }
};

const Devices& devices() {
  static const Devices instance;
  return instance;
}

}  // namespace

const std::string& unavailable() { return devices().unavailable; }
bool refused() { return devices().refused; }
const std::string& device_name() { return devices().names; }

std::string kernel_set() {
  std::string text;
  for (int arch : kMachineCode) text += (text.empty() ? "sm_" : ", sm_") + std::to_string(arch);
  return text + " and later by PTX of compute_" + std::to_string(kPtx);
}

}  // namespace jaxinv::cuda
