#include "metal/dispatch.h"

#include <algorithm>
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

// "lu_simdgroup" → "lu_simdgroup_float32"
std::string function_of(const char* family, DType dtype) {
  return std::string(family) + (dtype == DType::kC64 ? "_complex64" : "_float32");
}
// "inverse_thread", 3 → "inverse_thread_float32_3"
std::string function_of(const char* family, DType dtype, int64_t size) {
  return function_of(family, dtype) + "_" + std::to_string(size);
}

template <class Parameters>
std::vector<unsigned char> bytes_of(const Parameters& parameters) {
  const auto* first = reinterpret_cast<const unsigned char*>(&parameters);
  return {first, first + sizeof parameters};
}

// A run whose groups take several units of work in turn where there are more than kMostGroups.
Dispatch run_groups(std::string function, int64_t groups, int threads) {
  return {std::move(function), {}, {}, uint32_t(std::min(groups, kMostGroups)), uint32_t(threads)};
}
// Of simdgroups with `bytes` of threadgroup memory each, which have `at_once` problems at a time.
Dispatch run_simdgroups(std::string function, int64_t batch, int bytes, int at_once) {
  const int simdgroups = simdgroups_that_fit(bytes);
  return run_groups(std::move(function), parts(batch, int64_t(simdgroups) * at_once),
                    simdgroups * simdgroup_lanes());
}

// Of `units` systems, each with so many numbers of threadgroup memory.
Dispatch run_systems(const char* family, DType dtype, int n, int64_t units, int numbers) {
  const int simdgroups = system_simdgroups(n, numbers, arithmetic_bytes(dtype));
  return run_groups(function_of(family, dtype),
                    parts(units, int64_t(simdgroups) * systems_per_simdgroup(n)),
                    simdgroups * simdgroup_lanes());
}

[[noreturn]] void no_kernel(const char* op, int64_t n) {
  throw std::invalid_argument("no Metal kernel for the " + std::string(op) +
                              " at n = " + std::to_string(n));
}

std::vector<Binding> buffers_of(const InverseProblem& p) {
  const size_t count = p.batch, bytes = arithmetic_bytes(p.dtype);
  const size_t all = count * p.n * p.n * storage_bytes(p.dtype);
  return {{p.a, all, false},
          {p.x, all, true},
          {p.info, p.info ? count * 4 : 0, true},
          {p.mantissa, p.mantissa ? count * bytes : 0, true},
          {p.exponent, p.exponent ? count * 4 : 0, true}};
}

InverseParameters parameters_of(const InverseProblem& p) {
  return {p.batch,
          int32_t(p.n),
          storage_of(p.dtype),
          p.info != nullptr,
          p.mantissa != nullptr,
          is_pos(p.structure),
          is_upper(p.structure)};
}

// The layout of a matrix' scratch.
GridParameters grid_layout(const InverseProblem& p) {
  const int bytes = arithmetic_bytes(p.dtype);
  const int64_t chunks = parts(p.n, grid_chunk());
  GridParameters g{};
  g.inverse = parameters_of(p);
  g.stride = int32_t(grid_stride(p.n, bytes));
  int64_t end = bytes * p.n * g.stride;  // the matrix comes first
  auto place = [&end](int64_t size, int64_t count) {
    const int64_t at = end;
    end += (size * count + 15) / 16 * 16;
    return at;
  };
  g.factors = place(bytes, int64_t(grid_most_steps()) * g.stride);
  g.multiples = place(bytes, int64_t(grid_most_steps()) * g.stride);
  g.lower = place(bytes, grid_most_steps() * grid_most_steps());
  g.pivots = place(bytes, p.n);
  g.sizes = place(4, chunks);
  g.order = place(4, p.n);
  g.pivot_rows = place(4, p.n);
  g.finite = place(4, chunks);
  g.state = place(4, 3);
  g.bytes = end;
  return g;
}
static_assert(grid_chunk() == kGridChunk && grid_most_steps() == grid_steps(4) &&
                  grid_most_steps() == grid_steps(8),
              "inverse_grid_bytes has room for these");

// The runs of the grid range: their sequence depends on n alone.
class GridRuns {
 public:
  explicit GridRuns(const InverseProblem& p)
      : p_(p), g_(grid_layout(p)), type_(p.dtype == DType::kC64 ? "complex64" : "float32") {
    buffers_ = buffers_of(p);
    buffers_.push_back({p.scratch, size_t(p.batch * g_.bytes), true});
  }

