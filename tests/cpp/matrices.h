// What the C++ tests of kernels share: dtypes, buffers of exactly the needed size, products and residuals in
// long double.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "core/problem.h"
#include "cpu/half.h"

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

// Where buffers come from; the tests of GPU kernels define it.
#ifndef JAXINV_TEST_ALLOCATE
#define JAXINV_TEST_ALLOCATE std::malloc
#define JAXINV_TEST_RELEASE std::free
#endif

// An array that ends where its allocation ends and starts `offset` elements into it.
class Buffer {
 public:
  Buffer(const Type& type, int64_t count, int offset)
      : type_(type),
        memory_(static_cast<char*>(JAXINV_TEST_ALLOCATE((count + offset) * type.bytes)),
                JAXINV_TEST_RELEASE),
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

long double norm(const Matrix& a, int64_t n) {
  long double largest = 0;
  for (int64_t j = 0; j < n; ++j) {
    long double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::abs(a[i * n + j]);
    largest = std::max(largest, sum);
  }
  return largest;
}

Matrix multiply(const Matrix& a, const Matrix& b, int64_t n) {
  Matrix c(n * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += a[i * n + k] * b[k * n + j];
    }
  }
  return c;
}

// ‖I − a x‖ in units of n ε ‖a‖ ‖x‖; half types carry the rounding of the result, one unit of theirs.
long double residual(const Matrix& a, const Matrix& x, int64_t n, long double epsilon) {
  Matrix r = multiply(a, x, n);
  for (int64_t i = 0; i < n; ++i) r[i * n + i] -= 1;
  return norm(r, n) / (n * epsilon * norm(a, n) * norm(x, n));
}

Matrix matrix_of(const Buffer& buffer, int64_t index, int64_t n) {
  Matrix a(n * n);
  for (int64_t i = 0; i < n * n; ++i) a[i] = buffer.get(index * n * n + i);
  return a;
}

Matrix transpose_if(bool transpose, const Matrix& a, int64_t n) {
  Matrix out(a);
  for (int64_t i = 0; i < n && transpose; ++i) {
    for (int64_t j = 0; j < n; ++j) out[i * n + j] = a[j * n + i];
  }
  return out;
}

[[maybe_unused]] bool is_read(Structure s, int64_t i, int64_t j) {
  return s == Structure::kGeneral || (is_upper(s) ? i <= j : i >= j);
}

// The matrix that entry (i, j) of the read triangle belongs to.
[[maybe_unused]] Matrix full_matrix(const Buffer& a, Structure s, int64_t index, int64_t n) {
  Matrix out(n * n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      if (is_read(s, i, j)) out[i * n + j] = a.get((index * n + i) * n + j);
      if (!is_read(s, i, j) && is_pos(s))
        out[i * n + j] = std::conj(a.get((index * n + j) * n + i));
    }
    if (is_pos(s)) out[i * (n + 1)] = out[i * (n + 1)].real();
  }
  return out;
}

// |b − op(a) x| in units of n ε (|a| |x| + |b|) for all right-hand sides at once.
[[maybe_unused]] long double backward_error(const Matrix& a, const Buffer& b, const Buffer& x,
                                            int64_t index, int64_t n, int64_t columns,
                                            bool transpose, long double epsilon) {
  long double worst = 0;
  for (int64_t c = 0; c < columns; ++c) {
    long double rest = 0, sizes = 0, b_size = 0;
    for (int64_t i = 0; i < n; ++i) {
      Wide r = b.get((index * n + i) * columns + c);
      b_size += std::abs(r);
      for (int64_t j = 0; j < n; ++j) {
        r -= a[transpose ? j * n + i : i * n + j] * x.get((index * n + j) * columns + c);
      }
      sizes += std::abs(x.get((index * n + i) * columns + c));
      rest += std::abs(r);
    }
    const Matrix op = transpose_if(transpose, a, n);
    const long double error = rest / (n * epsilon * (norm(op, n) * sizes + b_size));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

}  // namespace
}  // namespace jaxinv
