// The CPU kernels apart from JAX, for a build with sanitisers: every dtype over the ranges of both
// algorithms, buffers of exactly the size that is needed, at every alignment an element can have.
#include <random>

#include "core/small_inverse.h"
#include "tests/cpp/testing.h"

namespace jaxinv {
namespace {

enum class Kernel { kLanes, kColumns, kBlocked };
constexpr const char* kKernelNames[] = {"lanes", "columns", "blocked"};

void invert(const InverseProblem& p, Kernel kernel, const cpu::Team* team = nullptr) {
  const cpu::KernelSet& set = cpu::JAXINV_KERNEL_SET;
  switch (kernel) {
    case Kernel::kLanes: {
      Scratch scratch(set.inverse_lanes_scratch(p.dtype, p.n));
      return set.inverse_lanes(p, 0, p.batch, scratch.memory.get());
    }
    case Kernel::kColumns: {
      Scratch scratch(set.inverse_columns_scratch(p.dtype, p.n));
      return set.inverse_columns(p, 0, p.batch, scratch.memory.get());
    }
    case Kernel::kBlocked: {
      Scratch scratch(set.inverse_blocked_scratch(p.dtype, p.n));
      for (int64_t i = 0; i < p.batch; ++i) set.inverse_blocked(p, i, scratch.memory.get(), team);
    }
  }
}

// A batch with a singular matrix (a zero column) in its middle and, after it, one with a NaN.
void test_inverse(const Type& type, int64_t n, int64_t batch, Kernel kernel, int offset,
                  std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const int64_t singular = batch > 2 ? batch / 2 : -1, poisoned = batch > 2 ? batch / 2 + 1 : -1;
  Buffer a(type, batch * n * n, offset), x(type, batch * n * n, offset), again(type, n * n, 0);
  const Type& det_type = type.bytes == 2 ? kTypes[2] : type;
  Buffer mantissa(det_type, batch, 0);
  std::vector<int32_t> info(batch, -1), exponent(batch, -1);
  for (int64_t i = 0; i < batch * n * n; ++i) a.set(i, {normal(random), normal(random)});
  if (singular >= 0) {
    for (int64_t i = 0; i < n; ++i) a.set((singular * n + i) * n + n - 1, 0);
    a.set(poisoned * n * n, std::nan(""));
  }
  InverseProblem p{type.dtype,      Structure::kGeneral, n, batch, a.data(), x.data(), info.data(),
                   mantissa.data(), exponent.data()};
  invert(p, kernel);
  for (int64_t index = 0; index < batch; ++index) {
    // Alone, and by a small and a large team in another order: the same bits.
    const size_t bytes = n * n * type.bytes;
    int32_t same = -1;
    InverseProblem alone = p;
    alone.batch = 1;
    alone.a = static_cast<char*>(a.data()) + index * bytes;
    alone.x = again.data();
    alone.info = &same;
    alone.mantissa = nullptr;
    alone.exponent = nullptr;
    for (int64_t threads : {0, 1 << 20}) {
      const cpu::Team team{nullptr, run_backwards, threads};
      invert(alone, kernel, &team);
      EXPECT(same == info[index], "%s n=%ld: info %d alone", type.name, long(n), same);
      EXPECT(!memcmp(again.data(), static_cast<char*>(x.data()) + index * bytes, bytes),
             "%s n=%ld batch=%ld: bits differ alone", type.name, long(n), long(batch));
      if (kernel != Kernel::kBlocked) break;
    }
    Matrix in = matrix_of(a, index, n), out = matrix_of(x, index, n);
    if (index == singular || index == poisoned) {
      int expected = index == singular ? int(n) : 1;
      EXPECT(info[index] == expected, "%s n=%ld: info %d", type.name, long(n), info[index]);
      EXPECT(std::isnan(out[0].real()) && std::isnan(out[n * n - 1].real()), "%s n=%ld", type.name,
             long(n));
      bool zero = mantissa.get(index) == Wide(0);
      EXPECT(zero == (index == singular), "%s n=%ld: determinant", type.name, long(n));
      continue;
    }
    EXPECT(info[index] == 0, "%s n=%ld: info %d", type.name, long(n), info[index]);
    long double left = residual(out, in, n, type.epsilon);
    long double right = residual(in, out, n, type.epsilon);
    EXPECT(std::max(left, right) <= 30, "%s n=%ld batch=%ld %s: residuals %Lg %Lg", type.name,
           long(n), long(batch), kKernelNames[int(kernel)], left, right);
  }
}

void test_triple_product(const Type& type, int64_t n, int64_t batch, int flags, int offset,
                         std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  Buffer l(type, batch * n * n, offset), g(type, batch * n * n, offset),
      y(type, batch * n * n, offset);
  const bool shared = flags & 8;  // l and r one buffer, as in the derivative of the inverse
  Buffer other(type, shared ? 1 : batch * n * n, 0);
  const Buffer& r = shared ? l : other;
  for (int64_t i = 0; i < batch * n * n; ++i) {
    l.set(i, {normal(random), normal(random)});
    g.set(i, {normal(random), normal(random)});
    if (!shared) other.set(i, {normal(random), normal(random)});
  }
  const bool tl = flags & 1, tg = flags & 2, tr = flags & 4;
  TripleProductProblem p{type.dtype, tl, tg, tr, n, batch, l.data(), g.data(), r.data(), y.data()};
  const cpu::KernelSet& set = cpu::JAXINV_KERNEL_SET;
  const bool lanes = triple_product_in_lanes(n, type.dtype);
  Scratch scratch(
      (lanes ? set.triple_product_lanes_scratch : set.triple_product_rows_scratch)(p.dtype, n));
  const auto run = lanes ? set.triple_product_lanes : set.triple_product_rows;
  // Two tasks, the second one first: what a task writes behind its last matrix would stay.
  run(p, batch / 2, batch, scratch.memory.get());
  run(p, 0, batch / 2, scratch.memory.get());
  for (int64_t index = 0; index < batch; ++index) {
    Matrix a = transpose_if(tl, matrix_of(l, index, n), n);
    Matrix b = transpose_if(tg, matrix_of(g, index, n), n);
    Matrix c = transpose_if(tr, matrix_of(r, index, n), n);
    Matrix expected = multiply(a, multiply(b, c, n), n), out = matrix_of(y, index, n);
    for (int64_t i = 0; i < n * n; ++i) out[i] += expected[i];
    long double scale = n * type.epsilon * norm(a, n) * norm(b, n) * norm(c, n);
    EXPECT(norm(out, n) <= 8 * scale, "%s n=%ld flags=%d", type.name, long(n), flags);
  }
}

// The shared body on plain scalars: what a GPU thread runs.
template <int N, class T>
void test_scalar_body(std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 50; ++trial) {
    T a[2][N][N], b[1][N][N], pivots[2][N], pivot[1][N];
    typename kernels::Types<T>::Index swaps[2][N], swap[1][N], info[2], infos[1];
    for (T& x : reinterpret_cast<T(&)[2 * N * N]>(a)) x = T(normal(random));
    memcpy(b, a[1], sizeof b);
    Matrix in(N * N), out(N * N);
    for (int i = 0; i < N * N; ++i) in[i] = b[0][i / N][i % N];
    kernels::small_inverse<N, kernels::Pivots::kUsual>(a, pivots, swaps, info);
    kernels::small_inverse<N, kernels::Pivots::kGuarded>(b, pivot, swap, infos);
    long double epsilon = sizeof(T) == 4 ? 0x1p-24L : 0x1p-53L;
    for (auto& x : {a[1], b[0]}) {
      for (int i = 0; i < N * N; ++i) out[i] = x[i / N][i % N];
      EXPECT(residual(in, out, N, epsilon) <= 30, "scalar body n=%d", N);
    }
    EXPECT(info[1] == 0 && infos[0] == 0, "scalar body n=%d", N);
  }
}

// Every bit pattern there and back, and every float around the midpoints of the half types.
void test_half() {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    kernels::Float16 h{uint16_t(bits)}, back;
    kernels::BFloat16 b{uint16_t(bits)}, brain;
    float value = kernels::to_float(h), wide = kernels::to_float(b);
    kernels::from_float(value, back);
    kernels::from_float(wide, brain);
    EXPECT(back.bits == h.bits || (value != value && (back.bits & 0x7c00) == 0x7c00), "%x", bits);
    EXPECT(brain.bits == b.bits || wide != wide, "%x", bits);
    uint32_t exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    float expected = exponent == 31 ? (mantissa ? NAN : INFINITY)
                     : exponent     ? std::ldexp(1024.f + mantissa, int(exponent) - 25)
                                    : std::ldexp(float(mantissa), -24);
    if (bits & 0x8000) expected = -expected;
    EXPECT(value == expected || (value != value && expected != expected), "%x", bits);
    if (exponent < 30) {  // half way to the next: to even; a hair beside it: to the nearer
      kernels::Float16 next{uint16_t(bits + 1)}, rounded;
      float middle = (value + kernels::to_float(next)) / 2;
      kernels::from_float(middle, rounded);
      EXPECT(rounded.bits == (bits & 1 ? bits + 1 : bits), "%x", bits);
      kernels::from_float(std::nextafter(middle, value), rounded);
      EXPECT(rounded.bits == bits, "%x", bits);
    }
  }
}

