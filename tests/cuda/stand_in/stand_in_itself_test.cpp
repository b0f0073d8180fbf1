#include <cublasLt.h>

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "tests/cuda/emulated_backend.h"
#include "tests/cuda/stand_in/column_major_product.h"
#include "tests/cuda/stand_in/machine.h"

using namespace normtune;

/// The mistakes that the stand-in for CUDA is there to find: in programs of a few calls each.
BOOST_AUTO_TEST_SUITE(stand_in_itself)

namespace {

void succeed(cudaError_t code) {
  BOOST_REQUIRE(code == cudaSuccess);
}

/// Two streams, one of high priority.
struct Streams {
  cudaStream_t main = nullptr, side = nullptr;
  cudaMemPool_t pool = nullptr;
  cudaEvent_t event = nullptr, other_event = nullptr;

  Streams() {
    succeed(cudaSetDevice(0));
    succeed(cudaStreamCreateWithPriority(&main, cudaStreamNonBlocking, -5));
    succeed(cudaStreamCreateWithPriority(&side, cudaStreamNonBlocking, 0));
    succeed(cudaDeviceGetDefaultMemPool(&pool, 0));
    succeed(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    succeed(cudaEventCreateWithFlags(&other_event, cudaEventDisableTiming));
  }

  float* block(size_t count = 1) const {
    void* pointer = nullptr;
    succeed(cudaMallocFromPoolAsync(&pointer, count * sizeof(float), pool, main));
    return static_cast<float*>(pointer);
  }
  void write(float* to, const float& from, cudaStream_t on) const {
    succeed(cudaMemcpyAsync(to, &from, sizeof(float), cudaMemcpyHostToDevice, on));
  }
  void copy(float* to, const float* from, cudaStream_t on) const {
    succeed(cudaMemcpyAsync(to, from, sizeof(float), cudaMemcpyDeviceToDevice, on));
  }
  float read(const float* from, cudaStream_t on) const {
    float value = 0;
    succeed(cudaMemcpyAsync(&value, from, sizeof(float), cudaMemcpyDeviceToHost, on));
    succeed(cudaStreamSynchronize(on));
    return value;
  }
  void order(cudaStream_t first, cudaStream_t second) const {
    succeed(cudaEventRecord(event, first));
    succeed(cudaStreamWaitEvent(second, event, 0));
  }
};

/// Whether a program does what it should in each of some orders.
template <typename Program>
std::vector<bool> in_orders(std::initializer_list<uint64_t> orders, const Program& program) {
  std::vector<bool> results;
  for (const uint64_t order : orders) {
    emulator::set_order(order);
    results.push_back(program(Streams()));
  }
  emulator::set_order(0);
  return results;
}

bool all(const std::vector<bool>& results) {
  return std::find(results.begin(), results.end(), false) == results.end();
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_wait_for_another_stream_that_is_missing) {
  const auto program = [](bool waits) {
    return [=](const Streams& streams) {
      float *x = streams.block(), *y = streams.block();
      const float value = 3;
      streams.order(streams.main, streams.side);  // the blocks are there
      streams.write(x, value, streams.main);
      if (waits) streams.order(streams.main, streams.side);
      streams.copy(y, x, streams.side);
      return streams.read(y, streams.side) == value;
    };
  };
  BOOST_TEST(all(in_orders({0, 1, 2, 3, 6, 9}, program(true))));
  BOOST_TEST(!all(in_orders({0}, program(false))));
  BOOST_TEST(!all(in_orders({1}, program(false))));
}

BOOST_AUTO_TEST_CASE(memory_that_is_given_back_too_early) {
  const auto program = [](bool waits) {
    return [=](const Streams& streams) {
      float *x = streams.block(), *y = streams.block();
      const float value = 3;
      streams.write(x, value, streams.main);
      streams.order(streams.main, streams.side);
      streams.copy(y, x, streams.side);
      if (waits) streams.order(streams.side, streams.main);
      succeed(cudaFreeAsync(x, streams.main));
      succeed(cudaStreamSynchronize(streams.main));
      return streams.read(y, streams.side) == value;
    };
  };
  BOOST_TEST(all(in_orders({0, 1, 2, 3, 6, 9}, program(true))));
  BOOST_TEST(!all(in_orders({0}, program(false))));
  BOOST_TEST(!all(in_orders({2}, program(false))));
}

/// Page-locked or not: it may be read late.
BOOST_AUTO_TEST_CASE(a_source_that_is_overwritten_too_early) {
  const Streams streams;
  float *x = streams.block(), value = 3;
  streams.write(x, value, streams.main);
  value = 4;
  BOOST_TEST(streams.read(x, streams.main) == 4);
}

BOOST_AUTO_TEST_CASE(results_that_are_read_before_they_are_there) {
  const Streams streams;
  const float value = 3;
  float *x = streams.block(), found = 0;
  streams.write(x, value, streams.main);
  succeed(cudaMemcpyAsync(&found, x, sizeof(float), cudaMemcpyDeviceToHost, streams.main));
  BOOST_TEST(found == 0);
  succeed(cudaEventRecord(streams.event, streams.main));
  BOOST_TEST(cudaEventQuery(streams.event) == cudaErrorNotReady);
  succeed(cudaEventSynchronize(streams.event));
  BOOST_TEST(cudaEventQuery(streams.event) == cudaSuccess);
  BOOST_TEST(found == 3);
}

BOOST_AUTO_TEST_CASE(memory_is_used_as_it_should_be) {
  const Streams streams;
  float* x = streams.block(4);
  const float value = 3;
  BOOST_TEST(std::isnan(streams.read(x, streams.main)));
  BOOST_CHECK_THROW(streams.write(x + 4, value, streams.main), std::logic_error);  // beyond its end
  BOOST_CHECK_THROW(cudaFreeAsync(x + 1, streams.main), std::logic_error);
  succeed(cudaFreeAsync(x, streams.main));
  BOOST_CHECK_THROW(cudaFreeAsync(x, streams.main), std::logic_error);  // twice
  BOOST_CHECK_THROW(streams.write(x, value, streams.main), std::logic_error);
  void* pointer = nullptr;
  BOOST_TEST(cudaMallocFromPoolAsync(&pointer, size_t{1} << 50, streams.pool, streams.main) ==
             cudaErrorMemoryAllocation);
  BOOST_TEST(cudaGetLastError() == cudaErrorMemoryAllocation);
  BOOST_TEST(cudaGetLastError() == cudaSuccess);
}

BOOST_AUTO_TEST_CASE(events_of_a_capture) {
  const Streams streams;
  cudaGraph_t graph = nullptr;
  succeed(cudaEventRecord(streams.other_event, streams.main));
  const auto end_of_a_capture_with = [&](cudaStreamCaptureMode mode, auto calls) {
    succeed(cudaStreamBeginCapture(streams.main, mode));
    calls();
    return cudaStreamEndCapture(streams.main, &graph);
  };
  const auto relaxed = cudaStreamCaptureModeRelaxed;

  // Another stream is pulled in, and must come back.
  BOOST_TEST(end_of_a_capture_with(relaxed, [&] {
               streams.order(streams.main, streams.side);
               succeed(cudaEventRecord(streams.event, streams.side));
               succeed(cudaStreamWaitEvent(streams.main, streams.event, 0));
             }) == cudaSuccess);
  succeed(cudaGraphDestroy(graph));
  float *x = streams.block(), *y = streams.block();
  BOOST_TEST(end_of_a_capture_with(relaxed, [&] {
               streams.order(streams.main, streams.side);
               streams.copy(y, x, streams.side);
             }) == cudaErrorStreamCaptureUnjoined);
  BOOST_TEST(graph == nullptr);

  // What was recorded in a capture is nothing to wait for, and what was not cannot be part of one.
  BOOST_TEST(cudaEventSynchronize(streams.event) == cudaErrorCapturedEvent);
  BOOST_TEST(cudaStreamWaitEvent(streams.main, streams.event, 0) == cudaErrorCapturedEvent);
  BOOST_TEST(end_of_a_capture_with(relaxed, [&] {
               BOOST_TEST(cudaStreamWaitEvent(streams.main, streams.other_event, 0) ==
                          cudaErrorStreamCaptureIsolation);
             }) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
}

BOOST_AUTO_TEST_CASE(calls_that_a_capture_forbids) {
  const Streams streams;
  cudaGraph_t graph = nullptr;
  void* pointer = nullptr;
  float *x = streams.block(), *y = streams.block();

  succeed(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeRelaxed));
  succeed(cudaMalloc(&pointer, 100));
  succeed(cudaStreamSynchronize(streams.side));  // which is no part of it
  BOOST_TEST(cudaStreamSynchronize(streams.main) == cudaErrorStreamCaptureUnsupported);
  BOOST_TEST(cudaMemcpyAsync(y, x, sizeof(float), cudaMemcpyDeviceToDevice, streams.main) ==
             cudaErrorStreamCaptureInvalidated);
  BOOST_TEST(cudaStreamEndCapture(streams.main, &graph) == cudaErrorStreamCaptureInvalidated);

  succeed(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeGlobal));
  BOOST_TEST(cudaMalloc(&pointer, 100) == cudaErrorStreamCaptureUnsupported);
  BOOST_TEST(cudaStreamEndCapture(streams.main, &graph) == cudaErrorStreamCaptureInvalidated);

