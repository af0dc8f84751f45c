// The device, its library and buffers.
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <mutex>
#include <vector>

#include "tests/cpp/metal_fake/objects.h"

namespace metal_fake {
namespace {

constexpr size_t kThreadgroupBytes = 32 << 10;
constexpr Integer kFamilyApple7 = 1007;

struct CompileOptions {
  Integer math_mode = 2, math_functions = 0;  // fast, as Metal's default is
  bool fast = true;
};
std::mutex counts_mutex;
Counts counted;

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

void count(const std::function<void(Counts&)>& change) {
  std::lock_guard<std::mutex> lock(counts_mutex);
  change(counted);
}

id error(const std::string& text) { return make<std::string>("NSError", text); }

Settings& settings() {
  static Settings settings = [] {
    Settings first;
    const char* error = std::getenv("JAXINV_METAL_FAKE_ERROR");
    if (error) first.command_error = error;
    return first;
  }();
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
