// The CUDA kernels on the SIMT emulator (or on a GPU, tests/cpp/gpu), by way of the launcher that ships: every
// n and dtype of the thread and warp ranges, singular, NaN and badly scaled matrices among others, alone and in
// batches, over several schedules.
#include "core/workspace.h"
#include "tests/cpp/cuda_testing.h"

namespace jaxinv {
namespace {

void launch(InverseProblem problem) {
  const int64_t bytes = problem.batch * workspace(Backend::kCuda, Op::kInverse, problem.n,
                                                  problem.dtype, problem.structure);
  if (!bytes) return launch<InverseProblem>(problem);
  const std::unique_ptr<void, void (*)(void*)> scratch(simt::allocate(bytes), simt::release);
  std::memset(scratch.get(), 0xff, bytes);
  problem.scratch = scratch.get();
  launch<InverseProblem>(problem);
}

// What stands in one place of a test batch.
enum class Kind {
  kGaussian,
  kZeroColumn,
  kNaN,
  kPermutation,
  kFarApart,
  kHuge,
  kTiny,
  kInf,
  kCount
};

struct Case {
  Kind kind;
  int column;  // the zero column, or that of the NaN
};

double scale_of(const Type& type, Kind kind) {
  const bool wide = type.dtype == DType::kF64 || type.dtype == DType::kC128;
  const double exponent = type.dtype == DType::kF16 ? 6 : wide ? 900 : 100;
  return kind == Kind::kHuge ? std::exp2(exponent) : kind == Kind::kTiny ? std::exp2(-exponent) : 1;
}

Case fill(Buffer& a, const Type& type, int64_t index, int64_t n, Kind kind,
          std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const double scale = scale_of(type, kind);
  for (int64_t i = 0; i < n * n; ++i) {
    a.set(index * n * n + i, Wide(normal(random) * scale, normal(random) * scale));
  }
  const int column = int(random() % n), row = int(random() % n);
  if (kind == Kind::kZeroColumn) {
    for (int64_t i = 0; i < n; ++i) a.set((index * n + i) * n + column, 0);
  }
  if (kind == Kind::kNaN) a.set((index * n + row) * n + column, std::nan(""));
  if (kind == Kind::kInf) a.set((index * n + row) * n + column, HUGE_VAL);
  if (kind == Kind::kPermutation || kind == Kind::kFarApart) {
    for (int64_t i = 0; i < n; ++i) {
      // Rows at both ends of the range, whose inverses are as far apart.
      const Kind end = i == column ? Kind::kHuge : i == (column + 1) % n ? Kind::kTiny : kind;
      const double entry = kind == Kind::kFarApart ? scale_of(type, end) : 1;
      for (int64_t j = 0; j < n; ++j) {
        a.set((index * n + i) * n + j, j == (n - 1 - i + column) % n ? entry : 0);
      }
    }
  }
  return {kind, column};
}

struct Outputs {
  Outputs(const Type& type, int64_t n, int64_t batch, int offset)
      : x(type, batch * n * n, offset),
        mantissa(type.bytes == 2 ? kTypes[2] : type, batch, 0),
        info(batch),
        exponent(batch) {}
  Buffer x, mantissa;
  Integers info, exponent;
};

void check_matrix(const Type& type, int64_t n, int64_t index, const Case& expected, const Buffer& a,
                  const Outputs& out) {
  const std::string at = std::string(type.name) + " n=" + std::to_string(n) + " matrix " +
                         std::to_string(index) + " kind " + std::to_string(int(expected.kind));
  const Matrix in = matrix_of(a, index, n), x = matrix_of(out.x, index, n);
  const int info = out.info[index];
  const Kind kind = expected.kind;
  if (kind == Kind::kZeroColumn || kind == Kind::kNaN || kind == Kind::kInf) {
    EXPECT(info == expected.column + 1, "%s: info %d, column %d", at.c_str(), info,
           expected.column);
    bool nan = true;
    for (const Wide& value : x) nan &= std::isnan(value.real());
    EXPECT(nan, "%s", at.c_str());
    const Wide mantissa = out.mantissa.get(index);
    EXPECT(kind == Kind::kZeroColumn ? mantissa == Wide(0) : std::isnan(mantissa.real()), "%s",
           at.c_str());
    EXPECT(out.exponent[index] == 0, "%s", at.c_str());
    return;
  }
  EXPECT(info == 0, "%s: info %d", at.c_str(), info);
  // Half types carry the rounding of the result.
  const bool half = type.bytes == 2;
  const long double left = residual(x, in, n, type.epsilon);
  const long double right = residual(in, x, n, type.epsilon);
  EXPECT((half ? std::max(left, right) : std::min(left, right)) <= 30, "%s: residuals %Lg %Lg",
         at.c_str(), left, right);
  if (kind == Kind::kPermutation || kind == Kind::kFarApart) {
    bool same = true;
    for (int64_t i = 0; i < n * n; ++i) {
      const Wide entry = in[i % n * n + i / n];
      same &= x[i] == (entry == Wide(0) ? entry : Wide(1) / entry);
    }
    EXPECT(same, "%s", at.c_str());
  }
  Wide mantissa;
  int64_t exponent;
  reference_determinant(in, n, mantissa, exponent);
  const Wide got = out.mantissa.get(index);
  const long double largest = std::max(std::abs(got.real()), std::abs(got.imag()));
  EXPECT(largest >= 1 && largest < 2, "%s: mantissa %Lg", at.c_str(), largest);
  const int shift = int(out.exponent[index] - exponent);
  const Wide scaled(std::scalbn(got.real(), shift), std::scalbn(got.imag(), shift));
  const long double epsilon = half ? 0x1p-24L : type.epsilon;
  const long double condition = norm(in, n) * norm(x, n);
  EXPECT(std::abs(scaled - mantissa) <= 10 * n * epsilon * condition * std::abs(mantissa),
         "%s: determinant off by %Lg", at.c_str(), std::abs(scaled - mantissa));
}

void test_inverse(const Type& type, int64_t n, int64_t batch, int offset, std::mt19937_64& random) {
  const size_t bytes = n * n * type.bytes;
  Buffer a(type, batch * n * n, offset);
  std::vector<Case> cases;
  for (int64_t i = 0; i < batch; ++i) {
    cases.push_back(fill(a, type, i, n, Kind(i % int(Kind::kCount)), random));
  }
  Outputs first(type, n, batch, offset);
  for (int seed = 0; seed < seeds; ++seed) {
    simt::seed(seed * 1000 + n);
    Outputs out(type, n, batch, offset);
    std::memset(out.x.data(), 0xff, batch * bytes);
    InverseProblem p{
        type.dtype,          Structure::kGeneral, n, batch, a.data(), out.x.data(), out.info.data(),
        out.mantissa.data(), out.exponent.data()};
    launch(p);
    if (seed == 0) {
      for (int64_t i = 0; i < batch; ++i) check_matrix(type, n, i, cases[i], a, out);
      std::memcpy(first.x.data(), out.x.data(), batch * bytes);
      std::memcpy(first.info.data(), out.info.data(), out.info.bytes());
      std::memcpy(first.exponent.data(), out.exponent.data(), out.exponent.bytes());
    }
    EXPECT(!std::memcmp(first.x.data(), out.x.data(), batch * bytes) &&
               !std::memcmp(first.info.data(), out.info.data(), out.info.bytes()) &&
               !std::memcmp(first.exponent.data(), out.exponent.data(), out.exponent.bytes()),
           "%s n=%ld: the result depends on the schedule", type.name, long(n));
  }
  // Alone, and with nothing else asked for: the same bits.
  for (int64_t i = 0; i < batch; i += batch > 16 ? batch / 7 : 1) {
    Buffer x(type, n * n, 0);
    InverseProblem p{type.dtype, Structure::kGeneral, n, 1, nullptr, x.data(), nullptr, nullptr,
                     nullptr};
    p.a = static_cast<char*>(a.data()) + i * bytes;
    launch(p);
    const void* in_batch = static_cast<char*>(first.x.data()) + i * bytes;
    EXPECT(!std::memcmp(x.data(), in_batch, bytes), "%s n=%ld matrix %ld: bits differ alone",
           type.name, long(n), long(i));
  }
}

void test_triple_product(const Type& type, int64_t n, int64_t batch, int flags, int offset,
                         std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const int64_t count = batch * n * n;
  const bool shared = flags & 8;  // l and r one buffer, as in the derivative of the inverse
  Buffer l(type, count, offset), g(type, count, offset), other(type, shared ? 1 : count, 0);
  const Buffer& r = shared ? l : other;
  for (int64_t i = 0; i < count; ++i) {
    l.set(i, {normal(random), normal(random)});
    g.set(i, {normal(random), normal(random)});
    if (!shared) other.set(i, {normal(random), normal(random)});
  }
  const bool tl = flags & 1, tg = flags & 2, tr = flags & 4;
  Buffer first(type, count, 0);
  for (int seed = 0; seed < seeds; ++seed) {
    simt::seed(seed * 1000 + n);
    Buffer y(type, count, offset);
    std::memset(y.data(), 0xff, count * type.bytes);
    launch(TripleProductProblem{type.dtype, tl, tg, tr, n, batch, l.data(), g.data(), r.data(),
                                y.data()});
    if (seed == 0) std::memcpy(first.data(), y.data(), count * type.bytes);
    EXPECT(!std::memcmp(first.data(), y.data(), count * type.bytes),
           "%s n=%ld: the triple product depends on the schedule", type.name, long(n));
  }
  for (int64_t index = 0; index < batch; ++index) {
    Matrix a = transpose_if(tl, matrix_of(l, index, n), n);
    Matrix b = transpose_if(tg, matrix_of(g, index, n), n);
    Matrix c = transpose_if(tr, matrix_of(r, index, n), n);
    Matrix expected = multiply(a, multiply(b, c, n), n), out = matrix_of(first, index, n);
    for (int64_t i = 0; i < n * n; ++i) out[i] += expected[i];
    const long double scale = n * type.epsilon * norm(a, n) * norm(b, n) * norm(c, n);
    EXPECT(norm(out, n) <= 8 * scale, "%s n=%ld flags=%d matrix %ld", type.name, long(n), flags,
           long(index));
  }
}

// Calls of one program: all are prepared before the first runs, and each needs more shared memory than a kernel gets
// without asking.
void test_two_sizes() {
  const int largest = system_max(4), sizes[] = {largest, largest - 6};
  Buffer a(kTypes[2], largest * largest, 0), mantissa(kTypes[2], 1, 0);
  Integers exponent(1);
  for (bool prepare : {true, false}) {
    for (int n : sizes) {
      for (int i = 0; i < n * n; ++i) a.set(i, i % (n + 1) == 0);
      mantissa.set(0, 0);
      cuda::launch(LuProblem{DType::kF32, Structure::kGeneral, n, 1, a.data(), nullptr, nullptr,
                             nullptr, mantissa.data(), exponent.data()},
                   {nullptr, prepare});
      simt::finish();
      EXPECT(prepare || (mantissa.get(0) == Wide(1) && exponent[0] == 0), "n=%d", n);
    }
  }
}

int run() {
  std::mt19937_64 random(7);
  test_two_sizes();
  for (const Type& type : kTypes) {
    for (int64_t n = 1; n <= kTripleProductMax; ++n) {
      if (planted && failures) return 1;
      const bool thread = n <= inverse_thread_max(type.dtype);
      // A full warp and a part of one; with several matrices in a warp, part of a group.
      const int64_t batch = thread ? 32 + 7 : n <= 16 ? 9 : 7;
      if (n <= inverse_warp_max(type.dtype)) {
        test_inverse(type, n, batch, int(n) % 3 == 1, random);
      }
      const int64_t triples = n <= kTripleProductThreadMax ? 32 + 7 : n <= 16 ? 5 : 2;
      test_triple_product(type, n, triples, int(random() % 16), int(n) % 3 == 1, random);
    }
    for (int flags = 0; flags < 16; ++flags) {
      test_triple_product(type, 3, 5, flags, 0, random);
      test_triple_product(type, 6, 5, flags, 0, random);
    }
  }
  // Where warps end, and blocks on a device with little shared memory (sm_75).
  simt::device().shared_per_block_optin = 64 << 10;
  for (const Type& type : kTypes) {
    const int64_t edge = inverse_block_max(arithmetic_bytes(type.dtype), 64 << 10);
    test_inverse(type, inverse_warp_max(type.dtype) + 1, 7, 1, random);
    if (planted || type.bytes == 2) continue;
    test_inverse(type, edge, 2, 1, random);
    test_inverse(type, edge + 1, 2, 1, random);
  }
  seeds = 1;
  if (!planted) test_inverse(kTypes[2], 225, 1, 0, random);  // by many blocks on every device
  // More matrices than the largest grid holds at a time: 128 blocks of four warps.
  simt::device().multiprocessors = 1;
  test_inverse(kTypes[2], 2, 128 * 4 * 32 + 100, 0, random);
  test_triple_product(kTypes[2], 2, 128 * 4 * 32 + 100, 9, 0, random);
  test_inverse(kTypes[2], 9, 128 * 4 * 2 + 5, 0, random);
  test_triple_product(kTypes[2], 5, 128 * 4 * 4 + 7, 9, 0, random);
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv

int main(int count, char** arguments) { return jaxinv::run_with(count, arguments, jaxinv::run); }
