#include "metal/buffers.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace jaxinv::metal {
namespace {

// Copying less than this is assumed to cost less than to map its pages for the GPU. Not measured.
constexpr size_t kCopiedBytes = 64 << 10;
constexpr size_t kPoolBytes = 256 << 20;  // idle ones that are kept
constexpr size_t kSmallestBuffer = 4096;

}  // namespace

NS::SharedPtr<MTL::Buffer> BufferPool::take(size_t bytes) {
  size_t rounded = kSmallestBuffer;  // to a power of two, so that other calls can use it, too
  while (rounded < bytes && rounded < kPoolBytes) rounded *= 2;
  if (rounded < bytes) rounded = bytes;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = idle_.find(rounded);
    if (found != idle_.end()) {
      NS::SharedPtr<MTL::Buffer> buffer = std::move(found->second);
      idle_.erase(found);
      idle_bytes_ -= rounded;
      return buffer;
    }
  }
  auto buffer = NS::TransferPtr(device_->newBuffer(rounded, MTL::kStorageModeShared));
  if (!buffer) {
    throw std::runtime_error("the GPU has no memory for " + std::to_string(rounded) + " bytes");
  }
  return buffer;
}

void BufferPool::give(NS::SharedPtr<MTL::Buffer> buffer) {
  const size_t bytes = buffer->length();
  std::lock_guard<std::mutex> lock(mutex_);
  if (idle_bytes_ + bytes > kPoolBytes) return;
  idle_bytes_ += bytes;
  idle_.emplace(bytes, std::move(buffer));
}

size_t BufferPool::idle_bytes() {
  std::lock_guard<std::mutex> lock(mutex_);
  return idle_bytes_;
}

Buffers::~Buffers() {
  for (auto* ranges : {&ranges_, &scratch_}) {
    for (Range& range : *ranges) {
      if (range.pooled && range.buffer) pool_->give(std::move(range.buffer));
    }
  }
  if (absent_) pool_->give(std::move(absent_));
}

void* Buffers::scratch(size_t bytes) {
  auto buffer = pool_->take(bytes);
  void* data = buffer->contents();
  scratch_.push_back({static_cast<char*>(data), bytes, false, std::move(buffer)});
  return data;
}

void Buffers::bind(const std::vector<Dispatch>& dispatches) {
  std::vector<Range> found;
  for (const Dispatch& dispatch : dispatches) {
    for (const Binding& binding : dispatch.buffers) {
      char* data = static_cast<char*>(const_cast<void*>(binding.data));
      if (!data && !absent_) absent_ = pool_->take(1);
      if (data && !in(scratch_, binding)) found.push_back({data, binding.bytes, binding.written});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Range& a, const Range& b) { return a.data < b.data; });
  for (Range& range : found) {
    Range* last = ranges_.empty() ? nullptr : &ranges_.back();
    if (last && range.data < last->data + last->bytes) {
      last->bytes = std::max(last->bytes, size_t(range.data - last->data) + range.bytes);
      last->written |= range.written;
    } else {
      ranges_.push_back(std::move(range));
    }
  }
  for (Range& range : ranges_) wrap(range);
}

void Buffers::wrap(Range& range) {
  if (range.bytes >= kCopiedBytes) {
    const uintptr_t page = sysconf(_SC_PAGESIZE), address = uintptr_t(range.data);
    const uintptr_t begin = address / page * page;
    const uintptr_t end = (address + range.bytes + page - 1) / page * page;
    range.buffer = NS::TransferPtr(device_->newBufferNoCopy(reinterpret_cast<void*>(begin),
                                                            end - begin, MTL::kStorageModeShared));
    range.pooled = !range.buffer;
    range.offset = address - begin;
    if (range.buffer) return;
  }
  range.buffer = pool_->take(range.bytes);
  range.offset = 0;
  // Results too: what no kernel writes must not change.
  std::memcpy(range.buffer->contents(), range.data, range.bytes);
}

Buffers::Place Buffers::place(const Binding& binding) const {
  if (!binding.data) return {absent_.get(), 0};
  for (auto* ranges : {&ranges_, &scratch_}) {
    if (const Range* range = in(*ranges, binding)) {
      const auto* data = static_cast<const char*>(binding.data);
      return {range->buffer.get(), range->offset + (data - range->data)};
    }
  }
  throw std::logic_error("a kernel is given memory that is not bound");
}

const Buffers::Range* Buffers::in(const std::vector<Range>& ranges, const Binding& binding) {
  const auto* data = static_cast<const char*>(binding.data);
  for (const Range& range : ranges) {
    if (data >= range.data && data + binding.bytes <= range.data + range.bytes) return &range;
  }
  return nullptr;
}

void Buffers::copy_back() const {
  for (const Range& range : ranges_) {
    if (range.pooled && range.written) {
      std::memcpy(range.data, range.buffer->contents(), range.bytes);
    }
  }
}

}  // namespace jaxinv::metal
