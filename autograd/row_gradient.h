#pragma once

#include "tensor/tensor.h"

namespace normtune {

/// The gradient of a table [num_rows, columns] that is zero outside of some rows, and is stored without the
/// others: a batch looks up a few hundred or thousand of BERT's 30,522 word embeddings.
struct RowGradient {
  Tensor rows;    ///< [k] int32, ascending, each once
  Tensor values;  ///< [k, columns]
  int64_t num_rows = 0;

  bool defined() const { return values.defined(); }
  /// The whole gradient, [num_rows, columns].
  Tensor dense() const;
};

/// Of a table whose rows `index` were looked up ([n] int32 on the host), given the gradient [n, columns] of
/// what was looked up: rows that were looked up several times get the sum in the order of `index`. The row
/// `skip_index` gets none; -1: all do.
RowGradient row_gradient(const Tensor& grad_output, const Tensor& index, int64_t num_rows,
                         int64_t skip_index = -1);

/// a + b, of the same table.
RowGradient add_row_gradients(const RowGradient& a, const RowGradient& b);

}  // namespace normtune
