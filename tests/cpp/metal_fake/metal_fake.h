// A Metal device for machines without one. It checks what Metal's validation checks, and runs kernels on the
// emulator of tests/cpp/msl, from the text that ships, on a thread of its own.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace metal_fake {

// What Metal aborts for, or worse.
struct Misuse : std::logic_error {
  using std::logic_error::logic_error;
};

// What the device is and does; tests change it, while nothing is under way.
struct Settings {
  bool present = true;
  bool apple_gpu = true;
  std::string name = "Apple M1 (fake)";
  bool takes_pages = true;           // newBufferWithBytesNoCopy succeeds
  bool has_memory = true;            // newBufferWithLength succeeds
  bool has_math_mode = true;         // macOS 15
  std::string compile_error;         // of the library
  std::string command_error;         // of every command buffer; at first JAXINV_METAL_FAKE_ERROR
  unsigned long max_threads = 1024;  // of any pipeline
  int delay_microseconds = 0;        // of every command buffer
};
Settings& settings();

// What has happened.
struct Counts {
  long wrapped, allocated;              // buffers
  long libraries, pipelines, commands;  // made, compiled, committed
  bool safe_math;                       // of the last library
};
Counts counts();

// Objects that are alive, of one class or of all.
long alive(const std::string& type = "");
// Waits until no command buffer and no task is under way.
void wait();

}  // namespace metal_fake
