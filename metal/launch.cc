// Runs a problem on the GPU: one command buffer with all its kernels, and a notice when they are done.
#include "metal/launch.h"

#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "core/workspace.h"
#include "metal/device.h"
#include "metal/dispatch.h"

namespace jaxinv::metal {
namespace {

template <class T>
T* advanced(T* data, int64_t bytes) {
  using Byte = std::conditional_t<std::is_const_v<T>, const char, char>;
  return data ? reinterpret_cast<T*>(reinterpret_cast<Byte*>(data) + bytes) : nullptr;
}

// `count` matrices of a problem from `begin` on.
InverseProblem part(InverseProblem p, int64_t begin, int64_t count) {
  const int64_t matrix = p.n * p.n * storage_bytes(p.dtype);
  p.batch = count;
  p.a = static_cast<const char*>(p.a) + begin * matrix;
  p.x = static_cast<char*>(p.x) + begin * matrix;
  if (p.info) p.info += begin;
  if (p.mantissa) {
    p.mantissa = static_cast<char*>(p.mantissa) + begin * arithmetic_bytes(p.dtype);
  }
  if (p.exponent) p.exponent += begin;
  return p;
}

class Job : public std::enable_shared_from_this<Job> {
 public:
  Job(Gpu& gpu, std::function<void(const std::string&)> done)
      : gpu_(gpu), done_(std::move(done)), buffers_(new Buffers(gpu.device(), &gpu.pool())) {}

  void prepare(InverseProblem p, int64_t scratch_bytes) {
    const int64_t scratch = workspace(Backend::kMetal, Op::kInverse, p.n, p.dtype, p.structure);
    int64_t count = p.batch;
    if (scratch) count = std::min(count, std::max<int64_t>(1, scratch_bytes / scratch));
    if (scratch) p.scratch = buffers_->scratch(count * scratch);
    for (int64_t begin = 0; begin < p.batch; begin += count) {
      for (Dispatch& d : dispatches(part(p, begin, std::min(count, p.batch - begin)))) {
        dispatches_.push_back(std::move(d));
      }
    }
  }
  template <class Problem>
  void prepare(const Problem& p, int64_t) {
    dispatches_ = dispatches(p);
  }

  void start() {
    for (const Dispatch& d : dispatches_) {
      if (gpu_.compiled(d.function)) continue;
      // The first of its kind: whoever called goes on meanwhile.
      return NS::run_elsewhere([job = shared_from_this()] { job->submit_or_fail(); });
    }
    submit();
  }

 private:
  void submit_or_fail() {
    std::string error;
    try {
      return submit();
    } catch (const std::exception& caught) {
      error = caught.what();
    }
    finish(error);
  }

  void submit() {
    NS::AutoreleasePool pool;
    std::vector<MTL::ComputePipelineState*> pipelines;
    for (const Dispatch& d : dispatches_) pipelines.push_back(pipeline(d));
    try {
      commit(pipelines);
    } catch (const std::exception& error) {
      throw std::runtime_error(kernels() + error.what());
    }
  }

  // Everything that can fail comes before there is an encoder, which must be ended.
  void commit(const std::vector<MTL::ComputePipelineState*>& pipelines) {
    buffers_->bind(dispatches_);
    MTL::CommandBuffer* commands = gpu_.queue()->commandBuffer();
    MTL::ComputeCommandEncoder* encoder = commands ? commands->computeCommandEncoder() : nullptr;
    if (!encoder) throw std::runtime_error("the GPU takes no commands");
    for (size_t i = 0; i < pipelines.size(); ++i) encode(dispatches_[i], pipelines[i], encoder);
    encoder->endEncoding();
    commands->addCompletedHandler([job = shared_from_this()](MTL::CommandBuffer* done) {
      NS::AutoreleasePool pool;
      std::string error;
      if (done->status() == MTL::kCommandBufferStatusError) {
        error = job->kernels() + "the GPU failed: " + NS::text_of(done->error());
      }
      // XLA continues its program where it is told: not on Metal's thread.
      NS::run_elsewhere([job, error] { job->finish(error); });
    });
    commands->commit();
  }

