#include "metal/dispatch.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "core/plan.h"
#include "core/workspace.h"
#include "metal/parameters.h"

namespace jaxinv::metal {
namespace {

// Groups of a run; above, each takes several units of work in turn.
constexpr int64_t kMostGroups = 1 << 16;

int64_t parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

Storage storage_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return kFloat16;
    case DType::kBF16:
      return kBFloat16;
    case DType::kC64:
      return kComplex64;
    default:
      return kFloat32;
  }
}

size_t stored_bytes(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 ? 2 : arithmetic_bytes(dtype);
}

// "inverse_thread", 3 → "inverse_thread_float32_3"
std::string function_of(const char* family, DType dtype, int64_t size) {
  return std::string(family) + (dtype == DType::kC64 ? "_complex64_" : "_float32_") +
         std::to_string(size);
}

template <class Parameters>
std::vector<unsigned char> bytes_of(const Parameters& parameters) {
  const auto* first = reinterpret_cast<const unsigned char*>(&parameters);
  return {first, first + sizeof parameters};
}

// A run of simdgroups, each of which has `per_simdgroup` problems at a time.
Dispatch run_simdgroups(std::string function, int64_t batch, int simdgroups, int per_simdgroup) {
  const int64_t groups = parts(batch, int64_t(simdgroups) * per_simdgroup);
  return {std::move(function),
          {},
          {},
          uint32_t(std::min(groups, kMostGroups)),
          uint32_t(simdgroups * simdgroup_lanes())};
}

[[noreturn]] void no_kernel(const char* op, int64_t n) {
  throw std::invalid_argument("no Metal kernel for the " + std::string(op) +
                              " at n = " + std::to_string(n));
}

}  // namespace

std::vector<Dispatch> dispatches(const InverseProblem& p) {
  if (p.batch == 0 || p.n == 0) return {};
  const int bytes = arithmetic_bytes(p.dtype);
  const size_t count = p.batch, all = count * p.n * p.n * stored_bytes(p.dtype);
  const InverseParameters parameters{p.batch, int32_t(p.n), storage_of(p.dtype), p.info != nullptr,
                                     p.mantissa != nullptr};
  auto bind = [&](Dispatch d) {
    d.buffers = {{p.a, all, false},
                 {p.x, all, true},
                 {p.info, p.info ? count * 4 : 0, true},
                 {p.mantissa, p.mantissa ? count * bytes : 0, true},
                 {p.exponent, p.exponent ? count * 4 : 0, true}};
    d.parameters = bytes_of(parameters);
    return d;
  };
  switch (algorithm(Backend::kMetal, Op::kInverse, p.n, p.dtype, p.structure)) {
    case Algorithm::kThread:
      return {bind(run_simdgroups(function_of("inverse_thread", p.dtype, p.n), p.batch,
                                  simdgroups_that_fit(inverse_thread_bytes(int(p.n), bytes)),
                                  simdgroup_lanes()))};
    default:
      no_kernel("inverse", p.n);
  }
}

std::vector<Dispatch> dispatches(const TripleProductProblem& p) {
  if (p.batch == 0 || p.n == 0) return {};
  no_kernel("triple product", p.n);
}

}  // namespace jaxinv::metal
