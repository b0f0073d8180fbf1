#include <array>

#include "autograd/activation.h"
#include "autograd/linear.h"
#include "autograd/sum.h"
#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "tensor/devices.h"
#include "tensor/error.h"
#include "tests/cuda/device_testing.h"
#include "tests/cuda/stand_in/machine.h"
#include "tests/cuda/stand_in/memory.h"

using namespace normtune;
using namespace normtune::test;

/// What the backend of a device does beside its kernels, where something is wrong with the device, and where
/// all is well.
BOOST_AUTO_TEST_SUITE(host_code)

namespace {

/// A machine for the time of a test.
struct OtherMachine {
  stand_in::Machine before = stand_in::machine();
  ~OtherMachine() { stand_in::machine() = before; }
};

/// The message of the Error of this kind that a function throws.
std::string message_of(ErrorKind kind, const std::function<void()>& function) {
  try {
    function();
  } catch (const Error& error) {
    BOOST_TEST((error.kind() == kind), error.what());
    return error.what();
  }
  BOOST_ERROR("nothing was thrown");
  return "";
}

Tensor on_the_device(const std::vector<float>& values) {
  return Tensor::from_values({std::ssize(values)}, values, cuda_device);
}

Backend& the_backend() {
  return backend_of(cuda_device);
}

AllocatorStats stats() {
  return the_backend().allocator().stats();
}

/// The backend computes, and CUDA holds no error that somebody else would find.
void check_all_is_well() {
  BOOST_TEST(cudaGetLastError() == cudaSuccess);
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2}), sum = Tensor::empty_like(a);
  const Tensor product = Tensor::empty_like(a);
  Tensor captured;
  const auto work = the_backend().capture([&] {
    captured = Tensor::empty_like(a);
    the_backend().matmul_beside({.a = a, .b = a, .c = captured}, {a});
    the_backend().join_products();
  });
  the_backend().add(a, a, sum);
  the_backend().matmul({.a = a, .b = a, .c = product});
  work->replay();
  BOOST_TEST(sum.to_vector<float>() == (std::vector<float>{2, 4, 6, 8}));
  BOOST_TEST(product.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
  BOOST_TEST(captured.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_device_that_is_not_there) {
  const OtherMachine other;
  BOOST_TEST(message_of(ErrorKind::usage, [] {
               backend_of({DeviceType::cuda, 1});
             }) == "device cuda:1: expected a device from cuda:0 to cuda:0");
  stand_in::machine().num_devices = 0;
  BOOST_TEST(message_of(ErrorKind::usage, [] { cuda::make_cuda_backend(0); }) ==
             "device cuda:0: no CUDA device can be used here (no CUDA-capable device is detected); use "
             "--device cpu");
  BOOST_TEST(describe_cuda_devices() == "no CUDA device: no CUDA-capable device is detected");
  cudaGetLastError();
}

BOOST_AUTO_TEST_CASE(a_device_that_is_too_old) {
  const OtherMachine other;
  stand_in::machine().major = 7;
  stand_in::machine().minor = 5;
  BOOST_TEST(message_of(ErrorKind::usage, [] { cuda::make_cuda_backend(0); }) ==
             "device cuda:0: expected compute capability 8.0 or later, found 7.5; use --device cpu");
}

BOOST_AUTO_TEST_CASE(a_driver_that_is_too_old) {
  const OtherMachine other;
  stand_in::machine().driver_version = 12000;
  BOOST_TEST(
      message_of(ErrorKind::usage, [] { cuda::make_cuda_backend(0); }) ==
      "device cuda:0: expected a driver for CUDA 12.1 or later (530 or later), found one for CUDA 12.0; "
      "update it, or use --device cpu");
}

BOOST_AUTO_TEST_CASE(devices_are_described) {
  const OtherMachine other;
  stand_in::machine().num_devices = 2;
  BOOST_TEST(describe_cuda_devices() == "cuda:0 (stand-in), cuda:1 (stand-in)");
}

/// Each with its own streams, memory and kernels, in turns.
BOOST_AUTO_TEST_CASE(two_devices) {
  const OtherMachine other;
  stand_in::machine().num_devices = 2;
  const Device second{DeviceType::cuda, 1};
  for (int i = 0; i < 3; ++i) {
    const Tensor there = Tensor::from_values({2, 2}, std::vector<float>{1, 2, 3, 4}, second);
    const Tensor product = Tensor::empty_like(there);
    check_all_is_well();
    backend_of(second).matmul({.a = there, .b = there, .c = product});
    const Tensor sum = Tensor::empty({}, DType::float32, second);
    backend_of(second).sum(product, sum);
    check_all_is_well();
    BOOST_TEST(sum.item() == 54);
  }
}

BOOST_AUTO_TEST_CASE(memory_runs_out) {
  const OtherMachine other;
  const Tensor held = on_the_device({1, 2, 3});
  the_backend().synchronize();
  constexpr size_t left = size_t{1} << 20, asked = size_t{64} << 20;
  const size_t taken = stand_in::taken_bytes(0);
  stand_in::machine().memory_bytes = taken + left;
  const std::string message = message_of(
      ErrorKind::out_of_memory, [] { Tensor::empty({asked / sizeof(float)}, DType::float32, cuda_device); });
  // What the pool kept was given back before.
  const size_t free_bytes = stand_in::machine().memory_bytes - stand_in::taken_bytes(0);
  BOOST_TEST(message == fmt::format("out of memory on cuda:0: asked for {} bytes, {} of {} bytes are free, "
                                    "tensors hold {}, {} are kept for later tensors; use a smaller batch or "
                                    "shorter sequences",
                                    asked, free_bytes, stand_in::machine().memory_bytes, stats().in_use,
                                    stats().reserved - stats().in_use));
  BOOST_TEST(free_bytes >= left);
  BOOST_TEST(held.to_vector<float>() == (std::vector<float>{1, 2, 3}));
  check_all_is_well();
}

/// What was given back in pieces serves a whole.
BOOST_AUTO_TEST_CASE(pieces_of_memory_are_put_together) {
  const OtherMachine other;
  constexpr int64_t count = int64_t{1} << 18;  // 1 MB
  std::vector<Tensor> pieces;
  for (int i = 0; i < 16; ++i) pieces.push_back(Tensor::full({count}, i, DType::float32, cuda_device));
  stand_in::machine().memory_bytes = stand_in::taken_bytes(0) + 4096;
  pieces.clear();
  const Tensor whole = Tensor::full({12 * count}, 3, DType::float32, cuda_device);
  const Tensor sum = Tensor::empty({}, DType::float32, cuda_device);
  the_backend().sum(whole, sum);
  BOOST_TEST(sum.item() == 36 * count);
}

BOOST_AUTO_TEST_CASE(memory_runs_out_in_a_capture) {
  const OtherMachine other;
  check_all_is_well();
  stand_in::machine().memory_bytes = stand_in::taken_bytes(0) + 4096;
  const std::string message = message_of(ErrorKind::out_of_memory, [] {
    the_backend().capture([] {
      std::vector<Tensor> held;
      while (true) held.push_back(Tensor::full({int64_t{1} << 20}, 1, DType::float32, cuda_device));
    });
  });
  BOOST_TEST(message.starts_with("out of memory on cuda:0: asked for "), message);
  check_all_is_well();
}

/// What the pool keeps serves captured work, though the host has not seen yet that it is free.
BOOST_AUTO_TEST_CASE(captured_work_takes_the_memory_of_the_pool) {
  const OtherMachine other;
  constexpr int64_t count = int64_t{100} << 18;  // 100 MB
  Tensor held = Tensor::full({count}, 1, DType::float32, cuda_device);
  stand_in::machine().memory_bytes = stand_in::taken_bytes(0) + 4096;
  held = Tensor();
  the_backend().rehearse([&] {
    const Tensor large = Tensor::full({count - 1000}, 2, DType::float32, cuda_device);
    held = Tensor::empty({}, DType::float32, cuda_device);
    the_backend().sum(large, held);
  });
  BOOST_TEST(held.item() == 2.0 * (count - 1000));
  held = Tensor();
  check_all_is_well();
}

/// Plans of cuBLASLt are forgotten when there are many, but not those that a capture needs.
BOOST_AUTO_TEST_CASE(a_capture_finds_the_plans_of_its_rehearsal) {
  const Tensor a = Tensor::full({1, 4200}, 1, DType::float32, cuda_device);
  Tensor product;
  const auto work = [&] {
    product = Tensor::empty({1, 1}, DType::float32, cuda_device);
    the_backend().matmul({.a = a, .b = a, .transpose_b = true, .c = product});
  };
  the_backend().rehearse(work);
  const Tensor other = Tensor::empty({1, 1}, DType::float32, cuda_device);
  for (int64_t terms = 1; terms < 4200; ++terms) {
    const MatrixRef part = MatrixRef(a).columns(0, terms);
    the_backend().matmul({.a = part, .b = part, .transpose_b = true, .c = other});
  }
  const int64_t before = stand_in::counts().first_uses.in_captures();
  the_backend().capture(work)->replay();
  BOOST_TEST(product.item() == 4200);
  BOOST_TEST(stand_in::counts().first_uses.in_captures() == before);
}

BOOST_AUTO_TEST_CASE(a_pool_that_cannot_be_trimmed) {
  stand_in::fail_call("cudaMemPoolTrimTo", cudaErrorIllegalAddress);
  const auto work = [] { Tensor::full({int64_t{1} << 27}, 1, DType::float32, cuda_device); };
  BOOST_TEST(message_of(ErrorKind::internal, [&] { the_backend().rehearse(work); }) ==
             "CUDA: cudaMemPoolTrimTo failed: an illegal memory access was encountered "
             "(cudaErrorIllegalAddress)");
  check_all_is_well();
}

/// A step that repeats the allocations of the last one asks the system for nothing.
BOOST_AUTO_TEST_CASE(steps_do_not_take_more_memory) {
  const Tensor a = Tensor::full({64, 64}, 0.5, DType::float32, cuda_device);
  const auto step = [&] {
    const Tensor doubled = Tensor::empty_like(a), product = Tensor::empty_like(a);
    the_backend().add(a, a, doubled);
    the_backend().matmul_beside({.a = doubled, .b = a, .c = product}, {doubled, a});
    const Tensor small = on_the_device({1, 2, 3});
    the_backend().join_products();
  };
  for (int i = 0; i < 3; ++i) step();
  const AllocatorStats before = stats();
  for (int i = 0; i < 20; ++i) {
    step();
    if (i % 5 == 0) the_backend().synchronize();
  }
  BOOST_TEST(stats().reserved == before.reserved);
  BOOST_TEST(stats().system_allocations == before.system_allocations);
  BOOST_TEST(stats().in_use == before.in_use);
}

/// Captures share their memory, however many there are.
BOOST_AUTO_TEST_CASE(captures_do_not_take_more_memory) {
  check_all_is_well();
  the_backend().synchronize();
  check_all_is_well();
  const AllocatorStats before = stats();
  for (int i = 0; i < 10; ++i) check_all_is_well();
  BOOST_TEST(stats().reserved <= before.reserved);
  BOOST_TEST(stats().in_use == before.in_use);
}

namespace {

/// A bit of everything.
void use_everything() {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2}), output = Tensor::empty_like(a);
  const Tensor product = Tensor::empty_like(a);
  the_backend().add(a, a, output);
  the_backend().matmul_beside({.a = a, .b = a, .c = product}, {a});
  the_backend().join_products();
  const auto work = the_backend().capture([&] { the_backend().add(a, a, output); });
  work->replay();
  the_backend().synchronize();
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_call_that_fails_is_named) {
  for (const std::string call :
       {"cudaSetDevice", "cudaMallocFromPoolAsync", "cudaMemcpyAsync", "cudaEventRecord",
        "cudaStreamWaitEvent", "cudaStreamSynchronize", "cudaStreamBeginCapture", "cudaGraphInstantiate",
        "cudaGraphLaunch", "cudaMemPoolGetAttribute"}) {
    BOOST_TEST_CONTEXT(call) {
      stand_in::fail_call(call, cudaErrorIllegalAddress);
      BOOST_TEST(message_of(ErrorKind::internal, use_everything) ==
                 fmt::format("CUDA: {} failed: an illegal memory access was encountered "
                             "(cudaErrorIllegalAddress)",
                             call));
      check_all_is_well();
    }
  }
  stand_in::fail_call("cudaLaunchKernelEx", cudaErrorIllegalAddress);
  BOOST_TEST(message_of(ErrorKind::internal, use_everything).starts_with("CUDA: a kernel's launch failed: "));
  check_all_is_well();
}

