// The CUDA kernels of LU, systems and structured matrices on the SIMT emulator (or on a GPU, tests/cpp/gpu), by way of
// the launcher that ships: every dtype and structure, sizes of lanes, warps and blocks, singular, NaN and badly
// scaled matrices among others, NaN in what must not be read, alone and in batches, over several schedules.
#include "core/workspace.h"
#include "tests/cpp/cuda_testing.h"

namespace jaxinv {
namespace {

constexpr Structure kStructures[] = {Structure::kGeneral, Structure::kPosUpper,
                                     Structure::kPosLower, Structure::kUpper, Structure::kLower};

enum class Kind { kUsual, kSingular, kNaN, kHuge, kTiny, kInf, kNegative, kCount };
bool fails(Kind kind) { return kind != Kind::kUsual && kind != Kind::kHuge && kind != Kind::kTiny; }

struct Case {
  Kind kind;
  int row, column;  // of what is bad
};

bool is_complex(const Type& type) {
  return type.dtype == DType::kC64 || type.dtype == DType::kC128;
}

// Matrix `index` of a batch, NaN where it is not read.
Case fill(Buffer& a, const Type& type, Structure structure, int64_t n, int64_t index,
          std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  const bool wide = type.dtype == DType::kF64 || type.dtype == DType::kC128;
  const bool pos = is_pos(structure), complex = is_complex(type);
  Case out = {Kind(index % int(Kind::kCount)), int(random() % n), int(random() % n)};
  // Where core/range.h multiplies by a power of two.
  const int exponent = type.dtype == DType::kF16 ? 6 : wide ? 992 : 112;
  const long double scale = out.kind == Kind::kHuge   ? std::exp2l(exponent)
                            : out.kind == Kind::kTiny ? std::exp2l(wide ? -940 : 4 - exponent)
                                                      : 1;
  if (structure != Structure::kGeneral && !is_read(structure, out.row, out.column)) {
    std::swap(out.row, out.column);
  }
  if (pos) out.row = out.column;
  Matrix g(n * n);
  for (Wide& e : g) e = {normal(random), complex ? normal(random) : 0};
  if (pos) {
    Matrix adjoint(n * n);
    for (int64_t i = 0; i < n * n; ++i) adjoint[i] = std::conj(g[i % n * n + i / n]);
    g = multiply(g, adjoint, n);
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      Wide e = g[i * n + j];
      if (structure != Structure::kGeneral) e = e / Wide(n) + Wide(i == j ? 2 : 0);
      const bool bad = i == out.row && j == out.column;
      if (out.kind == Kind::kSingular) {
        if (structure == Structure::kGeneral && j == out.column) e = 0;
        if (is_triangular(structure) && i == out.column && j == i) e = 0;
        if (pos && (i == out.column || j == out.column)) e = 0;
      }
      if (out.kind == Kind::kNaN && bad) e = std::nan("");
      if (out.kind == Kind::kInf && bad) e = HUGE_VAL;
      if (out.kind == Kind::kNegative && i == j && i == out.column) e = -1;
      if (pos && i == j) e = {e.real(), std::nan("")};
      if (!is_read(structure, i, j)) e = {std::nan(""), std::nan("")};
      a.set((index * n + i) * n + j, e * scale);
    }
  }
  if (out.kind == Kind::kNegative && !pos) out.kind = Kind::kUsual;
  return out;
}

class Test {
 public:
  Test(const Type& type, Structure structure, int64_t n, int64_t columns, int64_t batch, int offset,
       std::mt19937_64& random)
      : type(type),
        structure(structure),
        n(n),
        columns(columns),
        batch(batch),
        offset(offset),
        name(std::string(type.name) + " n=" + std::to_string(n) + " columns=" +
             std::to_string(columns) + " structure " + std::to_string(int(structure))),
        a(type, batch * n * n, offset),
        b(type, batch * n * columns, offset),
        info(batch),
        exponent(batch),
        mantissa(type.bytes == 2 ? kTypes[2] : type, batch, 0),
        solved(type, batch * n * columns, 0) {
    std::normal_distribution<double> normal;
    for (int64_t i = 0; i < batch; ++i) {
      cases.push_back(fill(a, type, structure, n, i, random));
      matrices.push_back(full_matrix(a, structure, i, n));
    }
    for (int64_t i = 0; i < batch * n * columns; ++i) b.set(i, {normal(random), normal(random)});
    if (structure == Structure::kGeneral) {
      for (int64_t i = 0; i < n; ++i) a.set(i * n, i % 2 ? 1 : -1);  // ties of the pivot search
      matrices[0] = full_matrix(a, structure, 0, n);
    }
    half = type.bytes == 2;
  }

