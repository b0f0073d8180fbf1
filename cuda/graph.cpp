#include "cuda/graph.h"

namespace normtune::cuda {

namespace {

/// Ends the capture of a stream, however it is left.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    // Relaxed: work that was not rehearsed asks for memory meanwhile, for itself, for plans of cuBLASLt, and
    // where CUDA loads a kernel at its first launch.
    check_cuda(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  }
  ~Capture() {
    if (!has_ended_ && cudaStreamEndCapture(stream_, &graph_) != cudaSuccess) cudaGetLastError();
    if (graph_ != nullptr) cudaGraphDestroy(graph_);
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// What was captured; lives as long as this object.
  cudaGraph_t end() {
    has_ended_ = true;
    check_cuda(cudaStreamEndCapture(stream_, &graph_), "cudaStreamEndCapture");
    return graph_;
  }

 private:
  cudaStream_t stream_;
  cudaGraph_t graph_ = nullptr;
  bool has_ended_ = false;
};

}  // namespace

Graph::Graph(const Stream& stream, const std::function<void()>& work) : stream_(stream) {
  Capture capture(stream_.use());
  work();
  // Kernels keep the priorities of the streams that they were captured from.
  check_cuda(cudaGraphInstantiate(&executable_, capture.end(), cudaGraphInstantiateFlagUseNodePriority),
             "cudaGraphInstantiate");
}

Graph::~Graph() {
  cudaGraphExecDestroy(executable_);
}

void Graph::replay() {
  check_cuda(cudaGraphLaunch(executable_, stream_.use()), "cudaGraphLaunch");
}

}  // namespace normtune::cuda
