#include "tests/cuda/emulator.h"

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tensor/philox.h"
#include "tests/cuda/emulated_backend.h"

namespace normtune::emulator {

Index threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr size_t stack_bytes = 256 * 1024;
constexpr unsigned warp_size = 32;

/// Code that can be left and gone on with. ucontext begins a fiber; later switches are jumps, which do not
/// ask the system to save a signal mask and are much faster. The address sanitizer knows ucontext alone.
struct Context {
  ucontext_t context{};
#if !defined(__SANITIZE_ADDRESS__)
  jmp_buf jump{};
  bool begun = false;
#endif
};

void switch_to(Context& from, Context& to) {
#if defined(__SANITIZE_ADDRESS__)
  swapcontext(&from.context, &to.context);
#else
  from.begun = true;
  if (_setjmp(from.jump) != 0) return;
  if (to.begun) _longjmp(to.jump, 1);
  setcontext(&to.context);
#endif
}

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Fiber {
  Context context;
  std::unique_ptr<std::byte[]> stack;
  State state = State::done;
  uint64_t exchanged[2] = {};  // by turns: a lane may bring the next value before all have read this one
  unsigned turn = 0;
  std::vector<Copy> copies;  // begun and not waited for
};

/// The factors that the lanes of a warp put together.
struct Factors {
  float a[16][16], b[16][8];
};

/// Rows of four 8 x 8 matrices of 16-bit elements, as a warp reads them.
struct MatrixRows {
  uint16_t elements[4][8][8];
};

std::vector<std::unique_ptr<Fiber>> fibers;  // one for each thread of a block, used again for every block
Context scheduler;
const std::function<void()>* running_kernel = nullptr;
std::vector<float> shared_memory;
uint64_t order_seed = 0;
Factors factors_of_warp[32][2];  // by turns, as what is exchanged
MatrixRows rows_of_warp[32][2];

Fiber& current() {
  return *fibers[threadIdx.x];
}

void give_way(State state) {
  Fiber& fiber = current();
  fiber.state = state;
  switch_to(fiber.context, scheduler);
}

/// What a fiber does: the kernel of each block in turn.
void fiber_main() {
  while (true) {
    (*running_kernel)();
    give_way(State::done);
  }
}

void begin_fiber(ucontext_t* context, std::byte* stack) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = stack_bytes;
  makecontext(context, fiber_main, 0);
}

void make_fibers(size_t count) {
  while (fibers.size() < count) {
    fibers.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers.back();
    fiber.stack = std::make_unique_for_overwrite<std::byte[]>(stack_bytes);
    begin_fiber(&fiber.context.context, fiber.stack.get());
  }
}

std::vector<unsigned> order_of(unsigned count, uint64_t stream) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (order_seed == 0) return order;
  for (unsigned i = count; i > 1; --i)
    std::swap(order[i - 1], order[mix64(mix64(order_seed) ^ (stream + i)) % i]);
  return order;
}

bool all_in(State state, unsigned begin, unsigned end) {
  return std::all_of(fibers.begin() + begin, fibers.begin() + end,
                     [state](const auto& fiber) { return fiber->state == state; });
}

bool release(State state, unsigned begin, unsigned end) {
  if (!all_in(state, begin, end)) return false;
  for (unsigned i = begin; i < end; ++i) fibers[i]->state = State::ready;
  return true;
}

/// Lets those go on whom nobody keeps waiting. False if there are none.
bool release_waiting(unsigned threads) {
  bool released = release(State::at_block_barrier, 0, threads);
  for (unsigned warp = 0; warp < threads; warp += warp_size) {
    released = release(State::at_warp_barrier, warp, warp + warp_size) || released;
  }
  return released;
}

void run_block(uint64_t block) {
  const unsigned threads = blockDim.x;
  for (unsigned i = 0; i < threads; ++i) {
    fibers[i]->state = State::ready;
    fibers[i]->copies.clear();
  }
  std::fill(shared_memory.begin(), shared_memory.end(), NAN);
  const std::vector<unsigned> order = order_of(threads, block << 16);
  do {
    for (const unsigned i : order) {
      if (fibers[i]->state != State::ready) continue;
      threadIdx.x = i;
      switch_to(scheduler, fibers[i]->context);
    }
    if (all_in(State::done, 0, threads)) return;
  } while (release_waiting(threads));
  fibers.clear();  // they would go on in the middle of this kernel
  throw std::logic_error("emulator: some threads of a block wait at a barrier that others never reach");
}