  void run() {
    if (!half) {
      if (!is_triangular(structure)) {
        factors();
        determinants();
      }
      for (bool transpose : {false, true}) solutions(transpose);
    }
    if (structure != Structure::kGeneral) inverses();
  }

 private:
  const Type& type;
  const Structure structure;
  const int64_t n, columns, batch;
  const int offset;
  const std::string name;
  bool half;
  Buffer a, b;
  std::vector<Case> cases;
  std::vector<Matrix> matrices;
  Integers info, exponent;
  Buffer mantissa, solved;  // by factors

  std::string at(int64_t index) const {
    return name + " matrix " + std::to_string(index) + " kind " +
           std::to_string(int(cases[index].kind));
  }
  static char* bytes_of(const Buffer& buffer, int64_t count) {
    return static_cast<char*>(buffer.data()) + count;
  }
  // Some of the matrices alone: the same bits.
  template <class Run>
  void expect_alone(const char* what, const Buffer& in_batch, int64_t bytes, const Run& run) const {
    for (int64_t i = 0; i < batch; i += batch > 8 ? 5 : 2) {
      Buffer alone(type, bytes / type.bytes, 0);
      run(i, alone.data());
      EXPECT(!std::memcmp(alone.data(), bytes_of(in_batch, i * bytes), bytes),
             "%s: %s differ alone", at(i).c_str(), what);
    }
  }
  bool expect_info(int64_t index, bool transpose) const {
    const Case& expected = cases[index];
    if (!fails(expected.kind)) {
      EXPECT(info[index] == 0, "%s: info %d", at(index).c_str(), info[index]);
      return true;
    }
    // Of a general matrix that is transposed first: a zero row is found at the end.
    const bool zero_row = transpose && expected.kind == Kind::kSingular;
    const int step = zero_row ? int(n) : (transpose ? expected.row : expected.column) + 1;
    EXPECT(info[index] == step, "%s: info %d, not %d", at(index).c_str(), info[index], step);
    return false;
  }
  void expect_nan(int64_t index, const Buffer& x, int64_t count) const {
    bool nan = true;
    for (int64_t i = 0; i < count; ++i) nan &= std::isnan(x.get(index * count + i).real());
    EXPECT(nan, "%s", at(index).c_str());
  }
  void expect_determinant(int64_t index) const {
    const Wide got = mantissa.get(index);
    const Kind kind = cases[index].kind;
    if (fails(kind)) {
      EXPECT(kind == Kind::kSingular ? got == Wide(0) : std::isnan(got.real()), "%s: mantissa %Lg",
             at(index).c_str(), got.real());
      EXPECT(exponent[index] == 0, "%s", at(index).c_str());
      return;
    }
    Wide value;
    int64_t power;
    reference_determinant(matrices[index], n, value, power);
    const long double largest = std::max(std::abs(got.real()), std::abs(got.imag()));
    EXPECT(largest >= 1 && largest < 2, "%s: mantissa %Lg", at(index).c_str(), largest);
    const int shift = int(exponent[index] - power);
    const Wide scaled(std::scalbn(got.real(), shift), std::scalbn(got.imag(), shift));
    const long double epsilon = half ? 0x1p-24L : type.epsilon;
    const long double condition = structure == Structure::kGeneral ? 1e3L * n : 50;
    EXPECT(std::abs(scaled - value) <= 10 * n * epsilon * condition * std::abs(value),
           "%s: determinant off by %Lg", at(index).c_str(), std::abs(scaled - value));
  }

  void factors() {
    Buffer lu(type, batch * n * n, offset);
    Integers rows(batch * n);
    const int64_t matrix = n * n * type.bytes;
    auto problem = [&](int64_t count, const void* from, void* to, int32_t* order) {
      return LuProblem{type.dtype, structure, n, count, from, to, order, nullptr, nullptr, nullptr};
    };
    LuProblem p = problem(batch, a.data(), lu.data(), rows.data());
    p.info = info.data();
    on_every_schedule(name + " factors", [&] { launch(p); },
                      {{lu.data(), size_t(batch * matrix)},
                       {rows.data(), rows.bytes()},
                       {info.data(), info.bytes()}});
    for (int64_t index = 0; index < batch; ++index) {
      if (!expect_info(index, false)) {
        expect_nan(index, lu, n * n);
        continue;
      }
      check_factors(index, lu, rows);
    }
    expect_alone("factors", lu, matrix, [&](int64_t i, void* to) {
      Integers order(n);
      launch(problem(1, bytes_of(a, i * matrix), to, order.data()));
    });
    for (bool transpose : {false, true}) by_factors(lu, rows, transpose);
  }