/// Not for tensors: for a graph, or inside cuBLASLt.
BOOST_AUTO_TEST_CASE(memory_that_a_call_lacks_is_told) {
  for (const std::string call : {"cudaGraphInstantiate", "cudaGraphLaunch"}) {
    stand_in::fail_call(call, cudaErrorMemoryAllocation);
    const std::string message = message_of(ErrorKind::out_of_memory, use_everything);
    BOOST_TEST(message.starts_with(fmt::format("out of memory on a CUDA device in {}: ", call)), message);
    BOOST_TEST(message.find(" bytes are free; use a smaller batch") != std::string::npos, message);
    check_all_is_well();
  }
  BOOST_TEST(message_of(ErrorKind::out_of_memory, [] {
               cuda::check_cublas(CUBLAS_STATUS_ALLOC_FAILED, "cublasLtMatmul");
             }).starts_with("out of memory on a CUDA device in cublasLtMatmul: "));
}

namespace {

/// Multiplies matrices of ones, and cuBLASLt has not seen their size before `multiply()` succeeds.
class NewProduct {
 public:
  NewProduct()
      : ones_(Tensor::full({++size(), 3}, 1, DType::float32, cuda_device)),
        product_(Tensor::full({size(), size()}, 0, DType::float32, cuda_device)) {}