int run() {
  std::mt19937_64 random(7);
  for (const Type& type : kTypes) {
    for (int64_t n : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 15, 16, 17, 19, 20, 21, 23, 24, 26, 32}) {
      for (int64_t batch : {1, 3, 4, 8, 19}) {
        const int offset = int(batch + n) % 3;
        const bool lanes = n <= inverse_lanes_max(type.dtype);
        test_inverse(type, n, batch, lanes ? Kernel::kLanes : Kernel::kColumns, offset, random);
        test_triple_product(type, n, batch, int(batch + 3 * n) % 16, int(n) % 3, random);
      }
    }
    for (int64_t n : {33, 64, 95, 128}) {
      test_inverse(type, n, 3, Kernel::kColumns, int(n) % 3, random);
    }
    for (int64_t n : {33, 63, 100}) {
      for (int flags : {0, 10, 15}) test_triple_product(type, n, 1 + n % 2, flags, 1, random);
    }
    for (int flags = 0; flags < 16; ++flags) {
      for (int64_t n : {6, 10, 20}) test_triple_product(type, n, 5, flags, 1, random);
    }
    for (int64_t n : {1, 2, 5, 16, 33, 40, 64, 65, 97}) {
      test_inverse(type, n, 3, Kernel::kBlocked, int(n) % 3, random);
    }
  }
  // By blocks of several panels: JAXINV_BLOCKS_FROM.
  for (const Type& type : {kTypes[2], kTypes[5]}) {
    test_inverse(type, 141, 1, Kernel::kBlocked, 1, random);
  }
  test_scalar_body<1, double>(random);
  test_scalar_body<3, float>(random);
  test_scalar_body<4, double>(random);
  test_scalar_body<8, double>(random);
  test_half();
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv

int main() { return jaxinv::run(); }
