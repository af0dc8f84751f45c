// The CPU kernels of triangles and positive definite matrices apart from JAX: NaN in what must not be read, buffers of
// exactly the size that is needed, both kernels of each operation where n allows them.
#include <cmath>
#include <cstring>
#include <random>

#include "tests/cpp/testing.h"

namespace jaxinv {
namespace {

const cpu::KernelSet& kSet = cpu::JAXINV_KERNEL_SET;
constexpr Structure kStructures[] = {Structure::kPosUpper, Structure::kPosLower, Structure::kUpper,
                                     Structure::kLower};

void invert(const InverseProblem& p, bool lanes) {
  if (lanes) {
    Scratch scratch(kSet.inverse_triangle_lanes_scratch(p.dtype, p.n));
    return kSet.inverse_triangle_lanes(p, 0, p.batch, scratch.memory.get());
  }
  const bool pos = is_pos(p.structure);
  Scratch scratch(pos ? kSet.inverse_positive_scratch(p.dtype, p.n)
                      : kSet.inverse_triangle_scratch(p.dtype, p.n));
  const cpu::Team team{nullptr, run_backwards, 2};
  for (int64_t i = p.batch; i-- > 0;) {
    pos ? kSet.inverse_positive(p, i, scratch.memory.get(), i % 2 ? &team : nullptr)
        : kSet.inverse_triangle(p, i, scratch.memory.get());
  }
}

// What every result says of one failed matrix: `value` is its determinant's mantissa.
void expect_failed(const Type& type, int64_t n, int got, int expected, const Buffer& x,
                   int64_t index, Wide mantissa, bool zero) {
  EXPECT(got == expected, "%s n=%ld: info %d, not %d", type.name, long(n), got, expected);
  for (int64_t i = 0; i < n * n; ++i) {
    EXPECT(std::isnan(x.get(index * n * n + i).real()), "%s n=%ld", type.name, long(n));
  }
  EXPECT(zero ? mantissa == Wide(0) : std::isnan(mantissa.real()), "%s n=%ld", type.name, long(n));
}

// A batch with, in its middle, a matrix with a zero pivot at the end and one with a NaN on the diagonal.
void test_structure(const Type& type, Structure structure, int64_t n, int64_t columns,
                    int64_t batch, int offset, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const bool pos = is_pos(structure), half = type.bytes == 2;
  const bool complex = type.dtype == DType::kC64 || type.dtype == DType::kC128;
  const int64_t singular = batch > 2 ? batch / 2 : -1, poisoned = batch > 2 ? batch / 2 + 1 : -1;
  Buffer a(type, batch * n * n, offset), x(type, batch * n * n, offset);
  Buffer mantissa(half ? kTypes[2] : type, batch, 0);
  std::vector<int32_t> info(batch, -1), exponent(batch);
  for (int64_t m = 0; m < batch; ++m) {
    Matrix g(n * n);
    for (Wide& e : g) e = {normal(random), complex ? normal(random) : 0};
    if (pos) {
      Matrix adjoint(n * n);
      for (int64_t i = 0; i < n * n; ++i) adjoint[i] = std::conj(g[i % n * n + i / n]);
      g = multiply(g, adjoint, n);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        Wide e = g[i * n + j] / static_cast<long double>(n) + (i == j ? 2.0L : 0.0L);
        if (!is_read(structure, i, j)) e = {std::nan(""), std::nan("")};
        if (pos && i == j) e = {e.real(), std::nan("")};
        if (m == singular && i != j && is_read(structure, i, j)) e = 0;
        if (m == singular && i == j) e = {i == n - 1 ? 0.0 : 1.0, pos ? std::nan("") : 0};
        a.set((m * n + i) * n + j, e);
      }
    }
    if (m == poisoned) a.set((m * n + n / 2) * n + n / 2, {std::nan(""), 0});
  }
  for (bool lanes : {false, true}) {
    if (lanes && n > triangle_lanes_max(type.dtype)) continue;
    invert({type.dtype, structure, n, batch, a.data(), x.data(), info.data(), mantissa.data(),
            exponent.data()},
           lanes);
    for (int64_t m = 0; m < batch; ++m) {
      if (m == singular || m == poisoned) {
        const int expected = m == singular ? int(n) : int(n / 2 + 1);
        expect_failed(type, n, info[m], expected, x, m, mantissa.get(m), m == singular);
        continue;
      }
      EXPECT(info[m] == 0, "%s n=%ld: info %d", type.name, long(n), info[m]);
      const Matrix full = full_matrix(a, structure, m, n), inverse = matrix_of(x, m, n);
      const long double left = residual(inverse, full, n, type.epsilon);
      const long double right = residual(full, inverse, n, type.epsilon);
      EXPECT(left <= 30 && right <= 30, "%s n=%ld: %Lg, %Lg", type.name, long(n), left, right);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          if (is_read(structure, i, j)) continue;
          const Wide other = pos ? std::conj(inverse[j * n + i]) : Wide(0);
          EXPECT(inverse[i * n + j] == other, "%s n=%ld", type.name, long(n));
        }
      }
      // The determinant of the inverse is checked by that of the triangle: both are products of pivots.
      if (pos) continue;
      long double logarithm = std::log(std::abs(mantissa.get(m))) + exponent[m] * std::log(2.0L);
      for (int64_t k = 0; k < n; ++k) logarithm -= std::log(std::abs(full[k * (n + 1)]));
      EXPECT(std::abs(logarithm) <= 8 * n * 0x1p-24, "%s n=%ld: %Lg", type.name, long(n),
             logarithm);
    }
  }
  if (half) return;
  // Systems: in lanes and, of triangles, by blocks with the same bits; of positive matrices by factors.
  const bool small = n <= kLuLanesMax && columns <= kLuLanesMax;
  Buffer b(type, batch * n * columns, offset), y(type, batch * n * columns, offset);
  Buffer again(type, batch * n * columns, 0), factors(type, batch * n * n, 0);
  std::vector<int32_t> same(batch, -1), rows(batch * n, -1);
  for (int64_t i = 0; i < batch * n * columns; ++i) b.set(i, {normal(random), normal(random)});
  for (bool transpose : {false, true}) {
    LuSolveProblem blocked{type.dtype, transpose, n,        columns,   batch,      a.data(),
                           nullptr,    b.data(),  y.data(), structure, info.data()};
    if (pos) {
      Scratch scratch(kSet.lu_blocked_scratch(type.dtype, n));
      for (int64_t m = 0; m < batch; ++m) {
        kSet.lu_blocked({type.dtype, structure, n, batch, a.data(), factors.data(), rows.data(),
                         info.data(), mantissa.data(), exponent.data()},
                        m, scratch.memory.get(), nullptr);
      }
      blocked.lu = factors.data();
      blocked.permutation = rows.data();
      blocked.structure = Structure::kGeneral;
    }
    Scratch scratch(kSet.lu_solve_scratch(type.dtype, n, columns));
    for (int64_t m = 0; m < batch; ++m) {
      for (int64_t part = kSet.lu_solve_parts(type.dtype, n, columns); part-- > 0;) {
        kSet.lu_solve(blocked, m, part, scratch.memory.get());
      }
    }
    if (small) {
      Scratch lanes(kSet.solve_triangle_lanes_scratch(type.dtype, n, columns));
      kSet.solve_triangle_lanes({type.dtype, structure, transpose, n, columns, batch, a.data(),
                                 b.data(), again.data(), same.data()},
                                0, batch, lanes.memory.get());
    }
    for (int64_t m = 0; m < batch; ++m) {
      const bool failed = m == singular || m == poisoned;
      EXPECT((info[m] != 0) == failed, "%s n=%ld: info %d", type.name, long(n), info[m]);
      if (small) EXPECT(same[m] == info[m], "%s n=%ld: info %d", type.name, long(n), same[m]);
      if (failed) {
        EXPECT(std::isnan(y.get(m * n * columns).real()), "%s n=%ld", type.name, long(n));
        continue;
      }
      const Matrix full = full_matrix(a, structure, m, n);
      auto error = [&](const Buffer& solution) {
        return backward_error(full, b, solution, m, n, columns, transpose, type.epsilon);
      };
      EXPECT(error(y) <= 30, "%s n=%ld columns=%ld: %Lg", type.name, long(n), long(columns),
             error(y));
      if (!small) continue;
      EXPECT(error(again) <= 30, "%s n=%ld: lanes %Lg", type.name, long(n), error(again));
      const size_t bytes = n * columns * type.bytes;
      const bool equal = !memcmp(static_cast<char*>(y.data()) + m * bytes,
                                 static_cast<char*>(again.data()) + m * bytes, bytes);
      EXPECT(equal || pos, "%s n=%ld columns=%ld: bits differ", type.name, long(n), long(columns));
    }
  }
}

int run() {
  std::mt19937_64 random(13);
  for (const Type& type : kTypes) {
    int offset = 0;
    for (Structure structure : kStructures) {
      for (int64_t n : {1, 2, 3, 4, 5, 7, 8, 11, 16}) {
        for (int64_t batch : {1, 19}) {
          test_structure(type, structure, n, 1 + (n + batch) % 5, batch, offset++ % 3, random);
        }
      }
      test_structure(type, structure, 5, 20, 3, 1, random);
      for (int64_t n : {17, 32, 33, 64, 67}) {
        test_structure(type, structure, n, 5, 3, offset++ % 3, random);
      }
    }
  }
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv

int main() { return jaxinv::run(); }