  void multiply() const { the_backend().matmul(args()); }
  void multiply_beside() const {
    the_backend().matmul_beside(args(), {ones_});
    the_backend().join_products();
  }
  void check_result() const {
    BOOST_TEST(product_.to_vector<float>() == std::vector<float>(static_cast<size_t>(size() * size()), 3));
  }

 private:
  static int64_t& size() {
    static int64_t size = 60;
    return size;
  }
  Backend::MatMul args() const { return {.a = ones_, .b = ones_, .transpose_b = true, .c = product_}; }

  Tensor ones_, product_;
};

}  // namespace

/// What a product that fails has begun is forgotten: the same product works afterwards.
BOOST_AUTO_TEST_CASE(a_call_of_cublaslt_that_fails_is_named) {
  for (const std::string call :
       {"cublasLtMatmulDescCreate", "cublasLtMatmulDescSetAttribute", "cublasLtMatrixLayoutCreate",
        "cublasLtMatrixLayoutSetAttribute", "cublasLtMatmulPreferenceCreate",
        "cublasLtMatmulPreferenceSetAttribute", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
    BOOST_TEST_CONTEXT(call) {
      const NewProduct product;
      stand_in::fail_call(call, CUBLAS_STATUS_EXECUTION_FAILED);
      std::string message = message_of(ErrorKind::internal, [&] { product.multiply(); });
      BOOST_TEST(message.starts_with("cuBLASLt: " + call), message);
      BOOST_TEST(message.ends_with(" failed: CUBLAS_STATUS_EXECUTION_FAILED"), message);
      stand_in::fail_call(call, CUBLAS_STATUS_ALLOC_FAILED);
      message = message_of(ErrorKind::out_of_memory, [&] { product.multiply(); });
      BOOST_TEST(message.starts_with("out of memory on a CUDA device in " + call), message);
      BOOST_TEST(message.find(" bytes are free; use a smaller batch") != std::string::npos, message);
      product.multiply();
      product.check_result();
      check_all_is_well();
    }
  }
  stand_in::fail_call("cublasLtCreate", CUBLAS_STATUS_EXECUTION_FAILED);
  BOOST_TEST(message_of(ErrorKind::internal, [] { cuda::make_cuda_backend(0); }) ==
             "cuBLASLt: cublasLtCreate failed: CUBLAS_STATUS_EXECUTION_FAILED");
}

/// It says so in one of two ways.
BOOST_AUTO_TEST_CASE(a_product_without_an_algorithm_is_described) {
  const OtherMachine other;
  const NewProduct product;
  const auto check_message = [&] {
    const std::string message = message_of(ErrorKind::internal, [&] { product.multiply(); });
    BOOST_TEST(message.starts_with("cuBLASLt: no algorithm for 1 products ["), message);
    BOOST_TEST(message.find(" of float32 to float32 (a: ld 3 at a multiple of ") != std::string::npos,
               message);
  };
  stand_in::fail_call("cublasLtMatmulAlgoGetHeuristic", CUBLAS_STATUS_NOT_SUPPORTED);
  check_message();
  stand_in::machine().has_algorithms = false;
  check_message();
  stand_in::machine().has_algorithms = true;
  product.multiply();
  product.check_result();
  check_all_is_well();
}

/// On the side stream, alone and in a capture.
BOOST_AUTO_TEST_CASE(a_product_beside_that_fails) {
  const NewProduct product;
  for (const std::string call : {"cublasLtMatmulAlgoGetHeuristic", "cublasLtMatmul"}) {
    BOOST_TEST_CONTEXT(call) {
      const auto check_failure = [&](const std::function<void()>& work) {
        stand_in::fail_call(call, CUBLAS_STATUS_EXECUTION_FAILED);
        const std::string message = message_of(ErrorKind::internal, work);
        BOOST_TEST(message.starts_with("cuBLASLt: " + call), message);
        check_all_is_well();
      };
      check_failure([&] { product.multiply_beside(); });
      check_failure([&] { the_backend().rehearse([&] { product.multiply_beside(); }); });
      check_failure([&] { the_backend().capture([&] { product.multiply_beside(); }); });
    }
  }
  product.multiply_beside();
  product.check_result();
}

/// Tensors end in destructors, which cannot throw: the next call that can says so, once.
BOOST_AUTO_TEST_CASE(memory_that_cannot_be_given_back_is_told) {
  const std::vector<std::function<void()>> next_calls = {
      [] { the_backend().synchronize(); }, [] { on_the_device({1}); },
      [] { the_backend().rehearse([] { Tensor::empty({1}, DType::float32, cuda_device); }); }};
  for (const std::string call : {"cudaFreeAsync", "cudaSetDevice"}) {
    for (const auto& next_call : next_calls) {
      Tensor held = on_the_device({1, 2, 3});
      stand_in::fail_call(call, cudaErrorIllegalAddress);
      held = Tensor();
      BOOST_TEST(!stand_in::is_failure_left());
      BOOST_TEST(cudaGetLastError() == cudaSuccess);
      BOOST_TEST(message_of(ErrorKind::internal, next_call) ==
                 fmt::format("CUDA: {} failed: an illegal memory access was encountered "
                             "(cudaErrorIllegalAddress)",
                             call));
      check_all_is_well();
    }
  }
}

/// A kernel fails while a gradient of a weight is under way, and so does waiting for that.
BOOST_AUTO_TEST_CASE(the_first_of_two_failures_is_told) {
  const auto leaf = [] {
    return Variable(on_the_device({1, 2, 3, 4}).reshape({2, 2}), /*requires_grad=*/true);
  };
  const Variable loss = sum(linear(relu(linear(leaf(), leaf(), Variable())), leaf(), Variable()));
  // The kernels of backward are two fills, and relu's between the linear layers. The side stream waits before
  // a product, the main stream at the end.
  stand_in::fail_call("cudaLaunchKernelEx", cudaErrorIllegalAddress, 3);
  stand_in::fail_call("cudaStreamWaitEvent", cudaErrorIllegalAddress, 2);
  const std::string message = message_of(ErrorKind::internal, [&] { loss.backward(); });
  BOOST_TEST(message.starts_with("CUDA: a kernel's launch failed: "), message);
  BOOST_TEST(!stand_in::is_failure_left());
  check_all_is_well();
}

/// Wherever it is in the work, and whatever was under way.
BOOST_AUTO_TEST_CASE(a_call_that_fails_in_a_capture) {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2});
  const Tensor first = Tensor::empty_like(a), second = Tensor::empty_like(a);
  const auto capture = [&] {
    the_backend().capture([&] {
      const Tensor scratch = Tensor::empty_like(a);
      the_backend().add(a, a, scratch);
      the_backend().matmul_beside({.a = scratch, .b = a, .c = first}, {scratch, a});
      the_backend().matmul_beside({.a = a, .b = a, .c = second}, {a});
      the_backend().join_products();
      the_backend().add(first, second, second);
    });
  };
  const auto check_failure = [&](const std::string& call, int nth) {
    BOOST_TEST_CONTEXT(call << ", call " << nth) {
      stand_in::fail_call(call, cudaErrorIllegalAddress, nth);
      message_of(ErrorKind::internal, capture);
      check_all_is_well();
    }
  };
  for (const int nth : {1, 2}) check_failure("cudaLaunchKernelEx", nth);
  for (const int nth : {1, 2, 3, 4}) check_failure("cudaEventRecord", nth);
  for (const int nth : {1, 2, 3}) check_failure("cudaStreamWaitEvent", nth);
}

