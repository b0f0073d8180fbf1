#pragma once

#include "tensor/tensor.h"

namespace normtune {

/// How numbers are kept and multiplied.
///   fp32, fp64  both in that type
///   bf16        weights, moments and statistics in float32; matrix products round their factors to bfloat16
///               (8 bits of significand) and sum in float32. On CUDA devices activations and their gradients
///               are bfloat16, attention's products with them; on the CPU both are float32. Derivatives of
///               activation functions that are kept for backward are bytes (Backend::derivative_dtype)
///   tf32        attention in float32, too; other factors have 11 bits of significand; on CUDA devices
enum class Precision { fp32, tf32, bf16, fp64 };

/// The name on the command line.
const char* to_string(Precision precision);

/// Makes a device compute in this precision from now on; returns the type that tensors have then. Throws
/// Error(usage) if the device lacks it.
DType use_precision(Precision precision, Device device);

}  // namespace normtune
