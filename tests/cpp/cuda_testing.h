// What the C++ tests of CUDA kernels share: launches in both stages as the handlers make them, on the SIMT emulator or on
// a GPU (tests/cpp/gpu), integers where kernels reach them, determinants, and the arguments of the programs: number of
// seeds; a barrier to leave out.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "core/plan.h"
#include "cuda/launch.h"
#include "simt.h"
#define JAXINV_TEST_ALLOCATE simt::allocate
#define JAXINV_TEST_RELEASE simt::release
#include "tests/cpp/matrices.h"

namespace jaxinv {
namespace {

int seeds = 3;
bool planted = false;  // a mistake, which the first failure has shown

// Both stages, as the handlers do.
template <class Problem>
void launch(const Problem& problem) {
  cuda::launch(problem, {nullptr, true});
  cuda::launch(problem, {nullptr, false});
  simt::finish();
}

// Integers where the kernels reach them.
class Integers {
 public:
  explicit Integers(int64_t count)
      : count_(count),
        memory_(static_cast<int32_t*>(simt::allocate(count * sizeof(int32_t))), simt::release) {
    std::fill_n(data(), count, -1);
  }
  int32_t* data() const { return memory_.get(); }
  int32_t operator[](int64_t i) const { return data()[i]; }
  size_t bytes() const { return count_ * sizeof(int32_t); }

 private:
  int64_t count_;
  std::unique_ptr<int32_t, void (*)(void*)> memory_;
};

// Mantissa and exponent of the determinant in long double.
[[maybe_unused]] void reference_determinant(Matrix a, int64_t n, Wide& mantissa,
                                            int64_t& exponent) {
  mantissa = 1;
  exponent = 0;
  for (int64_t k = 0; k < n; ++k) {
    int64_t row = k;
    for (int64_t i = k; i < n; ++i) {
      if (std::abs(a[i * n + k]) > std::abs(a[row * n + k])) row = i;
    }
    for (int64_t j = 0; j < n; ++j) std::swap(a[k * n + j], a[row * n + j]);
    mantissa *= row == k ? a[k * n + k] : -a[k * n + k];
    const int e = std::ilogb(std::abs(mantissa));
    mantissa = {std::scalbn(mantissa.real(), -e), std::scalbn(mantissa.imag(), -e)};
    exponent += e;
    for (int64_t i = k + 1; i < n; ++i) {
      const Wide factor = a[i * n + k] / a[k * n + k];
      for (int64_t j = k; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
}

struct Span {
  void* data;
  size_t bytes;
};

// Runs it on every schedule: the same bits come out.
template <class Run>
void on_every_schedule(const std::string& at, const Run& run, const std::vector<Span>& results) {
  std::vector<std::vector<char>> first;
  for (int seed = 0; seed < seeds; ++seed) {
    simt::seed(seed * 1000 + 17);
    for (const Span& span : results) std::memset(span.data, 0xff, span.bytes);
    run();
    for (size_t i = 0; i < results.size(); ++i) {
      const char* data = static_cast<char*>(results[i].data);
      if (seed == 0) first.emplace_back(data, data + results[i].bytes);
      EXPECT(!std::memcmp(first[i].data(), data, results[i].bytes),
             "%s: result %d depends on the schedule", at.c_str(), int(i));
    }
  }
}

int run_with(int count, char** arguments, int (*run)()) {
  if (count > 1) seeds = std::atoi(arguments[1]);
  planted = count > 2;
  if (planted) simt::leave_out(arguments[2]);
  return run();
}

}  // namespace
}  // namespace jaxinv
