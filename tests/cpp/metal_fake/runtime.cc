// The Objective-C runtime, libdispatch and Foundation, as far as the host uses them.
#include "tests/cpp/metal_fake/runtime.h"

#include <dispatch/dispatch.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace metal_fake {
namespace {

// Objects that are gone stay in memory, to be recognised.
struct Instance : objc_object {
  Instance(Class type, std::shared_ptr<void> state) : objc_object{type}, state(std::move(state)) {}
  std::atomic<long> references{1};
  std::shared_ptr<void> state;
};

struct World {
  std::recursive_mutex mutex;
  std::map<std::string, Class> classes;
  std::set<std::string> selectors;
  std::map<std::string, long> alive;
  std::mutex tasks_mutex;
  std::condition_variable tasks_end;
  long tasks = 0;
};
World& world() {
  static World* const world = new World;
  return *world;
}

thread_local std::vector<std::vector<id>> pools;

Instance* instance(id object) {
  auto* found = static_cast<Instance*>(object);
  if (found->references <= 0) misuse("a " + found->isa->name + " is used after its last release");
  return found;
}

const char* name_of(SEL selector) { return reinterpret_cast<const char*>(selector); }

const objc_class::Method* find(Class type, SEL selector) {
  auto found = type->methods.find(name_of(selector));
  return found == type->methods.end() ? nullptr : &found->second;
}

}  // namespace

void misuse(const std::string& what) {
  std::fprintf(stderr, "metal_fake: %s\n", what.c_str());  // also where it cannot be caught
  throw Misuse(what);
}

Class metaclass(Class type) { return type->isa; }

Class define(const char* name) {
  auto* meta = new objc_class{{nullptr}, std::string("class ") + name, {}};
  auto* type = new objc_class{{meta}, name, {}};
  type->add(
      "retain", +[](id self, SEL) {
        retain(self);
        return self;
      });
  type->add("release", +[](id self, SEL) { release(self); });
  type->add(
      "respondsToSelector:", +[](id self, SEL, SEL selector) -> BOOL {
        return find(self->isa, selector) != nullptr;
      });
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  world().classes[name] = type;
  return type;
}

id make(const char* type, std::shared_ptr<void> state) {
  auto* object = new Instance(objc_getClass(type), std::move(state));
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  ++world().alive[type];
  return object;
}

void* state(id object, const char* type) {
  if (!object) misuse(std::string("nil for a ") + type);
  if (object->isa != objc_getClass(type)) misuse("a " + object->isa->name + " for a " + type);
  return instance(object)->state.get();
}

void retain(id object) { ++instance(object)->references; }

void release(id object) {
  Instance* found = instance(object);
  if (--found->references > 0) return;
  found->state.reset();
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  --world().alive[found->isa->name];
}

id autorelease(id object) {
  if (pools.empty()) misuse("a " + object->isa->name + " is autoreleased without a pool: it leaks");
  pools.back().push_back(object);
  return object;
}

id string(const std::string& text) { return autorelease(make<std::string>("NSString", text)); }

long alive(const std::string& type) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  long count = 0;
  for (const auto& [name, number] : world().alive) {
    if (type.empty() || name == type) count += number;
  }
  return count;
}

void begin_task() {
  std::lock_guard<std::mutex> lock(world().tasks_mutex);
  ++world().tasks;
}
void end_task() {
  std::lock_guard<std::mutex> lock(world().tasks_mutex);
  if (--world().tasks == 0) world().tasks_end.notify_all();
}
void wait() {
  std::unique_lock<std::mutex> lock(world().tasks_mutex);
  world().tasks_end.wait(lock, [] { return world().tasks == 0; });
}

void check_signature(id object, const char* selector, std::type_index types) {
  Class type = object_getClass(object);
  const auto* method = find(type, sel_registerName(selector));
  if (method && method->types != types) {
    misuse(std::string(selector) + " is called with types " + types.name() + ", has " +
           method->types.name());
  }
}

}  // namespace metal_fake

using namespace metal_fake;

extern "C" {

void* _NSConcreteStackBlock[32];

Class objc_getClass(const char* name) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  auto found = world().classes.find(name);
  if (found != world().classes.end()) return found->second;
  if (std::string(name) != "NSString") misuse(std::string("there is no class ") + name);
  Class type = define("NSString");
  type->add(
      "UTF8String", +[](id self, SEL) { return state<std::string>(self, "NSString").c_str(); });
  metaclass(type)->add(
      "stringWithUTF8String:", +[](id, SEL, const char* text) { return string(text); });
  return type;
}

Class object_getClass(id object) {
  if (object->isa->isa) instance(object);  // not a class
  return object->isa;
}

IMP class_getMethodImplementation(Class type, SEL selector) {
  const auto* method = find(type, selector);
  if (!method) misuse(type->name + " has no method " + name_of(selector));
  return method->implementation;
}

SEL sel_registerName(const char* name) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  const std::string& kept = *world().selectors.insert(name).first;
  return reinterpret_cast<SEL>(const_cast<char*>(kept.c_str()));
}

void* objc_autoreleasePoolPush() {
  pools.emplace_back();
  return reinterpret_cast<void*>(pools.size());
}
void objc_autoreleasePoolPop(void* pool) {
  if (reinterpret_cast<size_t>(pool) != pools.size()) misuse("pools end out of order");
  std::vector<id> objects = std::move(pools.back());
  pools.pop_back();
  for (id object : objects) release(object);
}

dispatch_queue_t dispatch_get_global_queue(long, unsigned long) { return nullptr; }
void dispatch_async_f(dispatch_queue_t, void* context, void (*work)(void*)) {
  begin_task();
  std::thread([=] {
    work(context);
    end_task();
  }).detach();
}
}