/// Products that nobody has waited for are forgotten with the rest.
BOOST_AUTO_TEST_CASE(work_that_throws_in_a_capture) {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2}), product = Tensor::empty_like(a);
  for (int num_products = 0; num_products <= 4; ++num_products) {
    BOOST_TEST_CONTEXT(num_products << " products") {
      BOOST_CHECK_THROW(the_backend().capture([&] {
        for (int i = 0; i < num_products; ++i) {
          the_backend().matmul_beside({.a = a, .b = a, .c = product}, {a});
        }
        throw std::runtime_error("no work today");
      }),
                        std::runtime_error);
      check_all_is_well();
    }
  }
}

/// A capture that ends without its products is an error of the caller, and nothing is left of it.
BOOST_AUTO_TEST_CASE(products_that_are_not_joined_in_a_capture) {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2}), product = Tensor::empty_like(a);
  const auto capture = [&] {
    the_backend().capture([&] { the_backend().matmul_beside({.a = a, .b = a, .c = product}, {a}); });
  };
  const std::string message = message_of(ErrorKind::internal, capture);
  BOOST_TEST(message.starts_with("CUDA: cudaStreamEndCapture failed: "), message);
  check_all_is_well();
}

/// Products from before a capture are none of it.
BOOST_AUTO_TEST_CASE(a_capture_while_products_are_under_way) {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2});
  const Tensor before = Tensor::empty_like(a), inside = Tensor::empty_like(a);
  the_backend().matmul_beside({.a = a, .b = a, .c = before}, {a});
  const auto work = the_backend().capture([&] {
    the_backend().matmul_beside({.a = a, .b = a, .c = inside}, {a});
    the_backend().join_products();
  });
  work->replay();
  the_backend().join_products();
  BOOST_TEST(before.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
  BOOST_TEST(inside.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
}

/// A replay under way outlives its graph.
BOOST_AUTO_TEST_CASE(work_that_is_dropped_after_its_replay) {
  const Tensor a = on_the_device({1, 2, 3}), output = Tensor::empty_like(a);
  auto work = the_backend().capture([&] { the_backend().add(a, a, output); });
  work->replay();
  work.reset();
  BOOST_TEST(output.to_vector<float>() == (std::vector<float>{2, 4, 6}));
}

/// The side stream is where gradients of weights are computed, and nothing else is.
BOOST_AUTO_TEST_CASE(products_beside_are_on_the_side_stream) {
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2}), product = Tensor::empty_like(a);
  const int64_t before = stand_in::counts().side_products;
  the_backend().matmul({.a = a, .b = a, .c = product});
  BOOST_TEST(stand_in::counts().side_products == before);
  the_backend().matmul_beside({.a = a, .b = a, .c = product}, {a});
  the_backend().join_products();
  BOOST_TEST(stand_in::counts().side_products == before + 1);
}

