// The GPU of a Mac: device, queue and library, made at the first question; pipelines at their first use.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "metal/buffers.h"
#include "metal/metal.h"

namespace jaxinv::metal {

class Gpu {
 public:
  // Of this process; never destroyed, as threads of Metal's may outlive main. Asks for the device, compiles nothing.
  static Gpu& instance();
  Gpu();

  // Why it cannot be used, in words; empty where it can.
  const std::string& unavailable() const { return unavailable_; }
  const std::string& name() const { return name_; }
  MTL::Device* device() const { return device_.get(); }
  MTL::CommandQueue* queue() const { return queue_.get(); }
  BufferPool& pool() { return *pool_; }
  size_t max_buffer_bytes() const { return max_buffer_bytes_; }

  // The pipeline of a kernel function where it is compiled already, else null. Does not wait.
  MTL::ComputePipelineState* compiled(const std::string& function);
  // The same, compiled now if need be, which may take seconds. Throws std::runtime_error.
  MTL::ComputePipelineState* compile(const std::string& function);

 private:
  NS::SharedPtr<MTL::Device> device_;
  NS::SharedPtr<MTL::CommandQueue> queue_;
  std::unique_ptr<BufferPool> pool_;
  std::string name_, unavailable_;
  size_t max_buffer_bytes_ = 0;

  std::mutex compiling_;  // held for long, never by a thread of XLA's
  NS::SharedPtr<MTL::Library> library_;
  std::mutex mutex_;
  std::map<std::string, NS::SharedPtr<MTL::ComputePipelineState>> pipelines_;
};

// The kernels' text, made of metal/*.metal by cmake/flatten_metal.py.
extern const char* const kLibraryText;

}  // namespace jaxinv::metal
