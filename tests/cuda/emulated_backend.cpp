#include "tests/cuda/emulated_backend.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <vector>

#include "tests/cuda/emulator.h"
#include "tests/cuda/first_uses.h"
//
#include "cuda/kernel_backend.cuh"
#include "cuda/work_beside.h"
#include "tensor/captured_memory.h"

namespace normtune::emulator {
namespace {

constexpr size_t range_bytes = size_t{1} << 30, page = 65536;  // of addresses; pages come as they are used
constexpr size_t guard_bytes = 256;
constexpr int guard_value = 0x5A;

/// What the device has been asked for during a capture, in its order; nothing outside one.
std::optional<std::vector<std::function<void()>>> noted;

FirstUses first_uses;

/// Does what the device is asked for, or notes it.
void enqueue(std::function<void()> work) {
  if (noted) {
    noted->push_back(std::move(work));
  } else {
    work();
  }
}

/// The memory of the emulated device: a reserved range, handed out in blocks of whole multiples of 256 bytes,
/// each followed by guard bytes.
class ProtectedMemory final : public Allocator {
 public:
  ProtectedMemory() {
    void* range = mmap(nullptr, range_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(range != MAP_FAILED, "emulator: no addresses for device memory");
    base_ = static_cast<std::byte*>(range);
  }

  /// Access, while at least one Access lives.
  class Access {
   public:
    explicit Access(ProtectedMemory& memory) : memory_(memory) {
      if (memory_.users_++ == 0) memory_.protect(PROT_READ | PROT_WRITE);
    }
    ~Access() {
      if (--memory_.users_ == 0) memory_.protect(PROT_NONE);
    }
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

   private:
    ProtectedMemory& memory_;
  };

  void* allocate(size_t bytes) override {
    bool is_zero = false;
    return allocate(bytes, is_zero);
  }

  void* allocate(size_t bytes, bool& is_zero) override {
    is_zero = false;
    const size_t size = block_size_for(bytes);
    std::byte* block =
        captured_.is_capturing() ? static_cast<std::byte*>(captured_.allocate(size)) : take_free_block(size);
    enqueue([this, block, bytes, size] {
      const Access access(*this);
      std::memset(block, 0xFF, bytes);
      std::memset(block + bytes, guard_value, size - bytes);
    });
    stats_.in_use += bytes;
    stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
    return block;
  }

  void deallocate(void* pointer, size_t bytes) override {
    auto* block = static_cast<std::byte*>(pointer);
    const size_t size = block_size_for(bytes);
    stats_.in_use -= bytes;
    const bool is_captured = captured_.owns(block);
    if (is_captured && !captured_.is_capturing()) return;  // may belong to others by now
    const Access access(*this);                            // once for all below
    if (is_captured) {
      enqueue([this, block, bytes, size] {
        check_guard(block, bytes, size);
        poison(block, bytes);
      });
      captured_.deallocate(block, size);
    } else {
      check_guard(block, bytes, size);
      if (!captured_.is_capturing()) poison(block, bytes);  // otherwise noted work still reads what it held
      free_[size].push_back(block);
    }
  }

  void begin_capture() { captured_.begin_capture(); }
  void end_capture() { captured_.end_capture(); }
  /// Or rehearsing.
  bool is_capturing() const { return captured_.is_capturing(); }

  AllocatorStats stats() const override { return stats_; }
  void reset_peak() override { stats_.peak_in_use = stats_.in_use; }

 private:
  /// Few different sizes, so that blocks are used again: what mprotect() costs grows with the range in use.
  static size_t block_size_for(size_t bytes) {
    const size_t step = std::max(size_t{256}, std::bit_ceil(bytes + guard_bytes) / 8);
    return (bytes + guard_bytes + step - 1) / step * step;
  }

  std::byte* take_free_block(size_t size) {
    std::vector<std::byte*>& free_blocks = free_[size];
    if (free_blocks.empty()) return extend(size);
    std::byte* block = free_blocks.back();
    free_blocks.pop_back();
    return block;
  }

  void check_guard(const std::byte* block, size_t bytes, size_t size) {
    const Access access(*this);
    const auto untouched = [](std::byte byte) { return byte == std::byte{guard_value}; };
    if (std::all_of(block + bytes, block + size, untouched)) return;
    std::fputs("emulator: a kernel wrote beyond the end of its memory\n", stderr);
    std::abort();  // deallocation happens in destructors
  }

  /// Whoever still reads memory that was given back shall find NaN.
  void poison(std::byte* block, size_t bytes) {
    const Access access(*this);
    std::memset(block, 0xFF, bytes);
  }

  std::byte* extend(size_t size) {
    if (used_ + size > range_bytes) fail(ErrorKind::out_of_memory, "emulator: device memory is full");
    std::byte* block = base_ + used_;
    used_ += size;
    stats_.reserved = stats_.peak_reserved = used_;  // it only grows
    ++stats_.system_allocations;
    return block;
  }

  void protect(int rights) {
    mprotect(base_, std::min((used_ + page - 1) / page * page, range_bytes), rights);
  }

  std::byte* base_ = nullptr;
  size_t used_ = 0;
  int users_ = 0;
  std::map<size_t, std::vector<std::byte*>> free_;
  CapturedMemory captured_{[this](size_t bytes) { return extend(bytes); }};
  AllocatorStats stats_;
};

ProtectedMemory& memory() {
  static ProtectedMemory& memory = *new ProtectedMemory;  // never destroyed, as tensors may outlive main
  return memory;
}

/// Starts kernels with the memory open.
struct OpenLauncher {
  Device device;