  void check_factors(int64_t index, const Buffer& lu, const Integers& rows) const {
    const Matrix factors = matrix_of(lu, index, n);
    Matrix l(n * n), u(n * n), permuted(n * n);
    std::vector<bool> seen(n);
    bool small = true, same = true;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t row = rows[index * n + i];
      EXPECT(row >= 0 && row < n && !seen[row], "%s: row %d", at(index).c_str(), int(row));
      seen[row] = true;
      same &= !is_pos(structure) || row == i;
      for (int64_t j = 0; j < n; ++j) {
        const Wide e = factors[i * n + j];
        (j < i ? l : u)[i * n + j] = e;
        small &= j >= i || is_pos(structure) || std::abs(e) <= 1.5L;
        permuted[i * n + j] = matrices[index][row * n + j];
        // U = D Lᴴ
        const Wide other = factors[i * (n + 1)] * std::conj(factors[j * n + i]);
        same &= !is_pos(structure) || j <= i ||
                std::abs(e - other) <= 8 * type.epsilon * std::abs(e) + 1e-300L;
      }
      l[i * (n + 1)] = 1;
    }
    EXPECT(small && same, "%s: factors", at(index).c_str());
    const Matrix product = multiply(l, u, n);
    for (int64_t i = 0; i < n * n; ++i) permuted[i] -= product[i];
    const long double error = norm(permuted, n) / (n * type.epsilon * norm(matrices[index], n));
    EXPECT(error <= 30, "%s: factors off by %Lg", at(index).c_str(), error);
  }

  void by_factors(const Buffer& lu, const Integers& rows, bool transpose) {
    Buffer x(type, batch * n * columns, offset);
    const int64_t right = n * columns * type.bytes, matrix = n * n * type.bytes;
    const LuSolveProblem p{type.dtype, transpose,   n,        columns, batch,
                           lu.data(),  rows.data(), b.data(), x.data()};
    on_every_schedule(name + " by factors", [&] { launch(p); },
                      {{x.data(), size_t(batch * right)}});
    for (int64_t index = 0; index < batch; ++index) check_solution(index, x, transpose);
    if (!transpose) std::memcpy(solved.data(), x.data(), batch * right);
    expect_alone("solutions by factors", x, right, [&](int64_t i, void* to) {
      LuSolveProblem one = p;
      one.batch = 1;
      one.lu = bytes_of(lu, i * matrix);
      one.permutation = rows.data() + i * n;
      one.b = bytes_of(b, i * right);
      one.x = to;
      launch(one);
    });
  }

  void check_solution(int64_t index, const Buffer& x, bool transpose) const {
    if (fails(cases[index].kind)) return expect_nan(index, x, n * columns);
    const long double error =
        backward_error(matrices[index], b, x, index, n, columns, transpose, type.epsilon);
    EXPECT(error <= 30, "%s transpose=%d: solution off by %Lg", at(index).c_str(), transpose,
           error);
  }

  void determinants() {
    const LuProblem p{type.dtype, structure, n,       batch,           a.data(),
                      nullptr,    nullptr,   nullptr, mantissa.data(), exponent.data()};
    on_every_schedule(
        name + " determinants", [&] { launch(p); },
        {{mantissa.data(), size_t(batch * type.bytes)}, {exponent.data(), exponent.bytes()}});
    for (int64_t index = 0; index < batch; ++index) expect_determinant(index);
  }

  void solutions(bool transpose) {
    Buffer x(type, batch * n * columns, offset);
    const int64_t right = n * columns * type.bytes, matrix = n * n * type.bytes;
    const SolveProblem p{type.dtype, structure, transpose, n,        columns,
                         batch,      a.data(),  b.data(),  x.data(), info.data()};
    on_every_schedule(name + " solutions", [&] { launch(p); },
                      {{x.data(), size_t(batch * right)}, {info.data(), info.bytes()}});
    for (int64_t index = 0; index < batch; ++index) {
      expect_info(index, transpose && structure == Structure::kGeneral);
      check_solution(index, x, transpose);
      // The steps of the factors' solution: where nothing is multiplied by a power of two, its bits.
      if (transpose || is_triangular(structure) || cases[index].kind != Kind::kUsual) continue;
      EXPECT(!std::memcmp(bytes_of(x, index * right), bytes_of(solved, index * right), right),
             "%s: another solution than by factors", at(index).c_str());
    }
    expect_alone("solutions", x, right, [&](int64_t i, void* to) {
      SolveProblem one = p;
      one.batch = 1;
      one.a = bytes_of(a, i * matrix);
      one.b = bytes_of(b, i * right);
      one.x = to;
      one.info = nullptr;
      launch(one);
    });
    if (columns != 1) return;
    SolveProblem nothing = p;
    nothing.columns = 0;
    std::fill_n(info.data(), batch, -1);
    launch(nothing);
    for (int64_t index = 0; index < batch; ++index) {
      expect_info(index, transpose && structure == Structure::kGeneral);
    }
  }

