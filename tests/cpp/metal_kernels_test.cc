// Solves the problem on its standard input by the Metal kernels on the SIMT emulator, or on a GPU of NVIDIA
// (tests/cpp/msl/cuda). Input: eight 64-bit integers,
// see Head, then the operands. Output: inverses, info, mantissas, exponents; or triple products; or, for a batch
// that is only planned, the kernel runs. Argument: a barrier to leave out.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#ifdef __SSE__
#include <xmmintrin.h>
#endif

#include "core/workspace.h"
#include "metal/dispatch.h"
#include "simt.h"
#include "tests/cpp/msl/msl.h"

namespace jaxinv {
namespace {

struct Head {
  int64_t dtype, n, batch, seed;
  int64_t algorithm;  // −1: the plan's
  int64_t
      groups;  // of each run, at most; only of kernels whose groups take several problems in turn
  int64_t flags;  // below
  int64_t operation;
};
enum Operation : int64_t { kInvert, kTriple, kShow };
enum Flag : int64_t {
  kTransposeL = 1,
  kTransposeG = 2,
  kTransposeR = 4,
  kSame = 8,       // l and r are one operand
  kOnly = 16,      // the inverse alone
  kFlush = 32,     // denormals are zero, as Apple's GPUs have it
  kUnaligned = 64  // operands start one number into their pages
};

void read(void* to, size_t bytes) {
  if (std::fread(to, 1, bytes, stdin) != bytes) throw std::runtime_error("input ends early");
}

// Memory that ends where its allocation ends, for the address sanitiser, filled with garbage.
class Memory {
 public:
  explicit Memory(size_t bytes, size_t offset = 0)
      : bytes_(bytes),
        memory_(simt::allocate(std::max<size_t>(bytes + offset, 1)), simt::release),
        offset_(offset) {
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0xff, bytes + offset);
  }
  void* data() const { return static_cast<char*>(memory_.get()) + offset_; }
  void fill() const { read(data(), bytes_); }
  void write() const { std::fwrite(data(), 1, bytes_, stdout); }

 private:
  size_t bytes_;
  std::unique_ptr<void, void (*)(void*)> memory_;
  size_t offset_;
};

void run(const std::vector<metal::Dispatch>& dispatches, const Head& head) {
  simt::seed(head.seed);
#ifdef __SSE__
  const unsigned state = _mm_getcsr();
  if (head.flags & kFlush) _mm_setcsr(state | 0x8040);
#endif
  for (const metal::Dispatch& d : dispatches) {
    std::vector<void*> buffers;
    for (const metal::Binding& b : d.buffers) buffers.push_back(const_cast<void*>(b.data));
    std::vector<unsigned char> parameters(d.parameters);
    parameters.resize(4096);  // what a device may copy
    buffers.push_back(parameters.data());
    const uint32_t most = head.groups ? uint32_t(head.groups) : d.groups;
    msl::run(d.function, buffers, std::min(d.groups, most), d.threads_per_group);
  }
#ifdef __SSE__
  _mm_setcsr(state);
#endif
}

std::vector<metal::Dispatch> dispatches_of(const InverseProblem& p, const Head& head) {
  return head.algorithm < 0 ? metal::dispatches(p)
                            : metal::dispatches(p, Algorithm(head.algorithm));
}

void invert(const Head& head, size_t bytes) {
  const DType dtype = DType(head.dtype);
  const size_t numbers = head.batch * head.n * head.n, batch = head.batch;
  const size_t offset = head.flags & kUnaligned ? bytes : 0;
  const Memory a(numbers * bytes, offset), x(numbers * bytes, offset);
  const Memory info(4 * batch), mantissa(arithmetic_bytes(dtype) * batch), exponent(4 * batch);
  const Memory scratch(inverse_grid_bytes(head.n, arithmetic_bytes(dtype)) * batch);
  a.fill();
  InverseProblem p{
      dtype,  Structure::kGeneral, head.n, head.batch, a.data(), x.data(), nullptr, nullptr,
      nullptr};
  if (!(head.flags & kOnly)) {
    p.info = static_cast<int32_t*>(info.data());
    p.mantissa = mantissa.data();
    p.exponent = static_cast<int32_t*>(exponent.data());
  }
  p.scratch = scratch.data();
  run(dispatches_of(p, head), head);
  for (const Memory* memory : {&x, &info, &mantissa, &exponent}) memory->write();
}

void multiply(const Head& head, size_t bytes) {
  const size_t size = head.batch * head.n * head.n * bytes;
  const size_t offset = head.flags & kUnaligned ? bytes : 0;
  const bool same = head.flags & kSame;
  const Memory l(size, offset), g(size, offset), r(same ? 0 : size, offset), y(size, offset);
  l.fill();
  g.fill();
  if (!same) r.fill();
  run(metal::dispatches(TripleProductProblem{
          DType(head.dtype), bool(head.flags & kTransposeL), bool(head.flags & kTransposeG),
          bool(head.flags & kTransposeR), head.n, head.batch, l.data(), g.data(),
          same ? l.data() : r.data(), y.data()}),
      head);
  y.write();
}

// The runs for a batch that may be larger than memory: nothing is touched.
void show(const Head& head) {
  char anything = 0;
  const InverseProblem p{DType(head.dtype),
                         Structure::kGeneral,
                         head.n,
                         head.batch,
                         &anything,
                         &anything,
                         nullptr,
                         nullptr,
                         nullptr};
  for (const metal::Dispatch& d : dispatches_of(p, head)) {
    const msl::Limits limits = msl::limits(d.function);
    std::printf("%s %u %u %u %zu\n", d.function.c_str(), d.groups, d.threads_per_group,
                limits.threads_per_group, limits.threadgroup_bytes);
  }
}

void run() {
  Head head;
  read(&head, sizeof head);
  const DType dtype = DType(head.dtype);
  const size_t bytes = storage_bytes(dtype);
  if (head.operation == kInvert) return invert(head, bytes);
  if (head.operation == kTriple) return multiply(head, bytes);
  show(head);
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