  template <typename Kernel, typename... Args>
  void operator()(Kernel kernel, const cuda::Grid& grid, const Args&... args) const {
    first_uses.note(reinterpret_cast<const void*>(kernel), noted.has_value());
    enqueue([kernel, grid, args..., on = device] {
      const ProtectedMemory::Access access(memory());
      Launcher{on}(kernel, grid, args...);
    });
  }
};

/// What was noted in a capture.
class NotedWork final : public CapturedWork {
 public:
  explicit NotedWork(std::vector<std::function<void()>> work) : work_(std::move(work)) {}
  void replay() override {
    for (const std::function<void()>& piece : work_) piece();
  }

 private:
  std::vector<std::function<void()>> work_;
};

/// A second stream as slow as can be: its work is done where the main stream waits for it, and not before.
class SlowStream {
 public:
  void run(size_t slot, std::function<void()> work) { work_.push_back({slot, std::move(work)}); }
  void wait(size_t slot) {
    bool done = false;
    while (!done) {
      const auto [done_slot, work] = std::move(work_.front());
      work_.pop_front();
      work();
      done = done_slot == slot;
    }
  }

 private:
  std::deque<std::pair<size_t, std::function<void()>>> work_;
};

class EmulatedBackend final : public cuda::KernelBackend<OpenLauncher> {
 public:
  EmulatedBackend() : KernelBackend({.device = {DeviceType::cuda, 0}}) {}

  std::string name() const override { return "emulated cuda"; }
  Allocator& allocator() override { return memory(); }
  void synchronize() override { wait(); }

  void copy_from_host(void* device_destination, const void* host_source, size_t bytes) override {
    check_not_capturing("a copy from the host");
    if (bytes > (size_t{1} << 20)) wait();  // as a real device does
    move_bytes(device_destination, host_source, bytes);
  }
  void copy_to_host(void* host_destination, const void* device_source, size_t bytes) override {
    wait();
    move_bytes(host_destination, device_source, bytes);
  }
  /// Copied at once, as the main stream is never late here, but there only when it has been waited for.
  std::unique_ptr<LateCopy> copy_to_host_later(const void* device_source, size_t bytes) override {
    class WaitedForCopy final : public LateCopy {
     public:
      WaitedForCopy(const void* source, size_t count) : bytes_(count) {
        const ProtectedMemory::Access access(memory());
        if (count > 0) std::memcpy(bytes_.data(), source, count);
      }
      bool is_there() override { return is_there_; }
      const std::byte* wait() override {
        is_there_ = true;
        return bytes_.data();
      }

     private:
      std::vector<std::byte> bytes_;
      bool is_there_ = false;
    };
    check_not_capturing("a copy to the host");
    return std::make_unique<WaitedForCopy>(device_source, bytes);
  }

