#pragma once

#include "tensor/backend.h"

namespace normtune::emulator {

/// The CUDA backend with its kernels run by the emulator and its matrix products by the CPU backend. Like a
/// GPU's, its memory is out of reach for everyone else: it can be touched while a function of the backend
/// runs, at other times a read or write ends the program. New memory holds NaN, and writing beyond the end of
/// a block is an error when the block is given back.
Backend& emulated_backend();

/// Whether its products can be rounded to TF32.
bool has_tf32();

/// How often the host has waited for the device so far: at synchronize(), at copies to the host, and at
/// copies of more than 1 MB to the device.
int64_t num_waits();

/// How often work was captured so far.
int64_t num_captures();

/// How many kernels were used in a capture and not before, and how many algorithms of products chosen there
/// (on the stand-in), since forget_uses().
int64_t num_first_uses_in_captures();
void forget_uses();

/// The order in which fibers and blocks run: 0 ascending, others random, a different one for each block.
void set_order(uint64_t seed);
uint64_t order();

}  // namespace normtune::emulator
