#include "metal/handover.h"

#include <atomic>
#include <cstdio>
#include <cstring>

namespace jaxinv::metal {
namespace {

std::atomic<Mode> selected{Mode::kAuto};

// In the order of chips; the usual one stands first.
struct Chip {
  const char* name;
  int64_t bytes;
};
constexpr Chip kChips[] = {{"Apple M", 2'000'000},  {"Apple M1", 4'000'000},
                           {"Apple M2", 4'000'000}, {"Apple M3", 2'000'000},
                           {"Apple M4", 2'000'000}, {"Apple M5", 1'000'000}};

std::string megabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g MB", bytes / 1e6);
  return text;
}

// "Apple M1 Max" is an M1, "Apple M10" is not.
bool is_chip(const std::string& device, const char* name) {
  const size_t length = std::strlen(name);
  return device.compare(0, length, name) == 0 && (device.size() == length || device[length] == ' ');
}

bool has_kernel(Op op, int64_t n, DType dtype, Structure structure) {
  return algorithm(Backend::kMetal, op, n, dtype, structure) != Algorithm::kPortable;
}

std::string limits() {
  std::string text;
  for (const Chip& chip : kChips) {
    if (&chip == kChips) continue;
    text += (text.empty() ? "" : ", ") + std::string(chip.name + 6) + " " + megabytes(chip.bytes);
  }
  return text;
}

}  // namespace

int64_t handover_bytes(const std::string& device) {
  for (const Chip& chip : kChips) {
    if (is_chip(device, chip.name)) return chip.bytes;
  }
  return kChips[0].bytes;
}

void select_mode(Mode mode) { selected = mode; }
Mode mode() { return selected; }

bool hands_over(Op op, int64_t n, DType dtype, Structure structure, int64_t bytes,
                const std::string& device) {
  if (mode() == Mode::kNever || bytes == 0 || !has_kernel(op, n, dtype, structure)) return false;
  return mode() == Mode::kAlways || bytes >= handover_bytes(device);
}

std::string handover_reason(Op op, int64_t n, DType dtype, Structure structure, int64_t bytes,
                            const std::string& device) {
  const std::string no = "not on the GPU of a Mac: ";
  if (mode() == Mode::kNever) return no + "JAXINV_METAL=never";
  if (bytes == 0) return no + "there is nothing to compute";
  if (!has_kernel(op, n, dtype, structure)) {
    return no + plan(Backend::kMetal, op, n, dtype, structure).reason;
  }
  if (mode() == Mode::kAlways) return "on the GPU of a Mac: JAXINV_METAL=always";
  const int64_t threshold = handover_bytes(device);
  return (bytes >= threshold ? "on the GPU of a Mac: " : no) + megabytes(bytes) + " are " +
         (bytes >= threshold ? "at least " : "less than ") + megabytes(threshold) +
         ", the threshold of " + (device.empty() ? "a chip not named" : device) +
         " (estimates, not measured: " + limits() + ")";
}

}  // namespace jaxinv::metal