  void matmul(const MatMul& args) override { multiply(args, factors_of(args)); }
  void matmul_beside(const MatMul& args, std::vector<Tensor> factors) override {
    const Factors rounded = factors_of(args);
    factors.insert(factors.end(), {rounded.a.memory, rounded.b.memory});
    // The copies must live by what is kept for the work, not by the work itself.
    work_beside_.run(std::move(factors), [args, a = rounded.a.matrix, b = rounded.b.matrix] {
      multiply(args, {.a = {.memory = {}, .matrix = a}, .b = {.memory = {}, .matrix = b}});
    });
  }
  void join_products() override { work_beside_.join(); }
  void batched_matmul(const BatchedMatMul& args) override {
    check_not_capturing("a product of batches");
    const ProtectedMemory::Access access(memory());
    backend_of({}).batched_matmul(args);
  }

  void set_product_precision(ProductPrecision precision) override {
    check(precision != ProductPrecision::tf32, "emulator: tf32 belongs to the products of a real device");
    KernelBackend::set_product_precision(precision);
  }
  bool can_capture() const override { return true; }
  bool takes_row_gradients() const override { return false; }
  std::unique_ptr<CapturedWork> capture(const std::function<void()>& work) override {
    ++num_captures;
    memory().begin_capture();
    noted.emplace();
    try {
      work();
    } catch (...) {
      end_capture();
      throw;
    }
    return std::make_unique<NotedWork>(end_capture());
  }
  void rehearse(const std::function<void()>& work) override {
    memory().begin_capture();
    try {
      work();
    } catch (...) {
      memory().end_capture();
      throw;
    }
    memory().end_capture();
  }
  MachineRoof measure_roof(DType) override { return {.gflops = 1, .gbs = 1}; }

  int64_t num_waits = 0, num_captures = 0;

 private:
  static void check_not_capturing(std::string_view call) {
    if (memory().is_capturing()) throw std::logic_error(fmt::format("emulator: {} in captured work", call));
  }
  void wait() {
    check_not_capturing("waiting for the device");
    ++num_waits;
  }
  static std::vector<std::function<void()>> end_capture() {
    memory().end_capture();
    std::vector<std::function<void()>> work = std::move(*noted);
    noted.reset();
    return work;
  }
  /// From or to the host, which takes no part in captures.
  static void move_bytes(void* destination, const void* source, size_t bytes) {
    const ProtectedMemory::Access access(memory());
    if (bytes > 0) std::memmove(destination, source, bytes);
  }
  static void multiply(MatMul product, const Factors& factors) {
    product.a = factors.a.matrix;
    product.b = factors.b.matrix;
    enqueue([product] {
      const ProtectedMemory::Access access(memory());
      backend_of({}).matmul(product);
    });
  }

  cuda::WorkBeside<SlowStream> work_beside_{SlowStream()};
};

EmulatedBackend& the_backend() {
  static EmulatedBackend& backend = *new EmulatedBackend;
  return backend;
}

}  // namespace

Backend& emulated_backend() {
  return the_backend();
}

bool has_tf32() {
  return false;
}

int64_t num_waits() {
  return the_backend().num_waits;
}

int64_t num_captures() {
  return the_backend().num_captures;
}

int64_t num_first_uses_in_captures() {
  return first_uses.in_captures();
}

void forget_uses() {
  first_uses.forget();
}

}  // namespace normtune::emulator
