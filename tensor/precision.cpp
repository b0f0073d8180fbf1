#include "tensor/precision.h"

#include "tensor/backend.h"

namespace normtune {

const char* to_string(Precision precision) {
  switch (precision) {
    case Precision::tf32:
      return "tf32";
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
  backend_of(device).set_product_precision(precision == Precision::tf32   ? ProductPrecision::tf32
                                           : precision == Precision::bf16 ? ProductPrecision::bf16
                                                                          : ProductPrecision::float32);
  return precision == Precision::fp64 ? DType::float64 : DType::float32;
}

}  // namespace normtune
