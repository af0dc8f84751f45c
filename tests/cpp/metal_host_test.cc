// The host of Metal on a fake device: buffers and offsets, copies and pages, failures, threads, lifetimes, the
// pool; and that the fake device refuses what Metal would.
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "core/plan.h"
#include "metal/device.h"
#include "metal/dispatch.h"
#include "metal/launch.h"
#include "tests/cpp/matrices.h"
#include "tests/cpp/metal_fake/metal_fake.h"
#include "tests/cpp/metal_fake/runtime.h"

namespace jaxinv {
namespace {

namespace MTL = metal::MTL;
namespace NS = metal::NS;
using metal_fake::settings;

// Settings of a test, put back at its end.
struct Fake {
  Fake() { settings() = {}; }
  ~Fake() {
    metal_fake::wait();
    settings() = {};
  }
};

template <class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}
#define EXPECT_MESSAGE(expected, ...)                            \
  do {                                                           \
    const std::string actual = message_of([&] { __VA_ARGS__; }); \
    EXPECT(actual == (expected), "%s", actual.c_str());          \
  } while (0)

// Diagonally dominant matrices between guards, `offset` floats behind the start of a page.
struct Call {
  int64_t n, batch;
  std::vector<float> a_memory, x_memory;
  std::vector<int32_t> info;
  float *a, *x;

  Call(int64_t n, int64_t batch, int64_t offset) : n(n), batch(batch), info(batch + 2, -7) {
    a = place(a_memory, offset);
    x = place(x_memory, offset);
    for (int64_t i = 0; i < batch * n * n; ++i) {
      a[i] = float(i * 37 % 101) / 101 + (i % (n * n) % (n + 1) == 0 ? 2 * n : 0);
    }
  }

  InverseProblem problem() {
    return {DType::kF32, Structure::kGeneral, n, batch, a, x, info.data() + 1, nullptr, nullptr};
  }
  // Launches, and waits for the result. The error, or "".
  std::string run(int64_t scratch_bytes = 256 << 20) {
    std::promise<std::string> result;
    metal::launch(problem(),
                  {[&](const std::string& error) { result.set_value(error); }, scratch_bytes});
    return result.get_future().get();
  }
  void expect_inverse() {
    for (int64_t m : {int64_t(0), batch / 2, batch - 1}) {
      Matrix a_wide(a + m * n * n, a + (m + 1) * n * n), x_wide(x + m * n * n, x + (m + 1) * n * n);
      EXPECT(residual(a_wide, x_wide, n, 0x1p-24L) < 30, "matrix %d of %d, n = %d", int(m),
             int(batch), int(n));
    }
    for (int64_t i = 1; i <= batch; ++i) EXPECT(info[i] == 0, "info %d: %d", int(i), info[i]);
    EXPECT(info[0] == -7 && info[batch + 1] == -7, "guards of info");
    EXPECT(x[-1] == -7 && x[batch * n * n] == -7, "guards of the inverses");
  }

