// What the host asks of Metal and Foundation: classes, methods and constants under the names that Apple's
// metal-cpp gives them. Signatures are Apple's; tests/cpp/metal_fake knows them a second time and compares.
#pragma once

#include <string>

#include "metal/objc.h"

namespace jaxinv::metal {

namespace NS {

class String : public Object {
 public:
  static String* string(const char* text) {  // in the autorelease pool
    return NS::send<String*>(id(objc_getClass("NSString")), "stringWithUTF8String:", text);
  }
  const char* utf8String() { return send<const char*>("UTF8String"); }
};

class Error : public Object {
 public:
  String* localizedDescription() { return send<String*>("localizedDescription"); }
};
inline std::string text_of(Error* error) {
  const char* text = error ? error->localizedDescription()->utf8String() : nullptr;
  return text ? text : "no reason given";
}

class Array : public Object {
 public:
  UInteger count() { return send<UInteger>("count"); }
  Object* object(UInteger index) { return send<Object*>("objectAtIndex:", index); }
};

}  // namespace NS

namespace MTL {

using NS::Integer;
using NS::UInteger;

constexpr UInteger kStorageModeShared = 0;  // MTLResourceStorageModeShared
constexpr Integer kGpuFamilyApple7 = 1007;  // M1; the first with reductions over a simdgroup
constexpr Integer kMathModeSafe = 0;
constexpr Integer kMathFunctionsPrecise = 1;
constexpr UInteger kCommandBufferStatusError = 5;
constexpr size_t kMaxBytes = 4096;  // of setBytes

struct Size {
  UInteger width, height, depth;
};

class Buffer : public NS::Object {
 public:
  void* contents() { return send<void*>("contents"); }
  UInteger length() { return send<UInteger>("length"); }
};

class CompileOptions : public NS::Object {
 public:
  static CompileOptions* create() {
    return NS::send<CompileOptions*>(id(objc_getClass("MTLCompileOptions")), "new");
  }
  void setMathMode(Integer mode) { send<void>("setMathMode:", mode); }  // macOS 15
  void setMathFloatingPointFunctions(Integer functions) {               // macOS 15
    send<void>("setMathFloatingPointFunctions:", functions);
  }
  void setFastMathEnabled(bool enabled) { send<void>("setFastMathEnabled:", BOOL(enabled)); }
};

class Function : public NS::Object {};

class Library : public NS::Object {
 public:
  Function* newFunction(NS::String* name) { return send<Function*>("newFunctionWithName:", name); }
};

class ComputePipelineState : public NS::Object {
 public:
  UInteger maxTotalThreadsPerThreadgroup() {
    return send<UInteger>("maxTotalThreadsPerThreadgroup");
  }
};

class ComputeCommandEncoder : public NS::Object {
 public:
  void setComputePipelineState(ComputePipelineState* state) {
    send<void>("setComputePipelineState:", state);
  }
  void setBuffer(Buffer* buffer, UInteger offset, UInteger index) {
    send<void>("setBuffer:offset:atIndex:", buffer, offset, index);
  }
  void setBytes(const void* bytes, UInteger length, UInteger index) {
    send<void>("setBytes:length:atIndex:", bytes, length, index);
  }
  void dispatchThreadgroups(Size groups, Size threads) {
    send<void>("dispatchThreadgroups:threadsPerThreadgroup:", groups, threads);
  }
  void endEncoding() { send<void>("endEncoding"); }
};

class CommandBuffer : public NS::Object {
 public:
  ComputeCommandEncoder* computeCommandEncoder() {
    return send<ComputeCommandEncoder*>("computeCommandEncoder");
  }
  void addCompletedHandler(std::function<void(CommandBuffer*)> handler) {
    NS::Block<CommandBuffer> block(std::move(handler));
    send<void>("addCompletedHandler:", static_cast<void*>(&block));  // copies the block
  }
  void commit() { send<void>("commit"); }
  UInteger status() { return send<UInteger>("status"); }
  NS::Error* error() { return send<NS::Error*>("error"); }
};

class CommandQueue : public NS::Object {
 public:
  CommandBuffer* commandBuffer() { return send<CommandBuffer*>("commandBuffer"); }
};

class Device : public NS::Object {
 public:
  NS::String* name() { return send<NS::String*>("name"); }
  bool hasUnifiedMemory() { return send<BOOL>("hasUnifiedMemory"); }
  bool supportsFamily(Integer family) { return send<BOOL>("supportsFamily:", family); }
  UInteger maxBufferLength() { return send<UInteger>("maxBufferLength"); }
  CommandQueue* newCommandQueue(UInteger max_buffers) {
    return send<CommandQueue*>("newCommandQueueWithMaxCommandBufferCount:", max_buffers);
  }
  Buffer* newBuffer(UInteger length, UInteger options) {
    return send<Buffer*>("newBufferWithLength:options:", length, options);
  }
  // The memory of somebody else's, whole pages of it; nil where Metal does not take it.
  Buffer* newBufferNoCopy(void* pages, UInteger length, UInteger options) {
    return send<Buffer*>("newBufferWithBytesNoCopy:length:options:deallocator:", pages, length,
                         options, static_cast<void*>(nullptr));
  }
  Library* newLibrary(NS::String* source, CompileOptions* options, NS::Error** error) {
    return send<Library*>("newLibraryWithSource:options:error:", source, options, error);
  }
  ComputePipelineState* newComputePipelineState(Function* function, NS::Error** error) {
    return send<ComputePipelineState*>("newComputePipelineStateWithFunction:error:", function,
                                       error);
  }
};

}  // namespace MTL
}  // namespace jaxinv::metal

extern "C" {
jaxinv::metal::NS::Array* MTLCopyAllDevices(void);
jaxinv::metal::MTL::Device* MTLCreateSystemDefaultDevice(void);
}
