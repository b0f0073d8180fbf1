#include "autograd/embedding.h"

#include "autograd/gather_rows.h"

namespace normtune {

Variable embedding(const Variable& weight, const Tensor& ids, int64_t padding_idx) {
  return gather_rows(weight, ids, padding_idx);
}

}  // namespace normtune
