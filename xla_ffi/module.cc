// The Python module `_jaxinv`: handlers as capsules, the plan, the kernel sets.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

#include "core/plan.h"
#include "cpu/isa.h"
#include "metal/handover.h"
#include "xla_ffi/cpu_handlers.h"
#include "xla_ffi/decode.h"
#ifdef JAXINV_HAS_CUDA
#include "cuda/launch.h"
#include "xla_ffi/cuda_handlers.h"
#endif
#ifdef JAXINV_HAS_METAL
#include "metal/launch.h"
#endif

namespace nb = nanobind;

namespace jaxinv {
namespace {

template <class T>
struct Name {
  const char* name;
  T value;
};
constexpr Name<Backend> kBackends[] = {
    {"cpu", Backend::kCpu}, {"cuda", Backend::kCuda}, {"metal", Backend::kMetal}};
constexpr Name<Op> kOps[] = {{"inverse", Op::kInverse},  {"triple_product", Op::kTripleProduct},
                             {"solve", Op::kSolve},      {"lu_factor", Op::kLuFactor},
                             {"lu_solve", Op::kLuSolve}, {"determinant", Op::kDeterminant}};
constexpr Name<metal::Mode> kModes[] = {{"", metal::Mode::kAuto},
                                        {"auto", metal::Mode::kAuto},
                                        {"always", metal::Mode::kAlways},
                                        {"never", metal::Mode::kNever}};
constexpr Name<DType> kDTypes[] = {{"float16", DType::kF16},   {"bfloat16", DType::kBF16},
                                   {"float32", DType::kF32},   {"float64", DType::kF64},
                                   {"complex64", DType::kC64}, {"complex128", DType::kC128}};

template <class T, size_t N>
T named(const Name<T> (&table)[N], const char* what, const std::string& name) {
  for (const Name<T>& entry : table) {
    if (name == entry.name) return entry.value;
  }
  throw std::invalid_argument(std::string("_jaxinv: unknown ") + what + " '" + name + "'");
}

Structure structure_named(const std::string& name) {
  const std::optional<Structure> known = ffi::structure_of(name);
  if (!known) throw std::invalid_argument("_jaxinv: unknown structure '" + name + "'");
  return *known;
}

nb::dict plan_dict(const std::string& backend, const std::string& op, int64_t n,
                   const std::string& dtype, const std::string& structure) {
  Plan answer = plan(named(kBackends, "backend", backend), named(kOps, "op", op), n,
                     named(kDTypes, "dtype", dtype), structure_named(structure));
  nb::dict out;
  out["native"] = answer.algorithm != Algorithm::kPortable;
  out["algorithm"] = answer.description;
  out["kernel"] = answer.kernel;
  out["reason"] = answer.reason;
  out["workspace"] = answer.workspace;
  return out;
}

template <class Handler>
nb::capsule capsule(Handler* handler) {
  return nb::capsule(reinterpret_cast<void*>(handler));
}

// Custom calls by JAX platform. The same names on every platform.
nb::dict targets() {
  nb::dict cpu;
  cpu["jaxinv_inverse"] = capsule(ffi::cpu_inverse);
  cpu["jaxinv_triple_product"] = capsule(ffi::cpu_triple_product);
  cpu["jaxinv_solve"] = capsule(ffi::cpu_solve);
  cpu["jaxinv_lu_factor"] = capsule(ffi::cpu_lu_factor);
  cpu["jaxinv_lu_solve"] = capsule(ffi::cpu_lu_solve);
  cpu["jaxinv_determinant"] = capsule(ffi::cpu_determinant);
  nb::dict out;
  out["cpu"] = cpu;
#ifdef JAXINV_HAS_CUDA
  auto stages = [](auto* initialize, auto* execute) {
    nb::dict handlers;
    handlers["initialize"] = capsule(initialize);
    handlers["execute"] = capsule(execute);
    return handlers;
  };
  nb::dict cuda;
  cuda["jaxinv_inverse"] = stages(ffi::cuda_inverse_initialize, ffi::cuda_inverse);
  cuda["jaxinv_triple_product"] =
      stages(ffi::cuda_triple_product_initialize, ffi::cuda_triple_product);
  cuda["jaxinv_solve"] = stages(ffi::cuda_solve_initialize, ffi::cuda_solve);
  cuda["jaxinv_lu_factor"] = stages(ffi::cuda_lu_factor_initialize, ffi::cuda_lu_factor);
  cuda["jaxinv_lu_solve"] = stages(ffi::cuda_lu_solve_initialize, ffi::cuda_lu_solve);
  cuda["jaxinv_determinant"] = stages(ffi::cuda_determinant_initialize, ffi::cuda_determinant);
  out["CUDA"] = cuda;
#endif
  return out;
}

// What the benchmarks measure by; registered by them alone.
nb::dict yardsticks() {
  nb::dict cpu;
  cpu["jaxinv_copy"] = capsule(ffi::cpu_copy);
  nb::dict out;
  out["cpu"] = cpu;
#ifdef JAXINV_HAS_CUDA
  nb::dict cuda;
  cuda["jaxinv_copy"] = capsule(ffi::cuda_copy);
  out["CUDA"] = cuda;
#endif
  return out;
}

// Why a backend is not available in this process; empty when it is.
std::string unavailable(const std::string& backend) {
  switch (named(kBackends, "backend", backend)) {
    case Backend::kCpu:
      return "";
    case Backend::kCuda:
#ifdef JAXINV_HAS_CUDA
      return cuda::unavailable();
#else
      return "this build has no CUDA kernels: nvcc was not found, or JAXINV_CUDA=OFF was set";
#endif
    case Backend::kMetal:
      if (metal::mode() == metal::Mode::kNever) return "JAXINV_METAL=never";
#ifdef JAXINV_HAS_METAL
      return metal::unavailable();
#else
      return "this build has no Metal kernels: it is not for macOS on arm64, or JAXINV_METAL=OFF "
             "was set";
#endif
  }
  return "";
}

// Whether programs for a backend may call its kernels: also those compiled here for another machine, but not
// where this machine's devices are too old for them.
bool compiles_for(const std::string& backend) {
#ifdef JAXINV_HAS_CUDA
  if (named(kBackends, "backend", backend) == Backend::kCuda) return !cuda::refused();
#endif
  return unavailable(backend).empty();
}

std::string device(const std::string& backend) {
  switch (named(kBackends, "backend", backend)) {
    case Backend::kCpu:
      return cpu::device_name();
    case Backend::kCuda:
#ifdef JAXINV_HAS_CUDA
      return cuda::device_name();
#else
      return "";
#endif
    case Backend::kMetal:
#ifdef JAXINV_HAS_METAL
      return metal::device_name();
#else
      return "";
#endif
  }
  return "";
}

void select_metal(const std::string& mode) { metal::select_mode(named(kModes, "mode", mode)); }

// Whether a call of jax's cpu platform goes to the GPU of a Mac (of this one, if it is one), and why.
nb::tuple handover(const std::string& op, int64_t n, const std::string& dtype,
                   const std::string& structure, int64_t bytes) {
  const Structure known = structure_named(structure);
  const Op which = named(kOps, "op", op);
  const DType type = named(kDTypes, "dtype", dtype);
  const std::string gpu = device("metal");
  return nb::make_tuple(metal::hands_over(which, n, type, known, bytes, gpu),
                        metal::handover_reason(which, n, type, known, bytes, gpu));
}

std::string kernel_set(const std::string& backend) {
  if (named(kBackends, "backend", backend) == Backend::kMetal) return "metal";
#ifdef JAXINV_HAS_CUDA
  if (named(kBackends, "backend", backend) == Backend::kCuda) return cuda::kernel_set();
#endif
  return cpu::kernel_set().name;
}

std::vector<std::string> kernel_sets() {
  std::vector<std::string> names;
  for (const cpu::KernelSet* set : cpu::available_kernel_sets()) names.push_back(set->name);
  return names;
}

}  // namespace
}  // namespace jaxinv

