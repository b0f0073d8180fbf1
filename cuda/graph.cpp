#include "cuda/graph.h"

namespace normtune::cuda {

namespace {

/// Ends the capture of a stream, however it is left.
class Capture {
 public:
  explicit Capture(cudaStream_t stream) : stream_(stream) {
    // Relaxed: plans of cuBLASLt, and CUDA when it loads a kernel at its first launch, ask for memory
    // meanwhile.
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
  check_cuda(cudaGraphInstantiate(&executable_, capture.end(), 0), "cudaGraphInstantiate");
}

Graph::~Graph() {
  cudaGraphExecDestroy(executable_);
}

void Graph::replay() {
  check_cuda(cudaGraphLaunch(executable_, stream_.use()), "cudaGraphLaunch");
}

}  // namespace normtune::cuda