  succeed(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeRelaxed));
  BOOST_CHECK_THROW(streams.block(), std::logic_error);
  BOOST_TEST(cudaFreeAsync(x, streams.main) == cudaErrorInvalidValue);
  BOOST_TEST(cudaStreamEndCapture(streams.main, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
}

/// The branches of a graph run in any order that its events allow.
BOOST_AUTO_TEST_CASE(a_wait_that_is_missing_in_a_graph) {
  const auto program = [](bool waits) {
    return [=](const Streams& streams) {
      float *x = streams.block(), *y = streams.block(), *z = streams.block();
      const float value = 3;
      streams.write(x, value, streams.main);
      succeed(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeRelaxed));
      streams.order(streams.main, streams.side);
      streams.copy(y, x, streams.main);
      if (waits) streams.order(streams.main, streams.side);
      streams.copy(z, y, streams.side);
      streams.order(streams.side, streams.main);
      cudaGraph_t graph = nullptr;
      cudaGraphExec_t executable = nullptr;
      succeed(cudaStreamEndCapture(streams.main, &graph));
      succeed(cudaGraphInstantiate(&executable, graph, cudaGraphInstantiateFlagUseNodePriority));
      succeed(cudaGraphDestroy(graph));
      succeed(cudaGraphLaunch(executable, streams.main));
      succeed(cudaGraphExecDestroy(executable));
      return streams.read(z, streams.main) == value;
    };
  };
  BOOST_TEST(all(in_orders({0, 1, 2, 3, 6, 9}, program(true))));
  BOOST_TEST(!all(in_orders({1}, program(false))));
}

/// All its kernels would have the priority of the stream in which it is launched.
BOOST_AUTO_TEST_CASE(a_graph_that_forgets_its_priorities) {
  const Streams streams;
  float *x = streams.block(), *y = streams.block();
  streams.write(x, 3, streams.main);
  succeed(cudaStreamBeginCapture(streams.main, cudaStreamCaptureModeRelaxed));
  streams.order(streams.main, streams.side);
  streams.copy(y, x, streams.side);
  streams.order(streams.side, streams.main);
  streams.copy(x, y, streams.main);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  succeed(cudaStreamEndCapture(streams.main, &graph));
  BOOST_CHECK_THROW(cudaGraphInstantiate(&executable, graph, 0), std::logic_error);
  succeed(cudaGraphDestroy(graph));
}

namespace {

using stand_in::MatrixLayout;
using stand_in::ProductDescription;

/// Two products of 40 x 40 matrices with one workspace, each on its stream.
void two_products(const Streams& streams, bool waits) {
  const uint64_t size = 40, count = size * size;
  const MatrixLayout layout{
      .type = CUDA_R_32F, .rows = size, .columns = size, .ld = static_cast<int64_t>(size)};
  const stand_in::ProductShape shape{
      {.compute_type = CUBLAS_COMPUTE_32F, .scale_type = CUDA_R_32F}, layout, layout, layout, layout};
  float *a = streams.block(count), *c = streams.block(count), *d = streams.block(count);
  float* workspace = streams.block(2 * count);
  const auto multiply = [&](float* result, cudaStream_t on) {
    return enqueue_product(shape, {a, a, result, result}, {1, 0}, {workspace, 2 * count * sizeof(float)},
                           *on);
  };
  streams.order(streams.main, streams.side);
  BOOST_TEST(multiply(c, streams.main) == CUBLAS_STATUS_SUCCESS);
  if (waits) streams.order(streams.main, streams.side);
  BOOST_TEST(multiply(d, streams.side) == CUBLAS_STATUS_SUCCESS);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_workspace_in_use) {
  two_products(Streams(), true);
  BOOST_CHECK_THROW(two_products(Streams(), false), std::logic_error);
}

namespace {

/// The status of the heuristic for [3, 4] x [4, 5] with these leading dimensions and type of the result.
cublasStatus_t heuristic(int64_t lda, int64_t ldb, int64_t ldd, cudaDataType type, uint64_t rows_of_b = 4) {
  cublasLtHandle_t handle = nullptr;
  cublasLtMatmulDesc_t description = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;
  cublasLtCreate(&handle);
  cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  cublasLtMatrixLayoutCreate(&a, CUDA_R_32F, 3, 4, lda);
  cublasLtMatrixLayoutCreate(&b, CUDA_R_32F, rows_of_b, 5, ldb);
  cublasLtMatrixLayoutCreate(&d, type, 3, 5, ldd);
  cublasLtMatmulPreferenceCreate(&preference);
  cublasLtMatmulHeuristicResult_t result{};
  int count = 0;
  return cublasLtMatmulAlgoGetHeuristic(handle, description, a, b, d, d, preference, 1, &result, &count);
}

}  // namespace

BOOST_AUTO_TEST_CASE(products_that_do_not_fit) {
  BOOST_TEST(heuristic(3, 4, 3, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS);
  BOOST_TEST(heuristic(2, 4, 3, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_TEST(heuristic(3, 3, 3, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_TEST(heuristic(3, 4, 2, CUDA_R_32F) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_TEST(heuristic(3, 5, 3, CUDA_R_32F, 5) == CUBLAS_STATUS_INVALID_VALUE);
  BOOST_TEST(heuristic(3, 4, 3, CUDA_R_16BF) == CUBLAS_STATUS_NOT_SUPPORTED);
}

BOOST_AUTO_TEST_SUITE_END()
