// Inverts the matrices on its standard input by a CUDA kernel of the large sizes on the SIMT emulator. Input:
// five 64-bit integers (dtype, n, batch, seed, kernel: 0 block, 1 grid, 2 grid with panels in memory), then the
// matrices. Output: inverses, info, mantissas, exponents. Argument: a barrier to leave out.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "cuda/inverse_block.cuh"
#include "cuda/inverse_grid.cuh"

namespace jaxinv {
namespace {

void read(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) != bytes) throw std::runtime_error("input ends early");
}
void write(const void* from, size_t bytes) { std::fwrite(from, 1, bytes, stdout); }

// Memory of exactly the needed size, for the address sanitiser, filled with garbage.
std::unique_ptr<void, void (*)(void*)> memory(size_t bytes) {
  void* data = nullptr;
  if (posix_memalign(&data, 128, bytes)) throw std::bad_alloc();
  std::memset(data, 0xff, bytes);
  return {data, std::free};
}

template <class V>
void invert(InverseProblem p, size_t bytes, int64_t seed, int64_t kernel) {
  const size_t count = size_t(p.batch) * p.n * p.n * bytes;
  const auto a = memory(count), x = memory(count), mantissa = memory(p.batch * sizeof(V));
  std::vector<int32_t> info(p.batch, -1), exponent(p.batch, -1);
  read(a.get(), count);
  p.a = a.get();
  p.x = x.get();
  p.info = info.data();
  p.mantissa = mantissa.get();
  p.exponent = exponent.data();
  simt::seed(seed);
  const auto scratch = memory(inverse_grid_bytes(p.n, sizeof(V)) * p.batch);
  p.scratch = scratch.get();
  for (bool prepare : {true, false}) {
    const cuda::Context context{nullptr, prepare};
    if (kernel == 0) {
      cuda::launch_inverse_block<V>(p, context);
    } else {
      cuda::launch_inverse_grid<V>(p, context, kernel == 1 ? 1024 : 64);
    }
  }
  write(x.get(), count);
  write(info.data(), 4 * p.batch);
  write(mantissa.get(), p.batch * sizeof(V));
  write(exponent.data(), 4 * p.batch);
}

void run() {
  int64_t head[5];
  read(head, sizeof head);
  InverseProblem p{DType(head[0]), Structure::kGeneral, head[1], head[2]};
  switch (p.dtype) {
    case DType::kF16:
    case DType::kBF16:
      return invert<float>(p, 2, head[3], head[4]);
    case DType::kF32:
      return invert<float>(p, 4, head[3], head[4]);
    case DType::kF64:
      return invert<double>(p, 8, head[3], head[4]);
    case DType::kC64:
      return invert<cuda::Complex<float>>(p, 8, head[3], head[4]);
    case DType::kC128:
      return invert<cuda::Complex<double>>(p, 16, head[3], head[4]);
  }
}

}  // namespace
}  // namespace jaxinv

int main(int count, char** arguments) {
  if (count > 1) simt::leave_out(arguments[1]);
  try {
    jaxinv::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
