// What cuda/devices.cc says of an emulated device: MAJOR MINOR.
#include <cstdio>
#include <cstdlib>

#include "cuda/launch.h"
#include "simt.h"

int main(int, char** arguments) {
  simt::device().major = std::atoi(arguments[1]);
  simt::device().minor = std::atoi(arguments[2]);
  std::printf("%d|%s|%s\n", jaxinv::cuda::refused(), jaxinv::cuda::device_name().c_str(),
              jaxinv::cuda::unavailable().c_str());
}