  MTL::ComputePipelineState* pipeline(const Dispatch& d) {
    try {
      MTL::ComputePipelineState* state = gpu_.compiled(d.function);
      if (!state) state = gpu_.compile(d.function);
      if (d.threads_per_group > state->maxTotalThreadsPerThreadgroup()) {
        throw std::runtime_error("it runs with " + std::to_string(d.threads_per_group) +
                                 " threads, " + gpu_.name() + " has registers for " +
                                 std::to_string(state->maxTotalThreadsPerThreadgroup()));
      }
      return state;
    } catch (const std::exception& error) {
      throw std::runtime_error("kernel " + d.function + ": " + error.what());
    }
  }

  // Kernels of one encoder run one after the other and see each other's results.
  void encode(const Dispatch& d, MTL::ComputePipelineState* pipeline,
              MTL::ComputeCommandEncoder* encoder) {
    encoder->setComputePipelineState(pipeline);
    NS::UInteger index = 0;
    for (const Binding& binding : d.buffers) {
      const Buffers::Place place = buffers_->place(binding);
      encoder->setBuffer(place.buffer, place.offset, index++);
    }
    encoder->setBytes(d.parameters.data(), d.parameters.size(), index);
    encoder->dispatchThreadgroups({d.groups, 1, 1}, {d.threads_per_group, 1, 1});
  }

  void finish(const std::string& error) {
    if (error.empty()) buffers_->copy_back();
    buffers_.reset();  // before XLA ends the memory behind them
    done_(error);
  }

  // The kernels of the job, for messages.
  std::string kernels() const {
    std::string text;
    for (const Dispatch& d : dispatches_) {
      if (text.find(d.function) == std::string::npos)
        text += (text.empty() ? "" : ", ") + d.function;
    }
    return "kernel " + text + ": ";
  }

  Gpu& gpu_;
  std::function<void(const std::string&)> done_;
  std::unique_ptr<Buffers> buffers_;
  std::vector<Dispatch> dispatches_;
};

template <class Problem>
void start(const Problem& problem, const Context& context) {
  Gpu& gpu = Gpu::instance();
  if (!gpu.unavailable().empty()) throw std::runtime_error(gpu.unavailable());
  auto job = std::make_shared<Job>(gpu, context.done);
  job->prepare(problem, context.scratch_bytes);
  job->start();
}

// A call that reads matrices and, beside them, right-hand sides of so many numbers.
template <class Problem>
bool takes(Op op, Structure structure, const Problem& p, int64_t beside = 0) {
  const int64_t bytes = p.batch * (p.n * p.n + beside) * storage_bytes(p.dtype);
  // Where it cannot be, no device is asked for.
  if (mode() == Mode::kNever || (mode() == Mode::kAuto && bytes < kLeastHandover)) return false;
  const Gpu& gpu = Gpu::instance();
  return gpu.unavailable().empty() && size_t(bytes) <= gpu.max_buffer_bytes() &&
         hands_over(op, p.n, p.dtype, structure, bytes, gpu.name());
}

}  // namespace

void launch(const InverseProblem& problem, const Context& context) { start(problem, context); }
void launch(const TripleProductProblem& problem, const Context& context) {
  start(problem, context);
}
void launch(const LuProblem& problem, const Context& context) { start(problem, context); }
void launch(const LuSolveProblem& problem, const Context& context) { start(problem, context); }
void launch(const SolveProblem& problem, const Context& context) { start(problem, context); }

bool takes(const InverseProblem& p) { return takes(Op::kInverse, p.structure, p); }
bool takes(const TripleProductProblem& p) {
  return takes(Op::kTripleProduct, Structure::kGeneral, p);
}
bool takes(const LuProblem& p) {
  return takes(p.lu ? Op::kLuFactor : Op::kDeterminant, p.structure, p);
}
// Without right-hand sides there is nothing that a kernel would do.
bool takes(const LuSolveProblem& p) {
  return p.columns > 0 && takes(Op::kLuSolve, p.structure, p, p.n * p.columns);
}
bool takes(const SolveProblem& p) {
  return p.columns > 0 && takes(Op::kSolve, p.structure, p, p.n * p.columns);
}

const std::string& unavailable() { return Gpu::instance().unavailable(); }
const std::string& device_name() { return Gpu::instance().name(); }

}  // namespace jaxinv::metal
