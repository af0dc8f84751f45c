// What the files of the fake device share.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <functional>

#include "tests/cpp/metal_fake/runtime.h"
#include "tests/cpp/msl/msl.h"

namespace metal_fake {

using Integer = long;
using UInteger = unsigned long;

struct Buffer {
  void* data;
  UInteger length;
  bool owned;
  Buffer(void* data, UInteger length, bool owned) : data(data), length(length), owned(owned) {}
  Buffer(const Buffer&) = delete;
  ~Buffer() {
    if (owned) std::free(data);
  }
};
struct Pipeline {
  std::string function;
  UInteger threads;
  explicit Pipeline(const std::string& function)
      : function(function),
        threads(
            std::min<UInteger>(msl::limits(function).threads_per_group, settings().max_threads)) {}
};

// Changes what counts() answers: the threads of the host and of the device do.
void count(const std::function<void(Counts&)>& change);
id error(const std::string& text);

// Queues, command buffers and encoders.
void define_commands();

}  // namespace metal_fake
