// Metal's objects, as far as the host uses them.
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cpp/metal_fake/runtime.h"
#include "tests/cpp/msl/msl.h"

namespace metal_fake {
namespace {

using Integer = long;
using UInteger = unsigned long;

constexpr UInteger kBuffers = 31;  // places for buffers of a kernel
constexpr UInteger kThreads = 1024;
constexpr size_t kThreadgroupBytes = 32 << 10;
constexpr UInteger kSetBytes = 4096;
constexpr Integer kFamilyApple7 = 1007;
enum Status : UInteger { kNotEnqueued = 0, kCommitted = 2, kCompleted = 4, kError = 5 };

struct Size {
  UInteger width, height, depth;
};

struct Buffer {
  void* data;
  UInteger length;
  bool owned;
  Buffer(void* data, UInteger length, bool owned) : data(data), length(length), owned(owned) {}
  Buffer(const Buffer&) = delete;
  ~Buffer() {
    if (owned) std::free(data);
  }
};
struct CompileOptions {
  Integer math_mode = 2, math_functions = 0;  // fast, as Metal's default is
  bool fast = true;
};
struct Pipeline {
  std::string function;
  UInteger threads;
  explicit Pipeline(const std::string& function)
      : function(function),
        threads(
            std::min<UInteger>(msl::limits(function).threads_per_group, settings().max_threads)) {}
};

// What a command buffer will run. It keeps buffers and pipelines alive, as Metal does.
struct Command {
  std::string function;
  std::vector<void*> buffers;
  std::vector<std::vector<unsigned char>> bytes;
  uint32_t groups, threads;
};
struct CommandBuffer {
  CommandBuffer() = default;
  CommandBuffer(const CommandBuffer&) = delete;
  Status status = kNotEnqueued;
  bool encoding = false;
  id error = nullptr;
  std::vector<Command> commands;
  std::vector<id> kept;
  std::vector<std::function<void(id)>> handlers;
  ~CommandBuffer() {
    for (id object : kept) release(object);
    if (error) release(error);
  }
  void keep(id object) {
    retain(object);
    kept.push_back(object);
  }
};
struct Encoder {
  explicit Encoder(id commands) : commands(commands) { retain(commands); }
  Encoder(const Encoder&) = delete;
  id commands;
  bool ended = false;
  id pipeline = nullptr;
  struct Place {
    id buffer = nullptr;
    UInteger offset = 0;
    std::vector<unsigned char> bytes;
    bool set = false;
  };
  Place places[kBuffers];
  ~Encoder() { release(commands); }
};

// Written by the threads of the host and of the device.
std::mutex counts_mutex;
Counts counted;
template <class F>
void count(F f) {
  std::lock_guard<std::mutex> lock(counts_mutex);
  f(counted);
}

id error(const std::string& text) { return make<std::string>("NSError", text); }

// The device: takes command buffers in the order they are committed.
class Queue {
 public:
  Queue() {
    std::thread([this] { work(); }).detach();
  }
  void commit(id commands) {
    begin_task();
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(commands);
    more_.notify_one();
  }