  std::vector<Dispatch> all() {
    const int n = int(p_.n), bytes = arithmetic_bytes(p_.dtype);
    const int64_t chunks = parts(n, grid_chunk());
    add("load_grid_", chunks, grid_threads());
    add("scale_grid_", chunks, grid_threads());
    const int panel_threads = int(parts(n, simdgroup_lanes())) * simdgroup_lanes();
    for (int k = 0; k < n; k += grid_most_steps()) {
      const int count = std::min(grid_most_steps(), n - k);
      for (int first = 0; first < count; first += grid_width()) {
        const int last = std::min(first + grid_width(), count);
        set(k, first, last, 0, n, k + count);
        add("panel_grid_", 1, std::min(panel_threads, grid_panel_threads()));
        if (last == count) break;
        set(k, first, last, k + last, k + count, k);
        apply(bytes);
      }
      set(k, 0, count, 0, n, k + count);
      apply(bytes);
    }
    add("store_grid_", parts(n, grid_threads() / simdgroup_lanes()), grid_threads());
    return std::move(runs_);
  }

 private:
  void set(int k, int first, int last, int column, int column_end, int own_end) {
    g_.k = k;
    g_.first = first;
    g_.last = last;
    g_.column = column;
    g_.column_end = column_end;
    g_.own_end = own_end;
  }
  void add(const char* family, int64_t groups_per_matrix, int threads) {
    runs_.push_back({family + type_, buffers_, bytes_of(g_), uint32_t(p_.batch * groups_per_matrix),
                     uint32_t(threads)});
  }
  // The steps that are set, on their columns.
  void apply(int bytes) {
    const int columns = g_.column_end - g_.column;
    add("pivot_rows_grid_", parts(columns, grid_column_threads()), grid_column_threads());
    add("update_grid_", parts(p_.n, grid_tile_rows(bytes)) * parts(columns, grid_tile_columns()),
        grid_update_threads());
  }

  const InverseProblem& p_;
  GridParameters g_;
  const std::string type_;
  std::vector<Binding> buffers_;
  std::vector<Dispatch> runs_;
};

}  // namespace

std::vector<Dispatch> dispatches(const InverseProblem& p) {
  return dispatches(p, algorithm(Backend::kMetal, Op::kInverse, p.n, p.dtype, p.structure));
}

std::vector<Dispatch> dispatches(const InverseProblem& p, Algorithm algorithm) {
  if (p.batch == 0 || p.n == 0) return {};
  const int n = int(p.n), bytes = arithmetic_bytes(p.dtype), size = simdgroup_size(n);
  Dispatch run;
  if (p.structure != Structure::kGeneral) {
    if (algorithm != Algorithm::kSimdgroup) no_kernel("inverse", p.n);
    run = run_systems("triangle_simdgroup", p.dtype, n, p.batch, system_numbers(n));
    run.buffers = buffers_of(p);
    run.parameters = bytes_of(parameters_of(p));
    return {run};
  }
  switch (algorithm) {
    case Algorithm::kThread:
      run = run_simdgroups(function_of("inverse_thread", p.dtype, n), p.batch,
                           inverse_thread_bytes(n, bytes), simdgroup_lanes());
      break;
    case Algorithm::kSimdgroup:
      run = run_simdgroups(function_of("inverse_simdgroup", p.dtype, size), p.batch,
                           tile_numbers(size) * bytes, matrices_per_simdgroup(size));
      break;
    case Algorithm::kThreadgroup: {
      const int most = n <= 48 ? 48 : inverse_threadgroup_max(p.dtype);
      run = run_groups(function_of("inverse_threadgroup", p.dtype, most), p.batch,
                       threadgroup_threads());
      break;
    }
    case Algorithm::kGrid:
      return GridRuns(p).all();
    default:
      no_kernel("inverse", p.n);
  }
  run.buffers = buffers_of(p);
  run.parameters = bytes_of(parameters_of(p));
  return {run};
}

