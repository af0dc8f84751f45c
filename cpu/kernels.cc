// All kernels of one instruction set. Compiled once per set, with JAXINV_NAMESPACE (avx2) and
// JAXINV_KERNEL_SET (kAvx2) naming it. Nothing here may use a shared inline function of the
// standard library: the linker could pick this copy for a machine without the instruction set.
#include "cpu/inverse_blocked.h"
#include "cpu/inverse_columns.h"
#include "cpu/inverse_lanes.h"
#include "cpu/kernel_set.h"
#include "cpu/lu_blocked.h"
#include "cpu/lu_lanes.h"
#include "cpu/lu_solve.h"
#include "cpu/positive_blocked.h"
#include "cpu/solve_lanes.h"
#include "cpu/triangle_lanes.h"
#include "cpu/triangle_solve.h"
#include "cpu/triple_product_lanes.h"
#include "cpu/triple_product_rows.h"
#include "cpu/widened.h"

#define JAXINV_STRING_(x) #x
#define JAXINV_STRING(x) JAXINV_STRING_(x)

namespace jaxinv::cpu {

const KernelSet JAXINV_KERNEL_SET = {
    JAXINV_STRING(JAXINV_NAMESPACE),
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::widened_scratch<decltype(s)>(
            n, [&](auto r) { return JAXINV_NAMESPACE::inverse_lanes_scratch<decltype(r)>(n); });
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::widened_scratch<decltype(s)>(
            n, [&](auto r) { return JAXINV_NAMESPACE::inverse_columns_scratch<decltype(r)>(n); });
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(
          dtype, [&](auto s) { return JAXINV_NAMESPACE::inverse_blocked_scratch<decltype(s)>(n); });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::triple_product_lanes_scratch<decltype(s)>(n);
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::triple_product_rows_scratch<decltype(s)>(n);
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::widened_scratch<decltype(s)>(n, [&](auto r) {
          return JAXINV_NAMESPACE::inverse_triangle_lanes_scratch<decltype(r)>(n);
        });
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::widened_scratch<decltype(s)>(
            n, [&](auto r) { return JAXINV_NAMESPACE::inverse_triangle_scratch<decltype(r)>(n); });
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_storage(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::widened_scratch<decltype(s)>(
            n, [&](auto r) { return JAXINV_NAMESPACE::inverse_positive_scratch<decltype(r)>(n); });
      });
    },
    [](DType dtype, int64_t n, int64_t columns) {
      return JAXINV_NAMESPACE::with_computed(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::solve_triangle_lanes_scratch<decltype(s)>(n, columns);
      });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_computed(
          dtype, [&](auto s) { return JAXINV_NAMESPACE::lu_lanes_scratch<decltype(s)>(n); });
    },
    [](DType dtype, int64_t n) {
      return JAXINV_NAMESPACE::with_computed(
          dtype, [&](auto s) { return JAXINV_NAMESPACE::lu_blocked_scratch<decltype(s)>(n); });
    },
    [](DType dtype, int64_t n, int64_t columns) {
      return JAXINV_NAMESPACE::with_computed(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::lu_solve_scratch<decltype(s)>(n, columns);
      });
    },
    [](DType dtype, int64_t n, int64_t columns) {
      return JAXINV_NAMESPACE::with_computed(dtype, [&](auto s) {
        return JAXINV_NAMESPACE::solve_lanes_scratch<decltype(s)>(n, columns);
      });
    },
    [](DType dtype, int64_t n, int64_t columns) {
      int64_t parts = 0;
      JAXINV_NAMESPACE::with_computed(dtype, [&](auto s) {
        parts = JAXINV_NAMESPACE::lu_solve_parts<decltype(s)>(n, columns);
      });
      return parts;
    },
    [](const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_widened(p, begin, end, scratch, [&](auto s, auto... rest) {
        JAXINV_NAMESPACE::inverse_lanes<decltype(s)>(rest...);
      });
    },
    [](const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_widened(p, begin, end, scratch, [&](auto s, auto... rest) {
        if (is_pos(p.structure)) {
          return JAXINV_NAMESPACE::inverse_triangle_lanes<true, decltype(s)>(rest...);
        }
        JAXINV_NAMESPACE::inverse_triangle_lanes<false, decltype(s)>(rest...);
      });
    },
    [](const InverseProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_widened(p, begin, end, scratch, [&](auto s, auto... rest) {
        JAXINV_NAMESPACE::inverse_columns<decltype(s)>(rest...);
      });
    },
    [](const TripleProductProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_storage(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::triple_product_lanes<decltype(s)>(p, begin, end, scratch);
      });
    },
    [](const TripleProductProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_storage(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::triple_product_rows<decltype(s)>(p, begin, end, scratch);
      });
    },
    [](const LuProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_computed(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::lu_lanes<decltype(s)>(p, begin, end, scratch);
      });
    },
    [](const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_computed(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::solve_lanes<decltype(s)>(p, begin, end, scratch);
      });
    },
    [](const SolveProblem& p, int64_t begin, int64_t end, void* scratch) {
      JAXINV_NAMESPACE::with_computed(p.dtype, [&](auto s) {
        if (is_pos(p.structure)) {
          return JAXINV_NAMESPACE::solve_triangle_lanes<true, decltype(s)>(p, begin, end, scratch);
        }
        JAXINV_NAMESPACE::solve_triangle_lanes<false, decltype(s)>(p, begin, end, scratch);
      });
    },
    [](const InverseProblem& p, int64_t index, void* scratch) {
      JAXINV_NAMESPACE::with_widened(
          p, index, index + 1, scratch,
          [&](auto s, const InverseProblem& q, int64_t begin, int64_t, void* rest) {
            JAXINV_NAMESPACE::inverse_triangle<decltype(s)>(q, begin, rest);
          });
    },
    [](const LuSolveProblem& p, int64_t index, int64_t part, void* scratch) {
      JAXINV_NAMESPACE::with_computed(p.dtype, [&](auto s) {
        if (is_triangular(p.structure)) {
          return JAXINV_NAMESPACE::triangle_solve<decltype(s)>(p, index, part, scratch);
        }
        JAXINV_NAMESPACE::lu_solve<decltype(s)>(p, index, part, scratch);
      });
    },
    [](const InverseProblem& p, int64_t index, void* scratch, const Team* team) {
      JAXINV_NAMESPACE::with_widened(
          p, index, index + 1, scratch,
          [&](auto s, const InverseProblem& q, int64_t begin, int64_t, void* rest) {
            JAXINV_NAMESPACE::inverse_positive<decltype(s)>(q, begin, rest, team);
          });
    },
    [](const InverseProblem& p, int64_t index, void* scratch, const Team* team) {
      JAXINV_NAMESPACE::with_storage(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::inverse_blocked<decltype(s)>(p, index, scratch, team);
      });
    },
    [](const LuProblem& p, int64_t index, void* scratch, const Team* team) {
      JAXINV_NAMESPACE::with_computed(p.dtype, [&](auto s) {
        JAXINV_NAMESPACE::lu_blocked<decltype(s)>(p, index, scratch, team);
      });
    },
};

}  // namespace jaxinv::cpu
