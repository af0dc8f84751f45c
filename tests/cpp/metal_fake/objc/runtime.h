// Stand-in for the Objective-C runtime's header: objects that count references and know what methods they have,
// with which types. Sending to an object that is gone, a message that it does not know, or arguments of other
// types is a metal_fake::Misuse.
#pragma once

#include <array>
#include <type_traits>
#include <typeindex>
#include <typeinfo>

extern "C" {
struct objc_class;
struct objc_object {
  objc_class* isa;
};
struct objc_selector;
typedef objc_object* id;
typedef objc_class* Class;
typedef objc_selector* SEL;
typedef void (*IMP)();
typedef bool BOOL;

Class objc_getClass(const char* name);
Class object_getClass(id object);
IMP class_getMethodImplementation(Class type, SEL selector);
SEL sel_registerName(const char* name);
}

namespace metal_fake {

// Types as they are passed: any object is an `id`, any structure so many bytes.
template <class T, class = void>
struct Passed {
  using type = T;
};
template <class T>
struct Passed<T, std::enable_if_t<std::is_class_v<T>>> {
  using type = std::array<char, sizeof(T)>;
};
template <class T>
struct Passed<T*, std::enable_if_t<std::is_class_v<T>>> {
  using type = id;
};
template <class T>
struct Passed<T**, std::enable_if_t<std::is_class_v<T>>> {
  using type = id*;
};
template <class Signature>
struct Types;
template <class R, class... Args>
struct Types<R(Args...)> {
  static std::type_index index() {
    return typeid(typename Passed<R>::type(typename Passed<Args>::type...));
  }
};

void check_signature(id object, const char* selector, std::type_index types);

}  // namespace metal_fake
