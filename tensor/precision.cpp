#include "tensor/precision.h"

#include "tensor/backend.h"

namespace normtune {

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::bf16:
      return "bf16";
    case Precision::fp64:
      return "fp64";
    case Precision::fp32:
      break;
  }
  return "fp32";
}

DType use_precision(Precision precision, Device device) {
  backend_of(device).set_bf16_products(precision == Precision::bf16);
  return precision == Precision::fp64 ? DType::float64 : DType::float32;
}

}  // namespace normtune
