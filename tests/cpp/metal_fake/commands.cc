// Queues, command buffers and encoders: what is encoded is checked, then runs on a thread of its own.
#include <cfenv>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/cpp/metal_fake/objects.h"

namespace metal_fake {
namespace {

constexpr UInteger kBuffers = 31;  // places for buffers of a kernel
constexpr UInteger kThreads = 1024;
constexpr UInteger kSetBytes = 4096;
enum Status : UInteger { kNotEnqueued = 0, kCommitted = 2, kCompleted = 4, kError = 5 };

struct Size {
  UInteger width, height, depth;
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
    std::fesetenv(
        FE_DFL_ENV);  // not that of the thread of XLA's that came first, which flushes denormals
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
}  // namespace

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

}  // namespace metal_fake
