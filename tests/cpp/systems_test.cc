// The CPU kernels of LU, its solutions and fused systems apart from JAX: every dtype over the ranges of the
// algorithms, buffers of exactly the size that is needed, at every alignment an element can have.
#include <cmath>
#include <cstring>
#include <random>

#include "core/small_lu.h"
#include "tests/cpp/testing.h"

namespace jaxinv {
namespace {

const cpu::KernelSet& kSet = cpu::JAXINV_KERNEL_SET;

void factor(const LuProblem& p, bool lanes, const cpu::Team* team = nullptr) {
  Scratch scratch(lanes ? kSet.lu_lanes_scratch(p.dtype, p.n)
                        : kSet.lu_blocked_scratch(p.dtype, p.n));
  if (lanes) return kSet.lu_lanes(p, 0, p.batch, scratch.memory.get());
  for (int64_t i = 0; i < p.batch; ++i) kSet.lu_blocked(p, i, scratch.memory.get(), team);
}

// Runs the parts backwards: they must not depend on their order.
void solve_by_factors(const LuSolveProblem& p) {
  Scratch scratch(kSet.lu_solve_scratch(p.dtype, p.n, p.columns));
  for (int64_t i = 0; i < p.batch; ++i) {
    for (int64_t part = kSet.lu_solve_parts(p.dtype, p.n, p.columns); part-- > 0;) {
      kSet.lu_solve(p, i, part, scratch.memory.get());
    }
  }
}

void solve_fused(const SolveProblem& p) {
  Scratch scratch(kSet.solve_lanes_scratch(p.dtype, p.n, p.columns));
  kSet.solve_lanes(p, 0, p.batch, scratch.memory.get());
}

// |b − op(a) x| in units of n ε (|a| |x| + |b|), the worst right-hand side, in 1-norms.
long double backward_error(const Buffer& a, const Buffer& b, const Buffer& x, int64_t index,
                           int64_t n, int64_t columns, bool transpose, long double epsilon) {
  long double worst = 0, size = 0;
  auto entry = [&](int64_t i, int64_t j) {
    return a.get((index * n + (transpose ? j : i)) * n + (transpose ? i : j));
  };
  for (int64_t j = 0; j < n; ++j) {
    long double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += std::abs(entry(i, j));
    size = std::max(size, sum);
  }
  for (int64_t c = 0; c < columns; ++c) {
    long double rest = 0, x_size = 0, b_size = 0;
    for (int64_t i = 0; i < n; ++i) {
      Wide r = b.get((index * n + i) * columns + c);
      b_size += std::abs(r);
      for (int64_t j = 0; j < n; ++j) r -= entry(i, j) * x.get((index * n + j) * columns + c);
      x_size += std::abs(x.get((index * n + i) * columns + c));
      rest += std::abs(r);
    }
    long double error = rest / (n * epsilon * (size * x_size + b_size));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

// A batch with a singular matrix (a zero column) in its middle and, after it, one with a NaN. Where n allows,
// by every kernel: all give the same bits.
void test_systems(const Type& type, int64_t n, int64_t columns, int64_t batch, bool transpose,
                  int offset, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const bool small = n <= kLuLanesMax, fused = small && columns <= kLuLanesMax;
  const int64_t singular = batch > 2 ? batch / 2 : -1, poisoned = batch > 2 ? batch / 2 + 1 : -1;
  Buffer a(type, batch * n * n, offset), lu(type, batch * n * n, offset);
  Buffer other(type, batch * n * n, 0), mantissa(type, batch, 0);
  Buffer b(type, batch * n * columns, offset), x(type, batch * n * columns, offset);
  Buffer again(type, batch * n * columns, 0);
  std::vector<int32_t> rows(batch * n, -1), order(batch * n, -1), info(batch, -1), exponent(batch);
  for (int64_t i = 0; i < batch * n * n; ++i) a.set(i, {normal(random), normal(random)});
  for (int64_t i = 0; i < batch * n * columns; ++i) b.set(i, {normal(random), normal(random)});
  // Ties of the pivot search.
  for (int64_t i = 0; i < n; ++i) a.set(i * n, i % 2 ? 1 : -1);
  if (singular >= 0) {
    for (int64_t i = 0; i < n; ++i) a.set((singular * n + i) * n + n - 1, 0);
    a.set(poisoned * n * n, std::nan(""));
  }
  const LuProblem p{type.dtype, Structure::kGeneral, n,           batch,   a.data(),
                    lu.data(),  rows.data(),         info.data(), nullptr, nullptr};
  factor(p, small);
  const LuSolveProblem s{type.dtype, transpose,   n,        columns, batch,
                         lu.data(),  rows.data(), b.data(), x.data()};
  solve_by_factors(s);
  const size_t matrix = n * n * type.bytes, right = n * columns * type.bytes;
  auto at = [](const Buffer& buffer, size_t bytes) {
    return static_cast<char*>(buffer.data()) + bytes;
  };
  for (int64_t index = 0; index < batch; ++index) {
    if (index == singular || index == poisoned) {
      const int expected = index == singular ? int(n) : 1;
      EXPECT(info[index] == expected, "%s n=%ld: info %d", type.name, long(n), info[index]);
      for (int64_t i = 0; i < n * columns; ++i) {
        EXPECT(std::isnan(x.get(index * n * columns + i).real()), "%s n=%ld", type.name, long(n));
      }
      continue;
    }
    EXPECT(info[index] == 0, "%s n=%ld: info %d", type.name, long(n), info[index]);
    long double error = backward_error(a, b, x, index, n, columns, transpose, type.epsilon);
    EXPECT(error <= 30, "%s n=%ld columns=%ld: %Lg", type.name, long(n), long(columns), error);
  }
  // By blocks, by a team in another order.
  const cpu::Team team{nullptr, run_backwards, 2};
  LuProblem q = p;
  q.lu = other.data();
  q.permutation = order.data();
  q.info = nullptr;
  factor(q, false, &team);
  EXPECT(rows == order || singular >= 0, "%s n=%ld: rows differ", type.name, long(n));
  for (int64_t index = 0; index < batch; ++index) {
    if (index == singular || index == poisoned) continue;
    EXPECT(!memcmp(at(lu, index * matrix), at(other, index * matrix), matrix),
           "%s n=%ld: factors differ", type.name, long(n));
  }
  if (fused) {
    std::vector<int32_t> same(batch, -1);
    solve_fused({type.dtype, Structure::kGeneral, transpose, n, columns, batch, a.data(), b.data(),
                 again.data(), same.data()});
    for (int64_t index = 0; index < batch && !transpose; ++index) {
      EXPECT(same[index] == info[index], "%s n=%ld: info %d", type.name, long(n), same[index]);
      if (info[index]) continue;
      EXPECT(!memcmp(at(x, index * right), at(again, index * right), right),
             "%s n=%ld columns=%ld: fused differs", type.name, long(n), long(columns));
    }
    // The transposed matrix has pivots of its own: another factorisation, not other bits of this one.
    for (int64_t index = 0; index < batch && transpose; ++index) {
      if (index == singular || index == poisoned) continue;
      long double error = backward_error(a, b, again, index, n, columns, true, type.epsilon);
      EXPECT(error <= 30, "%s n=%ld: fused %Lg", type.name, long(n), error);
    }
  }
  // The determinant of the same factorisation: its magnitude from the diagonal of U.
  for (bool lanes : {false, true}) {
    if (lanes && !small) continue;
    factor({type.dtype, Structure::kGeneral, n, batch, a.data(), nullptr, nullptr, nullptr,
            mantissa.data(), exponent.data()},
           lanes);
    for (int64_t index = 0; index < batch; ++index) {
      const Wide value = mantissa.get(index);
      if (index == singular) EXPECT(value == Wide(0), "%s n=%ld", type.name, long(n));
      if (index == poisoned) EXPECT(std::isnan(value.real()), "%s n=%ld", type.name, long(n));
      if (index == singular || index == poisoned) continue;
      long double logarithm = std::log(std::abs(value)) + exponent[index] * std::log(2.0L);
      for (int64_t k = 0; k < n; ++k) {
        logarithm -= std::log(std::abs(lu.get((index * n + k) * n + k)));
      }
      EXPECT(std::abs(logarithm) <= 8 * n * type.epsilon, "%s n=%ld: determinant %Lg", type.name,
             long(n), logarithm);
    }
  }
}

// The shared body on plain scalars: what a GPU thread runs.
template <int N, class T>
void test_scalar_body(std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const long double epsilon = sizeof(T) == 4 ? 0x1p-24L : 0x1p-53L;
  for (int trial = 0; trial < 50; ++trial) {
    kernels::SmallLu<N, T> lu;
    T a[N][N], b[N], x[N];
    for (T& v : reinterpret_cast<T(&)[N * N]>(a)) v = T(normal(random));
    for (int i = 0; i < N; ++i) b[i] = x[i] = T(normal(random));
    memcpy(lu.a, a, sizeof a);
    kernels::small_lu(lu);
    kernels::small_lu_solve(lu, x);
    EXPECT(lu.info == 0, "scalar body n=%d", N);
    for (int i = 0; i < N; ++i) {
      long double rest = b[i], size = std::abs(b[i]);
      for (int j = 0; j < N; ++j) {
        rest -= static_cast<long double>(a[i][j]) * x[j];
        size += std::abs(static_cast<long double>(a[i][j]) * x[j]);
      }
      EXPECT(std::abs(rest) <= 30 * N * N * epsilon * size, "scalar body n=%d", N);
    }
  }
}

int run() {
  std::mt19937_64 random(11);
  for (const Type& type : kTypes) {
    if (type.bytes == 2) continue;  // computed in float32
    int offset = 0;
    for (int64_t n : {1, 2, 3, 4, 5, 7, 8, 11, 16}) {
      for (int64_t columns : {1, 2, 3, 8, 16, 19}) {
        for (int64_t batch : {1, 5, 19}) {
          test_systems(type, n, columns, batch, (n + columns + batch) % 2, offset++ % 3, random);
        }
      }
    }
    for (int64_t n : {17, 33, 40, 64, 67, 97}) {
      for (int64_t columns : {1, 5, 40}) {
        test_systems(type, n, columns, 3, false, offset++ % 3, random);
        test_systems(type, n, columns, 1, true, offset++ % 3, random);
      }
    }
    test_systems(type, 3, 30000, 3, false, 1, random);  // several parts
    test_systems(type, 130, 600, 1, true, 1, random);
  }
  test_scalar_body<1, double>(random);
  test_scalar_body<3, float>(random);
  test_scalar_body<4, double>(random);
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv

int main() { return jaxinv::run(); }
