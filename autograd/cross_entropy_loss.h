#pragma once

#include "autograd/variable.h"

namespace normtune {

/// Softmax cross-entropy, loss = scale * sum over rows with label >= 0 of -log softmax(logits[i])[labels[i]].
///
///   cross_entropy_loss(logits, labels, 1.0 / batch_size);  // the mean over the batch
///
/// logits  [num_rows, num_classes]
/// labels  [num_rows] int32, each in [0, num_classes), or -1 to leave the row out
/// scale   usually 1 / number of labelled rows
/// return  []
///
/// Saves the gradient of the logits, softmax(logits) - onehot(labels), made in the forward pass.
/// Throws std::invalid_argument if shapes, dtypes, devices or labels do not fit.
Variable cross_entropy_loss(const Variable& logits, const Tensor& labels, double scale);

}  // namespace normtune