 private:
  float* place(std::vector<float>& memory, int64_t offset) {
    const size_t page = sysconf(_SC_PAGESIZE);
    memory.assign(batch * n * n + offset + 2 + page / 4, -7);
    const size_t address = reinterpret_cast<size_t>(memory.data() + 1);
    return reinterpret_cast<float*>((address + page - 1) / page * page) + offset;
  }
};

void test_small_calls_are_copied_and_large_ones_wrapped() {
  Fake fake;
  struct Case {
    int64_t n, batch, offset;
    bool wrapped;
  };
  for (Case c : {Case{3, 1, 0, false},
                 {2, 100, 3, false},
                 {3, 5000, 0, true},
                 {3, 5000, 1, true},
                 {4, 4096, 1000, true},
                 {1, 40000, 5, true}}) {
    const metal_fake::Counts before = metal_fake::counts();
    Call call(c.n, c.batch, c.offset);
    EXPECT(call.run() == "", "n = %d", int(c.n));
    call.expect_inverse();
    const long wrapped = metal_fake::counts().wrapped - before.wrapped;
    EXPECT((wrapped >= 2) == c.wrapped, "%ld buffers wrapped", wrapped);
    EXPECT(metal_fake::counts().commands - before.commands == 1, "one command buffer");
  }
}

void test_matrices_take_turns_in_scratch_memory() {
  Fake fake;
  const int64_t n = 98;
  const int64_t bytes =
      workspace(Backend::kMetal, Op::kInverse, n, DType::kF32, Structure::kGeneral);
  for (int64_t matrices : {0, 1, 2, 5}) {
    const long before = metal_fake::counts().commands;
    Call call(n, 5, 3);
    EXPECT(call.run(matrices * bytes + 100) == "", "%d at a time", int(matrices));
    call.expect_inverse();
    EXPECT(metal_fake::counts().commands == before + 1, "one command buffer");
  }
}

void test_pages_that_metal_refuses_are_copied() {
  Fake fake;
  settings().takes_pages = false;
  const long before = metal_fake::counts().wrapped;
  Call call(3, 20000, 1);
  EXPECT(call.run() == "", "copies");
  call.expect_inverse();
  EXPECT(metal_fake::counts().wrapped == before, "nothing is wrapped");
}

void test_launch_returns_before_the_work_is_done() {
  Fake fake;
  settings().delay_microseconds = 50000;
  Call call(7, 10, 0);  // compiled here
  for (int i = 0; i < 2; ++i) {
    std::promise<std::string> result;
    std::atomic<bool> done{false};
    metal::launch(call.problem(), {[&](const std::string& error) {
                    done = true;
                    result.set_value(error);
                  }});
    EXPECT(!done, "launch %d waits for its results", i);
    EXPECT(result.get_future().get() == "", "launch %d", i);
  }
  call.expect_inverse();
}

void test_failures_name_the_kernel() {
  Fake fake;
  Call call(3, 5, 0);
  settings().command_error = "out of luck";
  const std::string failed = call.run();
  EXPECT(failed == "kernel inverse_thread_float32_3: the GPU failed: out of luck", "%s",
         failed.c_str());
  EXPECT(call.x[0] == -7, "no result of what failed");
  settings() = {};
  settings().takes_pages = settings().has_memory = false;
  Call large(3, 30000000 / 36, 0);  // nothing idle is as large
  EXPECT_MESSAGE("kernel inverse_thread_float32_3: the GPU has no memory for 33554432 bytes",
                 large.run());
  settings() = {};
  EXPECT(call.run() == "", "works again");
  call.expect_inverse();
  // A kernel with more threads than registers; compiled at the first call, on another thread.
  settings().max_threads = 32;
  Call six(6, 5, 0);
  const std::string too_many = six.run();
  EXPECT(too_many.find("kernel inverse_thread_float32_6: it runs with ") == 0 &&
             too_many.find(" threads, Apple M1 (fake) has registers for 32") != std::string::npos,
         "%s", too_many.c_str());
}

void test_compiling() {
  Fake fake;
  metal::Gpu gpu;
  EXPECT(!gpu.compiled("inverse_thread_float32_2"), "compiled before it is needed");
  auto* pipeline = gpu.compile("inverse_thread_float32_2");
  EXPECT(pipeline && gpu.compiled("inverse_thread_float32_2") == pipeline, "kept");
  EXPECT(metal_fake::counts().safe_math, "compiled with fast math");
  const metal_fake::Counts before = metal_fake::counts();
  EXPECT(gpu.compile("inverse_thread_float32_2") == pipeline, "compiled once");
  gpu.compile("inverse_thread_float32_3");
  EXPECT(metal_fake::counts().pipelines == before.pipelines + 1, "a pipeline each");
  EXPECT(metal_fake::counts().libraries == before.libraries, "one library");
  EXPECT_MESSAGE("there is no such kernel", gpu.compile("inverse_by_magic"));

  settings().has_math_mode = false;  // before macOS 15
  metal::Gpu older;
  older.compile("inverse_thread_float32_2");
  EXPECT(metal_fake::counts().safe_math, "compiled with fast math");
  settings().compile_error = "line 1: no";
  metal::Gpu broken;
  EXPECT_MESSAGE("the kernels do not compile: line 1: no",
                 broken.compile("inverse_thread_float32_2"));
}

void test_devices() {
  Fake fake;
  settings().present = false;
  metal::Gpu none;
  EXPECT(none.unavailable() == "no Metal device" && none.name().empty(), "%s",
         none.unavailable().c_str());
  settings() = {};
  settings().apple_gpu = false;
  settings().name = "AMD Radeon Pro 5500M";
  metal::Gpu other;
  EXPECT(
      other.unavailable() ==
          "the kernels need an Apple GPU of the M1's family or later, AMD Radeon Pro 5500M is none",
      "%s", other.unavailable().c_str());
  settings() = {};
  metal::Gpu m1;
  EXPECT(m1.unavailable().empty() && m1.name() == "Apple M1 (fake)", "%s",
         m1.unavailable().c_str());
}

void test_bindings_that_overlap_share_a_buffer() {
  Fake fake;
  metal::Gpu gpu;
  std::vector<char> memory(1000, 'a'), other(8, 'b');
  metal::Buffers buffers(gpu.device(), &gpu.pool());
  char* scratch = static_cast<char*>(buffers.scratch(100));
  const metal::Binding whole{memory.data(), 1000, false}, part{memory.data() + 500, 100, true},
      second{other.data(), 8, true}, absent{nullptr, 0, true}, inner{scratch + 40, 60, true};
  buffers.bind({{"f", {part, second, absent}, {}, 1, 32}, {"g", {whole, inner}, {}, 1, 32}});
  EXPECT(buffers.place(whole).buffer == buffers.place(part).buffer, "two buffers of one memory");
  EXPECT(buffers.place(part).offset == buffers.place(whole).offset + 500, "offset");
  EXPECT(buffers.place(second).buffer != buffers.place(whole).buffer, "another array");
  EXPECT(buffers.place(absent).buffer, "an absent output has no buffer");
  EXPECT(buffers.place(inner).offset == 40 && buffers.place(inner).buffer->contents() == scratch,
         "scratch");
  std::memset(static_cast<char*>(buffers.place(part).buffer->contents()) + 500, 'c', 100);
  std::memset(buffers.place(second).buffer->contents(), 'd', 8);
  buffers.copy_back();
  EXPECT(memory[499] == 'a' && memory[500] == 'c' && memory[599] == 'c' && memory[600] == 'a',
         "results");
  EXPECT(other[0] == 'd' && other[7] == 'd', "results");
}

void test_pool_is_bounded_and_reused() {
  Fake fake;
  metal::Gpu gpu;
  metal::BufferPool& pool = gpu.pool();
  const long allocated = metal_fake::counts().allocated, alive = metal_fake::alive("MTLBuffer");
  auto first = pool.take(5000);
  EXPECT(first->length() == 8192, "%lu", first->length());
  const auto* kept = first.get();
  pool.give(std::move(first));
  auto again = pool.take(8000);
  EXPECT(again.get() == kept && pool.idle_bytes() == 0, "the buffer is used again");
  EXPECT(metal_fake::counts().allocated == allocated + 1, "allocated once");
  std::vector<metal::NS::SharedPtr<metal::MTL::Buffer>> many;
  for (int i = 0; i < 6; ++i) many.push_back(pool.take(60 << 20));
  for (auto& buffer : many) pool.give(std::move(buffer));
  EXPECT(pool.idle_bytes() == 256 << 20, "%zu bytes are kept", pool.idle_bytes());
  EXPECT(metal_fake::alive("MTLBuffer") == alive + 5, "%ld buffers live",
         metal_fake::alive("MTLBuffer") - alive);
}

void test_many_threads() {
  Fake fake;
  settings().delay_microseconds = 300;
  std::vector<std::thread> threads;
  std::atomic<int> done{0};
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([t, &done] {
      for (int i = 0; i < 5; ++i) {
        Call call(1 + (t + i) % 5, i == 4 ? 6000 : 20 + t, t);
        if (call.run() == "") ++done;
        call.expect_inverse();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT(done == 40, "%d", int(done));
}

void test_nothing_is_left_behind() {
  Fake fake;
  auto run = [] {
    for (int64_t batch : {1, 300, 9000}) EXPECT(Call(3, batch, 1).run() == "", "run");
    settings().command_error = "no";
    EXPECT(Call(3, 9000, 1).run() != "", "no failure");
    metal_fake::wait();
    settings().command_error = "";
    return metal_fake::alive();
  };
  const long before = run(), after = run();
  EXPECT(after == before, "%ld objects, now %ld", before, after);
  EXPECT(metal_fake::alive("MTLCommandBuffer") == 0, "command buffers live");
}

void test_what_the_gpu_takes() {
  Fake fake;
  Call call(3, 1, 0);
  InverseProblem p = call.problem();
  p.batch = 0;
  metal::select_mode(metal::Mode::kAlways);
  EXPECT(!metal::takes(p), "an empty batch is taken");
  EXPECT(metal::takes(call.problem()), "always");
  p = call.problem();
  p.dtype = DType::kF64;
  EXPECT(!metal::takes(p), "float64");
  metal::select_mode(metal::Mode::kNever);
  EXPECT(!metal::takes(call.problem()), "never");
  metal::select_mode(metal::Mode::kAuto);
  EXPECT(!metal::takes(call.problem()), "a small one");
  p = call.problem();
  p.batch = 4'000'000 / 36;
  EXPECT(!metal::takes(p), "one less than 4 MB");
  ++p.batch;
  EXPECT(metal::takes(p), "4 MB on an M1");
}

void test_handover_by_chip() {
  for (auto [name, bytes] : {std::pair<const char*, int64_t>{"Apple M1", 4000000},
                             {"Apple M1 Max", 4000000},
                             {"Apple M2 Pro", 4000000},
                             {"Apple M4", 2000000},
                             {"Apple M5 Pro", 1000000},
                             {"Apple M10", 2000000},
                             {"", 2000000}}) {
    EXPECT(metal::handover_bytes(name) == bytes, "%s: %d", name, int(metal::handover_bytes(name)));
  }
  const std::string reason =
      metal::handover_reason(Op::kInverse, 3, DType::kF32, Structure::kPosUpper, 36000, "Apple M5");
  EXPECT(reason.find("not on the GPU of a Mac: 0.036 MB are less than 1 MB") == 0, "%s",
         reason.c_str());
}

// What Metal would abort for.
void test_the_fake_device_refuses_misuse() {
  Fake fake;
  metal::Gpu gpu;
  NS::AutoreleasePool pool;
  auto* pipeline = gpu.compile("inverse_thread_float32_2");
  auto buffer = NS::TransferPtr(gpu.device()->newBuffer(64, 0));
  auto commands = NS::RetainPtr(gpu.queue()->commandBuffer());
  auto* encoder = commands->computeCommandEncoder();
  std::vector<char> bytes(5000);
  EXPECT_MESSAGE("newBufferWithBytesNoCopy: of no whole pages, or not shared",
                 gpu.device()->newBufferNoCopy(bytes.data() + 1, 4096, 0));
  EXPECT_MESSAGE("setBytes of 5000", encoder->setBytes(bytes.data(), 5000, 0));
  EXPECT_MESSAGE("index 31 of a buffer: there are 31", encoder->setBuffer(buffer.get(), 0, 31));
  EXPECT_MESSAGE("an offset behind the buffer", encoder->setBuffer(buffer.get(), 64, 0));
  EXPECT_MESSAGE("a dispatch without a pipeline",
                 encoder->dispatchThreadgroups({1, 1, 1}, {32, 1, 1}));
  encoder->setComputePipelineState(pipeline);
  EXPECT_MESSAGE("2048 threads in a group", encoder->dispatchThreadgroups({1, 1, 1}, {2048, 1, 1}));
  EXPECT_MESSAGE("no groups", encoder->dispatchThreadgroups({0, 1, 1}, {32, 1, 1}));
  EXPECT_MESSAGE("commit before endEncoding", commands->commit());
  encoder->endEncoding();
  EXPECT_MESSAGE("an encoder is used after endEncoding", encoder->endEncoding());
  EXPECT_MESSAGE("MTLBuffer has no method size", buffer->send<NS::UInteger>("size"));
  const std::string types = message_of([&] { buffer->send<int>("length"); });
  EXPECT(types.find("length is called with types") == 0, "%s", types.c_str());
  auto* gone = NS::TransferPtr(gpu.device()->newBuffer(64, 0)).get();
  EXPECT_MESSAGE("a MTLBuffer is used after its last release", gone->length());
  std::string leaked;
  std::thread([&] { leaked = message_of([&] { gpu.queue()->commandBuffer(); }); }).join();
  EXPECT(leaked == "a MTLCommandBuffer is autoreleased without a pool: it leaks", "%s",
         leaked.c_str());
}

}  // namespace
}  // namespace jaxinv

int main() {
  using namespace jaxinv;
  test_small_calls_are_copied_and_large_ones_wrapped();
  test_matrices_take_turns_in_scratch_memory();
  test_pages_that_metal_refuses_are_copied();
  test_launch_returns_before_the_work_is_done();
  test_failures_name_the_kernel();
  test_compiling();
  test_devices();
  test_bindings_that_overlap_share_a_buffer();
  test_pool_is_bounded_and_reused();
  test_many_threads();
  test_nothing_is_left_behind();
  test_what_the_gpu_takes();
  test_handover_by_chip();
  test_the_fake_device_refuses_misuse();
  metal_fake::wait();
  std::printf("%d failures\n", failures);
}
