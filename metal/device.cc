#include "metal/device.h"

#include <stdexcept>

namespace jaxinv::metal {
namespace {

// More than programs have under way: `commandBuffer` waits when there are as many.
constexpr NS::UInteger kMaxCommandBuffers = 1024;

// Not the default device alone: that is nil in a process that did not load CoreGraphics.
NS::SharedPtr<MTL::Device> find_device() {
  auto devices = NS::TransferPtr(MTLCopyAllDevices());
  if (devices && devices->count() > 0) {
    return NS::RetainPtr(static_cast<MTL::Device*>(devices->object(0)));
  }
  return NS::TransferPtr(MTLCreateSystemDefaultDevice());
}

// IEEE arithmetic: no reordering, NaN and Inf as they are, exact division.
NS::SharedPtr<MTL::CompileOptions> safe_math() {
  auto options = NS::TransferPtr(MTL::CompileOptions::create());
  if (options->respondsToSelector("setMathMode:")) {
    options->setMathMode(MTL::kMathModeSafe);
    options->setMathFloatingPointFunctions(MTL::kMathFunctionsPrecise);
  } else {
    options->setFastMathEnabled(false);
  }
  return options;
}

}  // namespace

Gpu& Gpu::instance() {
  static Gpu* const instance = new Gpu;
  return *instance;
}

Gpu::Gpu() {
  NS::AutoreleasePool pool;
  device_ = find_device();
  if (!device_) {
    unavailable_ = "no Metal device";
    return;
  }
  name_ = device_->name()->utf8String();
  if (!device_->hasUnifiedMemory() || !device_->supportsFamily(MTL::kGpuFamilyApple7)) {
    unavailable_ =
        "the kernels need an Apple GPU of the M1's family or later, " + name_ + " is none";
    return;
  }
  max_buffer_bytes_ = device_->maxBufferLength();
  queue_ = NS::TransferPtr(device_->newCommandQueue(kMaxCommandBuffers));
  if (!queue_) {
    unavailable_ = name_ + " gives no command queue";
    return;
  }
  pool_ = std::make_unique<BufferPool>(device_.get());
}

MTL::ComputePipelineState* Gpu::compiled(const std::string& function) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = pipelines_.find(function);
  return found == pipelines_.end() ? nullptr : found->second.get();
}

MTL::ComputePipelineState* Gpu::compile(const std::string& function) {
  std::lock_guard<std::mutex> lock(compiling_);
  if (auto* pipeline = compiled(function)) return pipeline;
  NS::AutoreleasePool pool;
  NS::Error* error = nullptr;
  if (!library_) {
    library_ = NS::TransferPtr(
        device_->newLibrary(NS::String::string(kLibraryText), safe_math().get(), &error));
    if (!library_) throw std::runtime_error("the kernels do not compile: " + NS::text_of(error));
  }
  auto kernel = NS::TransferPtr(library_->newFunction(NS::String::string(function.c_str())));
  if (!kernel) throw std::runtime_error("there is no such kernel");
  auto pipeline = NS::TransferPtr(device_->newComputePipelineState(kernel.get(), &error));
  if (!pipeline) throw std::runtime_error("the kernel does not compile: " + NS::text_of(error));
  std::lock_guard<std::mutex> map_lock(mutex_);
  return (pipelines_[function] = std::move(pipeline)).get();
}

}  // namespace jaxinv::metal
