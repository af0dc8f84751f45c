// Floating-point state of a task. XLA flushes denormals on some of its threads and not on others;
// results must not depend on the thread.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace jaxinv::cpu {

// Denormals honoured, round to nearest, exceptions masked; restored at the end of the scope.
class FloatState {
 public:
  FloatState() : saved_(read()) { write(kDefault); }
  ~FloatState() { write(saved_); }
  FloatState(const FloatState&) = delete;
  FloatState& operator=(const FloatState&) = delete;

 private:
#if defined(__x86_64__)
  static constexpr uint64_t kDefault = 0x1f80;
  static uint64_t read() { return _mm_getcsr(); }
  static void write(uint64_t state) { _mm_setcsr(static_cast<unsigned>(state)); }
#elif defined(__aarch64__)
  static constexpr uint64_t kDefault = 0;
  static uint64_t read() {
    uint64_t state;
    asm volatile("mrs %0, fpcr" : "=r"(state));
    return state;
  }
  static void write(uint64_t state) { asm volatile("msr fpcr, %0" : : "r"(state)); }
#endif
  uint64_t saved_;
};

}  // namespace jaxinv::cpu