float bfloat16_half(uint32_t word, unsigned half) {
  return std::bit_cast<float>(half == 0 ? word << 16 : word & 0xFFFF0000);
}

/// Ends the program, as a device would the kernel.
void require_multiple_of_16(const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 == 0) return;
  std::fputs("emulator: an address that is not a multiple of 16 bytes\n", stderr);
  std::abort();
}

}  // namespace

void wait_for_block() {
  give_way(State::at_block_barrier);
}

uint64_t exchange(uint64_t bits, int lane_mask) {
  const unsigned turn = current().turn++ % 2;
  const unsigned partner = threadIdx.x ^ static_cast<unsigned>(lane_mask);
  current().exchanged[turn] = bits;
  give_way(State::at_warp_barrier);
  return fibers[partner]->exchanged[turn];
}

/// Written after the PTX ISA's formulas, to the letter.
void multiply_fragments(float* d, const uint32_t* a, const uint32_t* b) {
  const unsigned turn = current().turn++ % 2, lane_id = threadIdx.x % warp_size;
  const unsigned group_id = lane_id >> 2, thread_id_in_group = lane_id % 4;
  Factors& factors = factors_of_warp[threadIdx.x / warp_size][turn];
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned row = i < 2 || (4 <= i && i < 6) ? group_id : group_id + 8;
    const unsigned column = thread_id_in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
    factors.a[row][column] = bfloat16_half(a[i / 2], i % 2);
  }
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = thread_id_in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
    factors.b[row][group_id] = bfloat16_half(b[i / 2], i % 2);
  }
  give_way(State::at_warp_barrier);
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = i < 2 ? group_id : group_id + 8, column = thread_id_in_group * 2 + (i & 1);
    for (unsigned k = 0; k < 16; ++k) d[i] += factors.a[row][k] * factors.b[k][column];
  }
}

/// Written after the PTX ISA too: eight lanes in turn bring the rows of one matrix.
void load_matrices(uint32_t (&registers)[4], const void* row, bool transposed) {
  const unsigned turn = current().turn++ % 2, lane_id = threadIdx.x % warp_size;
  MatrixRows& rows = rows_of_warp[threadIdx.x / warp_size][turn];
  require_multiple_of_16(row);
  std::memcpy(rows.elements[lane_id / 8][lane_id % 8], row, 16);
  give_way(State::at_warp_barrier);
  const unsigned i = lane_id / 4, j = lane_id % 4 * 2;
  for (unsigned r = 0; r < 4; ++r) {
    const auto& matrix = rows.elements[r];
    registers[r] = transposed ? matrix[j][i] | uint32_t{matrix[j + 1][i]} << 16
                              : matrix[i][j] | uint32_t{matrix[i][j + 1]} << 16;
  }
}

void begin_copy(void* to, const void* from, size_t bytes) {
  require_multiple_of_16(to);
  require_multiple_of_16(from);
  current().copies.push_back({to, from, bytes});
}

void wait_for_copies() {
  for (const Copy& copy : current().copies) std::memcpy(copy.to, copy.from, copy.bytes);
  current().copies.clear();
}

float* dynamic_shared() {
  return shared_memory.data();
}

void set_order(uint64_t seed) {
  order_seed = seed;
}

uint64_t order() {
  return order_seed;
}

void run(const cuda::Grid& grid, const std::function<void()>& kernel) {
  if (grid.blocks == 0 || grid.blocks_y == 0) return;
  if (grid.threads < 1 || grid.threads > 1024 || grid.threads % 32 != 0 || grid.blocks_y > 65535 ||
      grid.blocks > 0x7FFFFFFF || grid.shared_bytes > cuda::max_shared_bytes) {
    throw std::logic_error("emulator: a grid that no device takes");
  }
  make_fibers(static_cast<size_t>(grid.threads));
  running_kernel = &kernel;
  blockDim = {static_cast<unsigned>(grid.threads), 1, 1};
  gridDim = {static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.blocks_y), 1};
  shared_memory.assign(static_cast<size_t>(grid.shared_bytes) / sizeof(float), NAN);
  const unsigned blocks = gridDim.x * gridDim.y;
  for (const unsigned block : order_of(blocks, uint64_t{1} << 62)) {
    blockIdx = {block % gridDim.x, block / gridDim.x, 0};
    run_block(block);
  }
}

}  // namespace normtune::emulator
