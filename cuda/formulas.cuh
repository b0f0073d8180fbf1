#pragma once

#include <math.h>

#include "cuda/grid.h"
#include "tensor/adamw_factors.h"

// The scalar formulas that the CPU's inner loops have too.
#define NORMTUNE_INLINE __host__ __device__ static inline

namespace normtune::cuda {
inline namespace NORMTUNE_TARGET {

#include "tensor/formulas/math.h"
//
#include "tensor/formulas/activations.h"
#include "tensor/formulas/clipping.h"
#include "tensor/formulas/layer_norm.h"
#include "tensor/formulas/optimizer.h"

}  // namespace NORMTUNE_TARGET
}  // namespace normtune::cuda

#undef NORMTUNE_INLINE
