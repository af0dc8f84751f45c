// How kernels make themselves known to tests/cpp/msl/msl.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "simt.h"

namespace msl {

struct Kernel {
  void (*call)(void* const* buffers);
  size_t buffers;  // with the parameters
  uint32_t threads;
  size_t threadgroup_bytes;
};
bool add(const char* name, const Kernel& kernel);

constexpr size_t kPosition = 6;  // arguments after the buffers, see JAXINV_POSITION

// A buffer as a pointer of any type.
struct Any {
  void* data;
  template <class T>
  operator T*() const {
    return static_cast<T*>(data);
  }
};

// The buffers as a kernel wants them, then its position.
template <class... Arguments, size_t... I>
void call(void (*kernel)(Arguments...), void* const* buffers, std::index_sequence<I...>) {
  const simt::Place at = simt::place();
  kernel(Any{buffers[I]}..., at.block, at.blocks, at.threads, at.thread, at.thread % simt::kWarp,
         at.thread / simt::kWarp);
}
template <class... Arguments>
constexpr size_t buffer_count(void (*)(Arguments...)) {
  return sizeof...(Arguments) - kPosition;
}

}  // namespace msl

#define JAXINV_SHARED(Shared, name) Shared& name = *reinterpret_cast<Shared*>(simt::shared())
#define JAXINV_ENTRY(name, Shared, thread_count)                                               \
  static const bool name##_added = msl::add(                                                   \
      #name, {[](void* const* buffers) {                                                       \
                msl::call(name, buffers, std::make_index_sequence<msl::buffer_count(name)>()); \
              },                                                                               \
              msl::buffer_count(name), thread_count, sizeof(Shared)});                         \
  static_assert(sizeof(Shared) <= 32768, "threadgroup memory");