  void inverses() {
    Buffer x(type, batch * n * n, offset);
    const int64_t matrix = n * n * type.bytes;
    const InverseProblem p{type.dtype,  structure,       n,
                           batch,       a.data(),        x.data(),
                           info.data(), mantissa.data(), exponent.data()};
    const size_t size = half ? 4 : type.bytes;
    on_every_schedule(name + " inverses", [&] { launch(p); },
                      {{x.data(), size_t(batch * matrix)},
                       {info.data(), info.bytes()},
                       {mantissa.data(), batch * size},
                       {exponent.data(), exponent.bytes()}});
    for (int64_t index = 0; index < batch; ++index) {
      expect_determinant(index);
      if (!expect_info(index, false)) {
        expect_nan(index, x, n * n);
        continue;
      }
      const Matrix inverse = matrix_of(x, index, n), &full = matrices[index];
      const long double left = residual(inverse, full, n, type.epsilon);
      const long double right = residual(full, inverse, n, type.epsilon);
      EXPECT(left <= 30 && right <= 30, "%s: residuals %Lg, %Lg", at(index).c_str(), left, right);
      bool exact = true;
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = 0; j < n; ++j) {
          const Wide e = inverse[i * n + j];
          if (is_pos(structure)) {
            exact &= e == std::conj(inverse[j * n + i]);
          } else if (!is_read(structure, i, j)) {
            exact &= e == Wide(0) && !std::signbit(e.real()) && !std::signbit(e.imag());
          }
        }
      }
      EXPECT(exact, "%s: the other triangle", at(index).c_str());
    }
    expect_alone("inverses", x, matrix, [&](int64_t i, void* to) {
      InverseProblem one{type.dtype, structure, n,       1,      bytes_of(a, i * matrix),
                         to,         nullptr,   nullptr, nullptr};
      launch(one);
    });
  }
};

int run() {
  std::mt19937_64 random(23);
  auto test = [&](const Type& type, Structure structure, int64_t n, int64_t columns,
                  int64_t batch) {
    if (planted && failures) return;
    Test(type, structure, n, columns, batch, int(n + columns) % 3, random).run();
  };
  const bool thorough = seeds > 3;
  for (const Type& type : kTypes) {
    for (Structure structure : kStructures) {
      if (type.bytes == 2 && structure == Structure::kGeneral) continue;
      for (int64_t n = 1; n <= 32; n += thorough || n < 4 ? 1 : n < 8 ? 2 : n < 17 ? 5 : 14) {
        // Teams that share a warp, some with no problem of their own; several in turn.
        test(type, structure, n, n % 4 == 1 ? 1 : n % 4 == 0 ? 18 : 2 + n % 3, n <= 3 ? 37 : 7);
      }
      test(type, structure, 3, 150, 3);  // shared between teams
      test(type, structure, 33, 1, 7);
      if (thorough || type.dtype == DType::kC64) test(type, structure, 52, 67, 3);
      if (thorough) test(type, structure, system_max(arithmetic_bytes(type.dtype)), 17, 3);
    }
  }
  test(kTypes[2], Structure::kGeneral, 70, 5, 3);
  test(kTypes[2], Structure::kPosLower, 70, 5, 3);
  // More matrices than the largest grid holds at a time.
  seeds = 1;
  simt::device().multiprocessors = 1;
  test(kTypes[2], Structure::kPosUpper, 3, 1, 128 * 4 * 8 + 70);
  test(kTypes[2], Structure::kLower, 33, 1, 128 + 3);
  std::printf("%d failures\n", failures);
  return failures != 0;
}

}  // namespace
}  // namespace jaxinv

int main(int count, char** arguments) { return jaxinv::run_with(count, arguments, jaxinv::run); }