/// Arrays of more than a block, and of more than what is staged at all, from a source that is gone at once.
BOOST_AUTO_TEST_CASE(large_arrays) {
  for (const int64_t size : {16'384, 16'385, 262'144, 262'145, 1'000'000}) {
    std::vector<float> values(static_cast<size_t>(size));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 1001);
    const std::vector<float> expected = values;
    const Tensor there = on_the_device(values);
    std::fill(values.begin(), values.end(), -1.f);
    BOOST_CHECK(there.to_vector<float>() == expected);
  }
}

/// Where cuBLASLt adds them and where it refuses to; the second time with another bias and the same plan.
BOOST_AUTO_TEST_CASE(products_with_a_bias) {
  CaseRandom random(11);
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {5, 6, 7}, {1, 6, 7}, {5, 1, 7}, {5, 6, 1}, {1, 1, 1}, {33, 65, 40}}) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
      for (int i = 0; i < 2; ++i) {
        BOOST_TEST_CONTEXT(m << " x " << n << " x " << k << " in " << to_string(dtype)) {
          const std::vector<Tensor> inputs{random.floats({m, k}).to(dtype), random.floats({n, k}),
                                           random.floats({1, n})};
          const auto product = [&](const std::vector<Tensor>& in) {
            const Tensor c = Tensor::empty({m, n}, dtype, in[0].device());
            in[0].backend().matmul({.a = in[0], .b = in[1], .transpose_b = true, .c = c, .bias = in[2]});
            return c.to(Device{}).to(DType::float32).to_vector<float>();
          };
          BOOST_TEST(nmse(product(on_device(inputs)), product(inputs)) <=
                     (dtype == DType::float32 ? 1e-11 : 1e-4));
        }
      }
    }
  }
}

