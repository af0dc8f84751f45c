// Objective-C objects from C++: messages by the runtime's own functions, reference counts, blocks. So the
// host is plain C++17: nothing is downloaded to build it, and the tests run it on Linux over a small runtime of
// their own (tests/cpp/metal_fake).
#pragma once

#include <dispatch/dispatch.h>
#include <objc/runtime.h>

#include <functional>
#include <type_traits>
#include <utility>

extern "C" {
void* objc_autoreleasePoolPush(void);
void objc_autoreleasePoolPop(void* pool);
extern void* _NSConcreteStackBlock[32];
}

namespace jaxinv::metal::NS {

using Integer = long;
using UInteger = unsigned long;

// Sends a message. R and Args must be exactly those of the method: they decide how they are passed.
template <class R, class... Args>
R send(id object, const char* selector, Args... args) {
  static_assert((std::is_trivially_copyable_v<Args> && ...));
  if (!object) return R();
#ifdef JAXINV_METAL_FAKE  // the tests know the types that each method has
  metal_fake::check_signature(object, selector, metal_fake::Types<R(Args...)>::index());
#endif
  const SEL name = sel_registerName(selector);
  const IMP method = class_getMethodImplementation(object_getClass(object), name);
  return reinterpret_cast<R (*)(id, SEL, Args...)>(method)(object, name, args...);
}

// Base of all objects. None is ever made or destroyed from here: pointers to them are `id`s.
class Object {
 public:
  Object() = delete;
  Object(const Object&) = delete;

  template <class R, class... Args>
  R send(const char* selector, Args... args) {
    return NS::send<R>(reinterpret_cast<id>(this), selector, args...);
  }
  void retain() { send<id>("retain"); }
  void release() { send<void>("release"); }
  bool respondsToSelector(const char* selector) {
    return send<BOOL>("respondsToSelector:", sel_registerName(selector));
  }
};

// Keeps an object alive.
template <class T>
class SharedPtr {
 public:
  SharedPtr() = default;
  SharedPtr(const SharedPtr& other) : object_(other.object_) {
    if (object_) object_->retain();
  }
  SharedPtr(SharedPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  SharedPtr& operator=(SharedPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~SharedPtr() {
    if (object_) object_->release();
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  template <class U>
  friend SharedPtr<U> TransferPtr(U* object);
  T* object_ = nullptr;
};

// Takes over a reference: of a method whose name starts with new or copy.
template <class T>
SharedPtr<T> TransferPtr(T* object) {
  SharedPtr<T> pointer;
  pointer.object_ = object;
  return pointer;
}
// Adds a reference to one that is not ours: of every other method.
template <class T>
SharedPtr<T> RetainPtr(T* object) {
  if (object) object->retain();
  return TransferPtr(object);
}

// Ends the references that methods gave to the thread's innermost pool.
class AutoreleasePool {
 public:
  AutoreleasePool() : pool_(objc_autoreleasePoolPush()) {}
  AutoreleasePool(const AutoreleasePool&) = delete;
  ~AutoreleasePool() { objc_autoreleasePoolPop(pool_); }

 private:
  void* pool_;
};

// A block that is called exactly once, with one object, and calls `handler`. Laid out as the ABI of blocks says; it
// holds a plain pointer, so that a copy of it needs no helper.
template <class T>
class Block {
 public:
  explicit Block(std::function<void(T*)> handler)
      : handler_(new std::function<void(T*)>(std::move(handler))) {}

 private:
  struct Descriptor {
    unsigned long reserved, size;
  };
  static constexpr Descriptor kDescriptor = {0, 8 * 5};
  static void call(Block* block, T* object) {
    (*block->handler_)(object);
    delete block->handler_;
  }

  const void* isa_ = _NSConcreteStackBlock;
  int flags_ = 0, reserved_ = 0;
  void (*invoke_)(Block*, T*) = call;
  const Descriptor* descriptor_ = &kDescriptor;
  std::function<void(T*)>* handler_;
};

// Runs a task on a thread of the system's.
inline void run_elsewhere(std::function<void()> task) {
  dispatch_async_f(dispatch_get_global_queue(0, 0), new std::function<void()>(std::move(task)),
                   [](void* data) {
                     auto* task = static_cast<std::function<void()>*>(data);
                     (*task)();
                     delete task;
                   });
}

}  // namespace jaxinv::metal::NS
