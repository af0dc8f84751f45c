// The memory of a launch as buffers of the GPU: XLA's own pages where Metal takes them, copies in pooled buffers
// else.
#pragma once

#include <map>
#include <mutex>
#include <vector>

#include "metal/dispatch.h"
#include "metal/metal.h"

namespace jaxinv::metal {

// Buffers that nobody uses at the moment, up to a limit. Thread-safe.
class BufferPool {
 public:
  explicit BufferPool(MTL::Device* device) : device_(device) {}
  // At least so many bytes. Throws std::runtime_error where there is no such memory.
  NS::SharedPtr<MTL::Buffer> take(size_t bytes);
  void give(NS::SharedPtr<MTL::Buffer> buffer);
  size_t idle_bytes();

 private:
  MTL::Device* device_;
  std::mutex mutex_;
  std::multimap<size_t, NS::SharedPtr<MTL::Buffer>> idle_;
  size_t idle_bytes_ = 0;
};

// The buffers of one command buffer. Lives until the GPU is done with them.
class Buffers {
 public:
  struct Place {
    MTL::Buffer* buffer;
    size_t offset;
  };

  Buffers(MTL::Device* device, BufferPool* pool) : device_(device), pool_(pool) {}
  Buffers(const Buffers&) = delete;
  ~Buffers();

  // Memory that only kernels use, of the pool; to be bound by its address like any other.
  void* scratch(size_t bytes);
  // Makes buffers of all that these kernels read and write. Bindings that overlap get one buffer: kernels of one
  // command buffer see each other's results.
  void bind(const std::vector<Dispatch>& dispatches);
  Place place(const Binding& binding) const;
  // Brings results out of pooled buffers. When the GPU is done.
  void copy_back() const;

 private:
  struct Range {  // of the host's memory
    char* data;
    size_t bytes;
    bool written;
    NS::SharedPtr<MTL::Buffer> buffer = {};
    size_t offset = 0;
    bool pooled = true;
  };
  void wrap(Range& range);
  static const Range* in(const std::vector<Range>& ranges, const Binding& binding);

  MTL::Device* device_;
  BufferPool* pool_;
  std::vector<Range> ranges_, scratch_;
  NS::SharedPtr<MTL::Buffer>
      absent_;  // bound for outputs that nobody asked for: kernels do not touch it
};

}  // namespace jaxinv::metal