namespace {

/// Where a matrix lies in 64 floats.
struct Place {
  int64_t offset, ld;
};

/// c = a b with a [3, 4], b [4, 5] and c [3, 5] at these places of memory of their own.
std::vector<float> product_of_parts(const std::vector<Tensor>& in, const std::array<Place, 3>& places) {
  const auto part = [&](size_t i, int64_t rows, int64_t cols) {
    MatrixRef matrix(in[i]);
    matrix.data = static_cast<float*>(matrix.data) + places[i].offset;
    matrix.rows = rows;
    matrix.cols = cols;
    matrix.ld = places[i].ld;
    return matrix;
  };
  in[2].backend().fill(in[2], 7);
  in[2].backend().matmul({.a = part(0, 3, 4), .b = part(1, 4, 5), .c = part(2, 3, 5)});
  return in[2].to_vector<float>();
}

}  // namespace

/// Of one size, with one operand after the other elsewhere: none may be multiplied by the plan of another.
BOOST_AUTO_TEST_CASE(products_that_differ_in_place_alone) {
  CaseRandom random(12);
  const std::vector<Tensor> here{random.floats({64}), random.floats({64}), random.floats({64})};
  const std::vector<Tensor> there = on_device(here);
  for (size_t moved = 0; moved < 3; ++moved) {
    for (const Place& place : {Place{0, 8}, Place{0, 11}, Place{1, 8}, Place{2, 11}}) {
      BOOST_TEST_CONTEXT("operand " << moved << " at " << place.offset << ", ld " << place.ld) {
        std::array<Place, 3> places{Place{0, 8}, Place{0, 8}, Place{0, 8}};
        places[moved] = place;
        BOOST_TEST(nmse(product_of_parts(there, places), product_of_parts(here, places)) <= 1e-11);
      }
    }
  }
}

