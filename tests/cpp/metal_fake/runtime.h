// How the fake objects are made: classes as tables of functions, objects with a state of any type.
#pragma once

#include <objc/runtime.h>

#include <map>
#include <memory>
#include <string>

#include "tests/cpp/metal_fake/metal_fake.h"

struct objc_class : objc_object {
  struct Method {
    IMP implementation;
    std::type_index types;
  };
  std::string name;
  std::map<std::string, Method> methods;

  // Gives the class a method. A function or a lambda that captures nothing: (id self, SEL, arguments...).
  template <class R, class... Args>
  void add(const char* selector, R (*method)(id, SEL, Args...)) {
    methods.insert_or_assign(
        selector, Method{reinterpret_cast<IMP>(method), metal_fake::Types<R(Args...)>::index()});
  }
};

extern "C" void* _NSConcreteStackBlock[32];

namespace metal_fake {

// A class with retain, release and respondsToSelector:.
Class define(const char* name);
Class metaclass(Class type);

// A new object with one reference.
id make(const char* type, std::shared_ptr<void> state);
template <class T, class... Args>
id make(const char* type, Args&&... args) {
  return make(type, std::shared_ptr<void>(std::make_shared<T>(std::forward<Args>(args)...)));
}
// Its state. Throws Misuse if it is of another class or gone.
void* state(id object, const char* type);
template <class T>
T& state(id object, const char* type) {
  return *static_cast<T*>(state(object, type));
}

void retain(id object);
void release(id object);
id autorelease(id object);
id string(const std::string& text);  // autoreleased
[[noreturn]] void misuse(const std::string& what);

// Tasks under way, for wait().
void begin_task();
void end_task();

}  // namespace metal_fake