std::vector<Dispatch> dispatches(const TripleProductProblem& p) {
  if (p.batch == 0 || p.n == 0) return {};
  const int n = int(p.n), bytes = arithmetic_bytes(p.dtype), size = simdgroup_size(n);
  Dispatch run;
  switch (algorithm(Backend::kMetal, Op::kTripleProduct, p.n, p.dtype, Structure::kGeneral)) {
    case Algorithm::kThread:
      run = run_simdgroups(function_of("triple_product_thread", p.dtype, n), p.batch,
                           3 * inverse_thread_bytes(n, bytes), simdgroup_lanes());
      break;
    case Algorithm::kSimdgroup:
      run = run_simdgroups(function_of("triple_product_simdgroup", p.dtype, size), p.batch,
                           3 * tile_numbers(size) * bytes, matrices_per_simdgroup(size));
      break;
    default:
      no_kernel("triple product", p.n);
  }
  const size_t all = size_t(p.batch) * p.n * p.n * storage_bytes(p.dtype);
  run.buffers = {{p.l, all, false}, {p.g, all, false}, {p.r, all, false}, {p.y, all, true}};
  run.parameters = bytes_of(TripleProductParameters{p.batch, n, storage_of(p.dtype), p.transpose_l,
                                                    p.transpose_g, p.transpose_r, p.l == p.r});
  return {run};
}

std::vector<Dispatch> dispatches(const LuProblem& p) {
  if (p.batch == 0 || p.n == 0) return {};
  const Op op = p.lu ? Op::kLuFactor : Op::kDeterminant;
  if (algorithm(Backend::kMetal, op, p.n, p.dtype, p.structure) != Algorithm::kSimdgroup) {
    no_kernel("LU factorisation", p.n);
  }
  const int n = int(p.n);
  const size_t count = p.batch, bytes = arithmetic_bytes(p.dtype), all = count * n * n * bytes;
  Dispatch run = run_systems("lu_simdgroup", p.dtype, n, p.batch, system_numbers(n));
  run.buffers = {{p.a, all, false},
                 {p.lu, p.lu ? all : 0, true},
                 {p.permutation, p.lu ? count * n * 4 : 0, true},
                 {p.info, p.info ? count * 4 : 0, true},
                 {p.mantissa, p.mantissa ? count * bytes : 0, true},
                 {p.exponent, p.exponent ? count * 4 : 0, true}};
  run.parameters = bytes_of(LuParameters{p.batch, n, storage_of(p.dtype), is_pos(p.structure),
                                         is_upper(p.structure), p.lu != nullptr, p.info != nullptr,
                                         p.mantissa != nullptr});
  return {run};
}

std::vector<Dispatch> dispatches(const LuSolveProblem& p) {
  if (p.batch == 0 || p.n == 0 || p.columns == 0) return {};
  if (algorithm(Backend::kMetal, Op::kLuSolve, p.n, p.dtype, p.structure) !=
      Algorithm::kSimdgroup) {
    no_kernel("solution by factors", p.n);
  }
  const int n = int(p.n);
  const int64_t turns = parts(p.columns, system_columns());
  const size_t rows = p.batch * n, bytes = arithmetic_bytes(p.dtype);
  Dispatch run =
      run_systems("lu_solve_simdgroup", p.dtype, n, p.batch * turns, system_numbers(n, p.columns));
  run.buffers = {{p.lu, rows * n * bytes, false},
                 {p.permutation, rows * 4, false},
                 {p.b, rows * p.columns * bytes, false},
                 {p.x, rows * p.columns * bytes, true}};
  run.parameters = bytes_of(SolveParameters{p.batch, turns, p.columns, n, storage_of(p.dtype),
                                            false, false, false, p.transpose, false});
  return {run};
}

std::vector<Dispatch> dispatches(const SolveProblem& p) {
  if (p.batch == 0 || p.n == 0 || p.columns == 0) return {};
  if (algorithm(Backend::kMetal, Op::kSolve, p.n, p.dtype, p.structure) != Algorithm::kSimdgroup) {
    no_kernel("solution", p.n);
  }
  const int n = int(p.n);
  const int64_t turns = parts(p.columns, system_columns());
  const size_t rows = p.batch * n, bytes = arithmetic_bytes(p.dtype);
  Dispatch run =
      run_systems("solve_simdgroup", p.dtype, n, p.batch * turns, system_numbers(n, p.columns));
  run.buffers = {{p.a, rows * n * bytes, false},
                 {p.b, rows * p.columns * bytes, false},
                 {p.x, rows * p.columns * bytes, true},
                 {p.info, p.info ? size_t(p.batch) * 4 : 0, true}};
  run.parameters = bytes_of(SolveParameters{p.batch, turns, p.columns, n, storage_of(p.dtype),
                                            is_pos(p.structure), is_triangular(p.structure),
                                            is_upper(p.structure), p.transpose, p.info != nullptr});
  return {run};
}

}  // namespace jaxinv::metal
