// What the tests of the CPU kernels share: expectations, dtypes, buffers of exactly the size that is needed.
#pragma once

#include <complex>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cpu/half.h"
#include "cpu/kernel_set.h"

namespace jaxinv {
namespace {

namespace kernels = JAXINV_NAMESPACE;
using Wide = std::complex<long double>;
using Matrix = std::vector<Wide>;

int failures = 0;
#define EXPECT(condition, ...)                                    \
  do {                                                            \
    if (!(condition)) {                                           \
      ++failures;                                                 \
      std::printf("%s:%d: %s: ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                   \
      std::printf("\n");                                          \
    }                                                             \
  } while (0)

struct Type {
  DType dtype;
  const char* name;
  size_t bytes;
  long double epsilon;
};
constexpr Type kTypes[] = {
    {DType::kF16, "float16", 2, 0x1p-11L},   {DType::kBF16, "bfloat16", 2, 0x1p-8L},
    {DType::kF32, "float32", 4, 0x1p-24L},   {DType::kF64, "float64", 8, 0x1p-53L},
    {DType::kC64, "complex64", 8, 0x1p-24L}, {DType::kC128, "complex128", 16, 0x1p-53L}};

// An array that ends where its allocation ends and starts `offset` elements into it.
class Buffer {
 public:
  Buffer(const Type& type, int64_t count, int offset)
      : type_(type),
        memory_(static_cast<char*>(std::malloc((count + offset) * type.bytes)), std::free),
        data_(memory_.get() + offset * type.bytes) {}
  void* data() const { return data_; }
  void set(int64_t i, Wide x) {
    switch (type_.dtype) {
      case DType::kF16:
        return kernels::from_float(float(x.real()), at<kernels::Float16>(i));
      case DType::kBF16:
        return kernels::from_float(float(x.real()), at<kernels::BFloat16>(i));
      case DType::kF32:
        at<float>(i) = float(x.real());
        return;
      case DType::kF64:
        at<double>(i) = double(x.real());
        return;
      case DType::kC64:
        at<std::complex<float>>(i) = std::complex<float>(x);
        return;
      case DType::kC128:
        at<std::complex<double>>(i) = std::complex<double>(x);
        return;
    }
  }
  Wide get(int64_t i) const {
    switch (type_.dtype) {
      case DType::kF16:
        return kernels::to_float(at<kernels::Float16>(i));
      case DType::kBF16:
        return kernels::to_float(at<kernels::BFloat16>(i));
      case DType::kF32:
        return at<float>(i);
      case DType::kF64:
        return at<double>(i);
      case DType::kC64:
        return at<std::complex<float>>(i);
      case DType::kC128:
        return at<std::complex<double>>(i);
    }
    return {};
  }

 private:
  template <class T>
  T& at(int64_t i) const {
    return reinterpret_cast<T*>(data_)[i];
  }
  const Type& type_;
  std::unique_ptr<char, void (*)(void*)> memory_;
  char* data_;
};

struct Scratch {
  explicit Scratch(size_t bytes)
      : memory(std::aligned_alloc(128, (bytes + 127) / 128 * 128), std::free) {}
  std::unique_ptr<void, void (*)(void*)> memory;
};

// A team that runs its tasks backwards: they must not depend on their order.
void run_backwards(void*, int64_t count, void (*body)(void*, int64_t), void* arg) {
  while (count-- > 0) body(arg, count);
}

}  // namespace
}  // namespace jaxinv