 private:
  void work() {
    std::fesetenv(FE_DFL_ENV);  // not that of the thread of XLA's that came first, which flushes denormals
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      more_.wait(lock, [this] { return !waiting_.empty(); });
      id commands = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      run(commands);
      release(commands);
      end_task();
    }
  }
  static void run(id object) {
    auto& commands = state<CommandBuffer>(object, "MTLCommandBuffer");
    std::this_thread::sleep_for(std::chrono::microseconds(settings().delay_microseconds));
    std::string failure = settings().command_error;
    for (Command& command : commands.commands) {
      if (!failure.empty()) break;
      std::vector<void*> buffers = command.buffers;
      for (size_t i = 0; i < buffers.size(); ++i) {
        if (!command.bytes[i].empty()) buffers[i] = command.bytes[i].data();
      }
      try {
        msl::run(command.function, buffers, command.groups, command.threads);
      } catch (const std::exception& caught) {
        failure = caught.what();
      }
    }
    if (!failure.empty()) commands.error = error(failure);
    commands.status = failure.empty() ? kCompleted : kError;
    for (auto& handler : commands.handlers) handler(object);
  }

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<id> waiting_;
};
Queue& queue() {
  static Queue* const queue = new Queue;
  return *queue;
}

// The ABI of blocks.
struct Block {
  void* isa;
  int flags, reserved;
  void (*invoke)(Block*, id);
  const struct {
    unsigned long reserved, size;
  }* descriptor;
};

Encoder& open(id self) {
  auto& encoder = state<Encoder>(self, "MTLComputeCommandEncoder");
  if (encoder.ended) misuse("an encoder is used after endEncoding");
  return encoder;
}
CommandBuffer& uncommitted(id self) {
  auto& commands = state<CommandBuffer>(self, "MTLCommandBuffer");
  if (commands.status != kNotEnqueued) misuse("a command buffer is changed after commit");
  return commands;
}
Encoder::Place& place(Encoder& encoder, UInteger index) {
  if (index >= kBuffers) misuse("index " + std::to_string(index) + " of a buffer: there are 31");
  encoder.places[index].set = true;
  return encoder.places[index];
}

void dispatch(id self, SEL, Size groups, Size threads) {
  Encoder& encoder = open(self);
  auto& commands = uncommitted(encoder.commands);
  if (!encoder.pipeline) misuse("a dispatch without a pipeline");
  const auto& pipeline = state<Pipeline>(encoder.pipeline, "MTLComputePipelineState");
  const UInteger allowed = std::min(kThreads, pipeline.threads);
  if (threads.width == 0 || threads.height != 1 || threads.depth != 1 || threads.width > allowed) {
    misuse(std::to_string(threads.width) + " threads in a group");
  }
  if (groups.width == 0 || groups.height != 1 || groups.depth != 1) misuse("no groups");
  Command command{pipeline.function, {}, {}, uint32_t(groups.width), uint32_t(threads.width)};
  for (Encoder::Place& place : encoder.places) {
    if (!place.set) break;
    void* data = nullptr;
    if (place.buffer) {
      data = static_cast<char*>(state<Buffer>(place.buffer, "MTLBuffer").data) + place.offset;
    }
    command.buffers.push_back(data);
    command.bytes.push_back(place.bytes);
  }
  commands.commands.push_back(std::move(command));
}

void define_buffers_and_errors() {
  define("NSError")->add(
      "localizedDescription",
      +[](id self, SEL) { return string(state<std::string>(self, "NSError")); });
  Class array = define("NSArray");
  array->add(
      "count",
      +[](id self, SEL) -> UInteger { return state<std::vector<id>>(self, "NSArray").size(); });
  array->add(
      "objectAtIndex:", +[](id self, SEL, UInteger index) {
        return state<std::vector<id>>(self, "NSArray").at(index);
      });
  Class buffer = define("MTLBuffer");
  buffer->add("contents", +[](id self, SEL) { return state<Buffer>(self, "MTLBuffer").data; });
  buffer->add("length", +[](id self, SEL) { return state<Buffer>(self, "MTLBuffer").length; });
}

void define_library() {
  Class options = define("MTLCompileOptions");
  metaclass(options)->add(
      "new", +[](id, SEL) { return make<CompileOptions>("MTLCompileOptions"); });
  options->add(
      "respondsToSelector:", +[](id, SEL, SEL) -> BOOL {
        return settings().has_math_mode;  // nothing else is asked for
      });
  options->add(
      "setMathMode:", +[](id self, SEL, Integer mode) {
        if (!settings().has_math_mode) misuse("setMathMode: before macOS 15");
        state<CompileOptions>(self, "MTLCompileOptions").math_mode = mode;
      });
  options->add(
      "setMathFloatingPointFunctions:", +[](id self, SEL, Integer functions) {
        if (!settings().has_math_mode) misuse("setMathFloatingPointFunctions: before macOS 15");
        state<CompileOptions>(self, "MTLCompileOptions").math_functions = functions;
      });
  options->add(
      "setFastMathEnabled:", +[](id self, SEL, BOOL enabled) {
        state<CompileOptions>(self, "MTLCompileOptions").fast = enabled;
      });
  define("MTLFunction");
  define("MTLLibrary")
      ->add(
          "newFunctionWithName:", +[](id, SEL, id name) -> id {
            const auto& function = state<std::string>(name, "NSString");
            return msl::limits(function).threads_per_group
                       ? make<std::string>("MTLFunction", function)
                       : nullptr;
          });
  define("MTLComputePipelineState")
      ->add(
          "maxTotalThreadsPerThreadgroup",
          +[](id self, SEL) { return state<Pipeline>(self, "MTLComputePipelineState").threads; });
}

void define_commands() {
  define("MTLCommandQueue")
      ->add(
          "commandBuffer",
          +[](id, SEL) { return autorelease(make<CommandBuffer>("MTLCommandBuffer")); });
  Class commands = define("MTLCommandBuffer");
  commands->add(
      "computeCommandEncoder", +[](id self, SEL) {
        uncommitted(self).encoding = true;
        return autorelease(make<Encoder>("MTLComputeCommandEncoder", self));
      });
  commands->add(
      "addCompletedHandler:", +[](id self, SEL, void* literal) {
        auto& block = *static_cast<Block*>(literal);
        if (block.isa != _NSConcreteStackBlock || block.flags || block.descriptor->reserved) {
          misuse("no block of the stack");
        }
        std::shared_ptr<Block> copy(static_cast<Block*>(std::malloc(block.descriptor->size)),
                                    std::free);
        std::memcpy(static_cast<void*>(copy.get()), literal, block.descriptor->size);
        uncommitted(self).handlers.push_back(
            [copy](id commands) { copy->invoke(copy.get(), commands); });
      });
  commands->add(
      "commit", +[](id self, SEL) {
        if (uncommitted(self).encoding) misuse("commit before endEncoding");
        uncommitted(self).status = kCommitted;
        retain(self);
        count([](Counts& c) { ++c.commands; });
        queue().commit(self);
      });
  commands->add(
      "status", +[](id self, SEL) -> UInteger {
        return state<CommandBuffer>(self, "MTLCommandBuffer").status;
      });
  commands->add(
      "error", +[](id self, SEL) { return state<CommandBuffer>(self, "MTLCommandBuffer").error; });
  Class encoder = define("MTLComputeCommandEncoder");
  encoder->add(
      "setComputePipelineState:", +[](id self, SEL, id pipeline) {
        state<Pipeline>(pipeline, "MTLComputePipelineState");
        open(self).pipeline = pipeline;
        uncommitted(open(self).commands).keep(pipeline);
      });
  encoder->add(
      "setBuffer:offset:atIndex:", +[](id self, SEL, id buffer, UInteger offset, UInteger index) {
        if (offset >= state<Buffer>(buffer, "MTLBuffer").length)
          misuse("an offset behind the buffer");
        Encoder::Place& there = place(open(self), index);
        there.buffer = buffer;
        there.offset = offset;
        there.bytes.clear();
        uncommitted(open(self).commands).keep(buffer);
      });
  encoder->add(
      "setBytes:length:atIndex:",
      +[](id self, SEL, const void* bytes, UInteger length, UInteger index) {
        if (length == 0 || length > kSetBytes) misuse("setBytes of " + std::to_string(length));
        Encoder::Place& there = place(open(self), index);
        const auto* from = static_cast<const unsigned char*>(bytes);
        there.bytes.assign(from, from + length);
        // What was bound behind it for an earlier kernel is none of the next one's.
        for (UInteger i = index + 1; i < kBuffers; ++i) open(self).places[i].set = false;
      });
  encoder->add("dispatchThreadgroups:threadsPerThreadgroup:", dispatch);
  encoder->add(
      "endEncoding", +[](id self, SEL) {
        Encoder& ended = open(self);
        ended.ended = true;
        uncommitted(ended.commands).encoding = false;
      });
}

void define_device() {
  Class device = define("MTLDevice");
  device->add("name", +[](id, SEL) { return string(settings().name); });
  device->add("hasUnifiedMemory", +[](id, SEL) -> BOOL { return settings().apple_gpu; });
  device->add(
      "supportsFamily:", +[](id, SEL, Integer family) -> BOOL {
        return settings().apple_gpu && family <= kFamilyApple7;
      });
  device->add("maxBufferLength", +[](id, SEL) -> UInteger { return UInteger(1) << 33; });
  device->add(
      "newCommandQueueWithMaxCommandBufferCount:",
      +[](id, SEL, UInteger) { return make<int>("MTLCommandQueue"); });
  device->add(
      "newBufferWithLength:options:", +[](id, SEL, UInteger length, UInteger options) -> id {
        if (length == 0 || options != 0) misuse("newBufferWithLength: of nothing, or not shared");
        void* data = nullptr;
        if (!settings().has_memory || posix_memalign(&data, sysconf(_SC_PAGESIZE), length)) {
          return nullptr;
        }
        std::memset(data, 0xff, length);
        count([](Counts& c) { ++c.allocated; });
        return make<Buffer>("MTLBuffer", data, length, true);
      });
  device->add(
      "newBufferWithBytesNoCopy:length:options:deallocator:",
      +[](id, SEL, void* pages, UInteger length, UInteger options, void* deallocator) -> id {
        const UInteger page = sysconf(_SC_PAGESIZE);
        if (uintptr_t(pages) % page || length % page || length == 0 || options != 0) {
          misuse("newBufferWithBytesNoCopy: of no whole pages, or not shared");
        }
        if (deallocator) misuse("a deallocator of memory that is not ours");
        if (!settings().takes_pages) return nullptr;
        count([](Counts& c) { ++c.wrapped; });
        return make<Buffer>("MTLBuffer", pages, length, false);
      });
  device->add(
      "newLibraryWithSource:options:error:",
      +[](id, SEL, id source, id options, id* failure) -> id {
        const auto& text = state<std::string>(source, "NSString");
        const auto& chosen = state<CompileOptions>(options, "MTLCompileOptions");
        std::string message = settings().compile_error;
        if (text.find("kernel ") == std::string::npos) message = "the text has no kernel";
        if (text.find("#include \"") != std::string::npos) message = "the text includes a file";
        if (!message.empty()) {
          if (failure) *failure = autorelease(error(message));
          return nullptr;
        }
        count([&](Counts& c) {
          ++c.libraries;
          c.safe_math = settings().has_math_mode
                            ? chosen.math_mode == 0 && chosen.math_functions == 1
                            : !chosen.fast;
        });
        return make<int>("MTLLibrary");
      });
  device->add(
      "newComputePipelineStateWithFunction:error:", +[](id, SEL, id function, id* failure) -> id {
        const auto& name = state<std::string>(function, "MTLFunction");
        if (msl::limits(name).threadgroup_bytes > kThreadgroupBytes) {
          *failure = autorelease(error(name + " takes more than 32 KB of threadgroup memory"));
          return nullptr;
        }
        count([](Counts& c) { ++c.pipelines; });
        return make<Pipeline>("MTLComputePipelineState", name);
      });
}

id the_device() {
  static const id device = [] {
    define_buffers_and_errors();
    define_library();
    define_commands();
    define_device();
    return make<int>("MTLDevice");
  }();
  return device;
}

}  // namespace

Settings& settings() {
  static Settings settings;
  return settings;
}

Counts counts() {
  std::lock_guard<std::mutex> lock(counts_mutex);
  return counted;
}

}  // namespace metal_fake

using namespace metal_fake;

extern "C" {
void* MTLCopyAllDevices() {
  std::vector<id> devices;
  id device = the_device();  // defines the classes
  if (settings().present) devices.push_back(device);
  return make<std::vector<id>>("NSArray", devices);
}
void* MTLCreateSystemDefaultDevice() { return nullptr; }
}
