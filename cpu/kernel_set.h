// The kernels of one instruction set, as plain function pointers: the only thing the launcher sees
// of a translation unit compiled with that set's flags.
#pragma once

#include <cstddef>

#include "core/problem.h"

namespace jaxinv::cpu {

// Runs body(arg, 0 … count − 1) on the threads of a launch; null runs nothing in parallel.
struct Team {
  void* self;
  void (*run)(void* self, int64_t count, void (*body)(void* arg, int64_t index), void* arg);
  int64_t threads;
};

struct KernelSet {
  const char* name;
  // Bytes of 64-byte aligned scratch per worker.
  size_t (*inverse_lanes_scratch)(DType, int64_t n);
  size_t (*inverse_columns_scratch)(DType, int64_t n);
  size_t (*inverse_blocked_scratch)(DType, int64_t n);
  size_t (*triple_product_lanes_scratch)(DType, int64_t n);
  size_t (*triple_product_rows_scratch)(DType, int64_t n);
  size_t (*inverse_triangle_lanes_scratch)(DType, int64_t n);
  size_t (*inverse_triangle_scratch)(DType, int64_t n);
  size_t (*inverse_positive_scratch)(DType, int64_t n);
  size_t (*solve_triangle_lanes_scratch)(DType, int64_t n, int64_t columns);
  size_t (*lu_lanes_scratch)(DType, int64_t n);
  size_t (*lu_blocked_scratch)(DType, int64_t n);
  size_t (*lu_solve_scratch)(DType, int64_t n, int64_t columns);
  size_t (*solve_lanes_scratch)(DType, int64_t n, int64_t columns);
  // Tasks into which lu_solve cuts the right-hand sides of one matrix.
  int64_t (*lu_solve_parts)(DType, int64_t n, int64_t columns);
  // Matrices begin … end − 1 of the batch.
  void (*inverse_lanes)(const InverseProblem&, int64_t begin, int64_t end, void* scratch);
  void (*inverse_triangle_lanes)(const InverseProblem&, int64_t begin, int64_t end, void* scratch);
  void (*inverse_columns)(const InverseProblem&, int64_t begin, int64_t end, void* scratch);
  void (*triple_product_lanes)(const TripleProductProblem&, int64_t begin, int64_t end,
                               void* scratch);
  void (*triple_product_rows)(const TripleProductProblem&, int64_t begin, int64_t end,
                              void* scratch);
  void (*lu_lanes)(const LuProblem&, int64_t begin, int64_t end, void* scratch);
  void (*solve_lanes)(const SolveProblem&, int64_t begin, int64_t end, void* scratch);
  void (*solve_triangle_lanes)(const SolveProblem&, int64_t begin, int64_t end, void* scratch);
  // One matrix of the batch, a triangle of it.
  void (*inverse_triangle)(const InverseProblem&, int64_t index, void* scratch);
  // One part of the right-hand sides of one matrix.
  void (*lu_solve)(const LuSolveProblem&, int64_t index, int64_t part, void* scratch);
  // One matrix of the batch; `team` (may be null) shares its trailing updates.
  void (*inverse_positive)(const InverseProblem&, int64_t index, void* scratch, const Team* team);
  void (*inverse_blocked)(const InverseProblem&, int64_t index, void* scratch, const Team* team);
  void (*lu_blocked)(const LuProblem&, int64_t index, void* scratch, const Team* team);
};

#if defined(__x86_64__)
extern const KernelSet kSse2, kAvx2, kAvx512;
#elif defined(__aarch64__)
extern const KernelSet kNeon;
#endif

}  // namespace jaxinv::cpu
