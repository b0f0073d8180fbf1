#include "tests/cuda/stand_in/capture.h"

#include <algorithm>
#include <map>
#include <set>

#include "tests/cuda/stand_in/machine.h"

using namespace normtune::stand_in;

struct CUgraph_st {
  std::shared_ptr<const std::vector<Node>> nodes;
  std::vector<const void*> workspaces;
};

struct CUgraphExec_st : CUgraph_st {};

namespace normtune::stand_in {

namespace {

std::vector<std::shared_ptr<Capture>>& captures_under_way() {
  static auto& captures = *new std::vector<std::shared_ptr<Capture>>;
  return captures;
}

/// The last operations outside captures that write to each workspace.
std::map<const void*, OperationPtr>& workspaces_in_use() {
  static auto& workspaces = *new std::map<const void*, OperationPtr>;
  return workspaces;
}

/// A captured stream knows nothing of waits that it was told of before.
void enqueue_waits(CUstream_st& stream) {
  if (!stream.tail.empty()) enqueue(stream, {});
}

/// Whether everything that was captured comes before what the first stream would do next.
bool is_joined(const Capture& capture) {
  std::set<const Operation*> joined;
  std::vector<OperationPtr> open = capture.origin->tail;
  while (!open.empty()) {
    const OperationPtr operation = open.back();
    open.pop_back();
    if (joined.insert(operation.get()).second)
      open.insert(open.end(), operation->after.begin(), operation->after.end());
  }
  return joined.size() == capture.operations.size();
}

std::vector<Node> nodes_of(const Capture& capture) {
  std::map<const Operation*, size_t> indices;
  std::vector<Node> nodes;
  for (const OperationPtr& operation : capture.operations) {
    Node node{
        .work = operation->work ? operation->work : [] {}, .after = {}, .priority = operation->priority};
    for (const OperationPtr& earlier : operation->after) node.after.push_back(indices.at(earlier.get()));
    indices[operation.get()] = nodes.size();
    nodes.push_back(std::move(node));
  }
  return nodes;
}

CUgraph_st* graph_of(const Capture& capture) {
  auto graph = std::make_unique<CUgraph_st>();
  graph->nodes = std::make_shared<const std::vector<Node>>(nodes_of(capture));
  for (const auto& [workspace, operation] : capture.workspaces) graph->workspaces.push_back(workspace);
  return graph.release();
}

bool has_several_priorities(const std::vector<Node>& nodes) {
  return std::ranges::any_of(nodes, [&](const Node& node) { return node.priority != nodes[0].priority; });
}

void take_streams_out(Capture& capture) {
  for (CUstream_st* stream : capture.streams) {
    stream->capture = nullptr;
    stream->tail.clear();
  }
  capture.has_ended = true;
  for (const OperationPtr& operation : capture.operations) operation->after.clear();
  std::erase_if(captures_under_way(), [&](const auto& other) { return other.get() == &capture; });
}

}  // namespace

cudaError_t invalidate(Capture& capture, cudaError_t error) {
  capture.is_invalid = true;
  return error;
}

void join(CUstream_st& stream, const std::shared_ptr<Capture>& capture) {
  enqueue_waits(stream);
  stream.capture = capture;
  capture->streams.push_back(&stream);
}

void use_workspace(const void* workspace, const CUstream_st& stream, const OperationPtr& operation) {
  auto& in_use = stream.capture != nullptr ? stream.capture->workspaces : workspaces_in_use();
  OperationPtr& last = in_use[workspace];
  if (last != nullptr && !comes_before(*last, *operation)) {
    misuse("two products with the same workspace may run at the same time");
  }
  last = operation;
}

bool is_any_capture_under_way() {
  return !captures_under_way().empty();
}

cudaError_t check_unobserved_call() {
  for (const std::shared_ptr<Capture>& capture : captures_under_way()) {
    const bool is_own = capture->thread == std::this_thread::get_id();
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (is_own || capture->mode == cudaStreamCaptureModeGlobal) {
      return invalidate(*capture, cudaErrorStreamCaptureUnsupported);
    }
  }
  return cudaSuccess;
}

}  // namespace normtune::stand_in

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  return call("cudaStreamBeginCapture", [&] {
    if (stream == nullptr) misuse("a capture of the legacy stream");
    if (stream->capture != nullptr) return cudaErrorIllegalState;
    ++counts().captures;
    enqueue_waits(*stream);
    stream->capture = std::make_shared<Capture>(
        Capture{.origin = stream, .mode = mode, .thread = std::this_thread::get_id(), .streams = {stream}});
    captures_under_way().push_back(stream->capture);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return call("cudaStreamIsCapturing", [&] {
    *status = stream->capture == nullptr    ? cudaStreamCaptureStatusNone
              : stream->capture->is_invalid ? cudaStreamCaptureStatusInvalidated
                                            : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return call("cudaStreamEndCapture", [&] {
    *graph = nullptr;
    const std::shared_ptr<Capture> capture = stream->capture;
    if (capture == nullptr) return cudaErrorIllegalState;
    if (capture->origin != stream) return invalidate(*capture, cudaErrorStreamCaptureUnmatched);
    if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
      return invalidate(*capture, cudaErrorStreamCaptureWrongThread);
    }
    cudaError_t error = capture->is_invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
    if (error == cudaSuccess && !is_joined(*capture)) error = cudaErrorStreamCaptureUnjoined;
    if (error == cudaSuccess) *graph = graph_of(*capture);
    take_streams_out(*capture);
    return error;
  });
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  return call("cudaGraphInstantiate", [&] {
    if (flags != 0 && flags != cudaGraphInstantiateFlagUseNodePriority) {
      misuse("flags of cudaGraphInstantiate");
    }
    if (graph == nullptr) return cudaErrorInvalidValue;
    if (flags == 0 && has_several_priorities(*graph->nodes)) misuse("a graph that forgets its priorities");
    *executable = new CUgraphExec_st{*graph};
    return cudaSuccess;
  });
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return call("cudaGraphDestroy", [&] {
    if (graph == nullptr) return cudaErrorInvalidValue;
    delete graph;
    return cudaSuccess;
  });
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return call("cudaGraphExecDestroy", [&] {
    if (executable == nullptr) return cudaErrorInvalidValue;
    delete executable;  // launches that are under way have their own hold of the nodes
    return cudaSuccess;
  });
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return call("cudaGraphLaunch", [&] {
    if (executable == nullptr) return cudaErrorInvalidValue;
    if (stream->capture != nullptr) misuse("a graph in a graph");
    const auto launch = enqueue(*stream, [nodes = executable->nodes] { run_nodes(*nodes); }).operation;
    for (const void* workspace : executable->workspaces) use_workspace(workspace, *stream, launch);
    return cudaSuccess;
  });
}

}  // extern "C"