NB_MODULE(_jaxinv, m) {
  using namespace jaxinv;
  m.doc() = "Compiled kernels and XLA FFI handlers of jaxinv.";
  m.attr("__version__") = JAXINV_VERSION;
  m.attr("FFI_API_VERSION") = nb::make_tuple(XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR);
  m.def("plan", plan_dict, nb::arg("backend"), nb::arg("op"), nb::arg("n"), nb::arg("dtype"),
        nb::arg("structure"), "Which algorithm and kernel serve an operation, and why.");
  m.def("targets", targets, "Custom-call capsules by platform and name.");
  m.def("yardsticks", yardsticks, "Like targets, for the benchmarks alone.");
  m.def("unavailable", unavailable, nb::arg("backend"), "Why a backend is missing, or ''.");
  m.def("kernel_sets", kernel_sets, "Kernel sets that this machine can run, best first.");
  m.def("select_isa", cpu::select_kernel_set, nb::arg("name"),
        "Fixes the CPU's kernel set; '' takes the best.");
  m.def("select_metal", select_metal, nb::arg("mode"), "JAXINV_METAL: auto, always or never.");
  m.def("handover", handover, nb::arg("op"), nb::arg("n"), nb::arg("dtype"), nb::arg("structure"),
        nb::arg("bytes"),
        "Whether a call that reads so many bytes goes to the GPU of a Mac, and why.");
  m.def("compiles_for", compiles_for, nb::arg("backend"),
        "Whether programs for a backend may call its kernels.");
  m.def("kernel_set", kernel_set, nb::arg("backend"), "The kernel set in use.");
  m.def("device", device, nb::arg("backend"), "The processor a backend runs on, or ''.");
}