/// Asking too early is no error, and places on the host that are used again belong to the last copy.
BOOST_AUTO_TEST_CASE(late_copies) {
  for (int i = 0; i < 5; ++i) {
    const auto value = static_cast<float>(i);
    const Tensor there = Tensor::full({1000 * (5 - i)}, value, DType::float32, cuda_device);
    the_backend().copy_to_host_later(there.raw_data(), there.nbytes());  // which nobody wants
    const auto copy = the_backend().copy_to_host_later(there.raw_data(), there.nbytes());
    if (i % 2 == 0) copy->is_there();
    BOOST_TEST(cudaGetLastError() == cudaSuccess);
    the_backend().fill(there, -1);
    const auto* values = reinterpret_cast<const float*>(copy->wait());
    BOOST_TEST(copy->is_there());
    BOOST_CHECK(std::all_of(values, values + there.numel(), [&](float found) { return found == value; }));
  }
}

/// Nothing is computed: what is measured is that the host asks for the right things.
BOOST_AUTO_TEST_CASE(the_roof_is_measured) {
  const OtherMachine other;
  stand_in::machine().computes = false;
  const MachineRoof roof = the_backend().measure_roof(DType::float32);
  BOOST_TEST(roof.gflops > 0);
  BOOST_TEST(roof.gbs > 0);
}

BOOST_AUTO_TEST_SUITE_END()
