#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/gradient_reduction.h"
#include "autograd/row_gradient.h"
#include "tensor/backend.h"
#include "tensor/tensor.h"

namespace normtune {

class Node;
class Tape;

/// What autograd knows of a variable apart from its value, so that the tape does not keep values alive.
struct AutogradMeta {
  bool requires_grad = false;
  Tensor grad;                    // of a leaf after backward(), or
  RowGradient row_grad;           // in its place that of some rows
  std::shared_ptr<Node> grad_fn;  // null for a leaf

  /// grad, made of row_grad where there is that.
  Tensor& whole_grad();
};

/// A tensor that autograd follows. Copies are handles to the same variable.
///
///   Variable weight(Tensor::full({3}, 2.0, DType::float64), /*requires_grad=*/true);
///   Variable loss = sum(multiply(weight, weight));
///   loss.backward();
///   weight.grad();  // {4, 4, 4}
class Variable {
 public:
  Variable() = default;  ///< undefined
  explicit Variable(Tensor value, bool requires_grad = false);

  bool defined() const { return impl_ != nullptr; }
  const Tensor& tensor() const { return impl_->value; }
  const Shape& shape() const { return tensor().shape(); }
  int64_t size(int dim) const { return tensor().size(dim); }
  DType dtype() const { return tensor().dtype(); }
  Device device() const { return tensor().device(); }
  Backend& backend() const { return tensor().backend(); }

  bool requires_grad() const { return defined() && impl_->meta->requires_grad; }
  /// Freezes or unfreezes a leaf. Throws std::logic_error for the result of an op.
  void set_requires_grad(bool requires_grad);
  bool is_leaf() const { return impl_->meta->grad_fn == nullptr; }
  /// The accumulated gradient of a leaf; undefined before the first backward(). Where only some rows have one
  /// the whole is made of them, and takes their place.
  const Tensor& grad() const { return impl_->meta->whole_grad(); }
  bool has_grad() const { return impl_->meta->grad.defined() || impl_->meta->row_grad.defined(); }
  /// The gradient of a table that was looked up and not used otherwise; null if the leaf has another one or
  /// none.
  const RowGradient* row_grad() const {
    return impl_->meta->row_grad.defined() ? &impl_->meta->row_grad : nullptr;
  }
  void zero_grad() { set_grad(Tensor()); }
  /// Gives a leaf a gradient that did not come from backward().
  void set_grad(Tensor grad) {
    impl_->meta->grad = std::move(grad);
    impl_->meta->row_grad = RowGradient();
  }
  /// The same value, unknown to autograd.
  Variable detach() const { return Variable(tensor()); }
  /// Replaces the value of a leaf by another tensor (same shape); autograd state stays.
  void set_tensor(Tensor value);
  /// The value rounded to bfloat16, which linear layers multiply by; undefined if nobody keeps it. Whoever
  /// changes the value changes the copy too.
  const Tensor& rounded_copy() const { return impl_->rounded_copy; }
  /// Undefined: no longer.
  void keep_rounded_copy(Tensor copy);
  /// No other handle, view or saved tensor sees the value, so that an op that owns this handle may overwrite
  /// it.
  bool is_unique() const { return impl_.use_count() == 1 && impl_->value.is_unique(); }

  /// Fills grad() of every leaf that requires it with d this / d leaf, adding to what is there. The variable
  /// has one element. Saved tensors are released on the way: a second backward() throws std::logic_error.
  void backward() const;
  /// The squared gradients of single examples, in one pass: for this = sum over e of f_e, where f_e depends
  /// on the rows of example e alone, adds  sum over e of (d f_e / d leaf)^2  (element by element) to grad()
  /// of every leaf that requires it. Examples own rows as in GradientReduction. Throws std::logic_error for a
  /// leaf whose op cannot do this (it takes linear layers, low-rank updates, layer norms and embeddings; not
  /// matmul), or that is used twice (tied weights).
  void backward_squares(const Tensor& cu_seqlens) const;

  const std::shared_ptr<AutogradMeta>& meta() const { return impl_->meta; }

 private:
  void play_tape(const GradientReduction& reduction) const;

  friend class Tape;
  struct Impl {
    Tensor value;
    Tensor rounded_copy;
    std::shared_ptr<AutogradMeta> meta;
  };
  std::shared_ptr<Impl> impl_;
};

/// One recorded op: named saved tensors and the rule for its gradient. Each differentiable op derives one
/// class. Nodes are numbered in the order of recording; this order is the tape, and backward() plays it in
/// reverse.
class Node {
 public:
  Node() = default;
  virtual ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  virtual std::string_view name() const = 0;

  /// The gradients of the inputs, in their order; undefined for inputs that need none. `grad_output` may be
  /// overwritten if it is_unique(). Called once: saved tensors may be overwritten or moved from.
  virtual std::vector<Tensor> backward(Tensor grad_output) = 0;
  /// The members that hold what this node keeps for backward(). The engine clears them afterwards.
  virtual std::vector<Tensor*> saved_tensors() = 0;

  /// Input i is a parameter that all rows share, and backward() takes its gradient from reduction().
  virtual bool reduces_rows(size_t /*input*/) const { return false; }

  /// backward() wants the sums of grad_output's columns, as the gradient of a bias.
  virtual bool takes_column_sums() const { return false; }

  bool needs_input_grad(size_t i) const { return inputs_[i] && inputs_[i]->requires_grad; }

 protected:
  /// What backward() is to make of the rows of a batch.
  const GradientReduction& reduction() const { return *reduction_; }

  /// What the later users of input i have contributed to its gradient, for backward() to add its own part in
  /// place and return the sum: that saves a tensor and a pass over it. Undefined if there is nothing yet, or
  /// if others use that tensor; backward() then returns its own part alone.
  Tensor take_partial_grad(size_t i) const;

  /// Input i is a table that takes the gradient of the rows that were looked up alone. backward() then gives
  /// that and returns an undefined tensor for it.
  bool row_gradient_is_taken(size_t i) const;
  void give_row_gradient(size_t i, RowGradient gradient);

  /// Whoever writes the gradient of input i can sum its columns on the way, which saves a pass over it.
  /// Whether the op behind input i takes such sums:
  bool column_sums_are_taken(size_t i) const;
  /// backward() offers them, [columns], beside the gradient that it returns; undefined: no offer.
  void give_column_sums(size_t i, Tensor sums);
  /// The sums that come with grad_output; undefined if nobody has made them, or if it has several parts.
  const Tensor& column_sums() const { return column_sums_; }

  /// A saved tensor or grad_output itself where nobody else uses it, otherwise a new tensor like it: the
  /// place for the result of a kernel that may write over it.
  static Tensor overwritable(const Tensor& tensor) {
    return tensor.is_unique() ? tensor : Tensor::empty_like(tensor);
  }

 private:
  friend class Tape;
  std::vector<std::shared_ptr<AutogradMeta>> inputs_;  // null for inputs that require no gradient
  const GradientReduction* reduction_ = nullptr;       // while backward() runs
  Tape* tape_ = nullptr;                               // likewise
  Tensor column_sums_;                                 // of grad_output, likewise
  std::vector<Tensor> given_column_sums_;              // of the gradients of inputs, likewise
  std::vector<RowGradient> given_row_gradients_;       // likewise
  uint64_t sequence_number_ = 0;
  bool consumed_ = false;  // backward() has run, the saved tensors are gone
};

/// Whether ops record at all (thread-local). NoGradGuard switches it off for its lifetime.
bool grad_enabled();
class NoGradGuard {
 public:
  NoGradGuard();
  ~NoGradGuard();
  NoGradGuard(const NoGradGuard&) = delete;
  NoGradGuard& operator=(const NoGradGuard&) = delete;

 private:
  bool previous_;
};

/// True if an op on these inputs must be recorded: recording is on and one of them requires a gradient.
bool needs_recording(std::span<const Variable> inputs);

/// Wraps the output of an op. If it must be recorded, `make_node` supplies the node, which keeps what the
/// gradients of those inputs need that require one:
///
///   return record(output, {a, b}, [&] {
///     auto node = std::make_shared<MultiplyBackward>();
///     if (a.requires_grad()) node->b_ = b.tensor();
///     if (b.requires_grad()) node->a_ = a.tensor();
///     return node;
///   });
///
/// Inputs may be undefined (an absent bias).
Variable record(Tensor output, const std::vector<Variable>& inputs,
                const std::function<std::shared_ptr<Node>()>& make_node);

/// Wraps the output of an op that has no derivative. Throws std::logic_error if it would have to be recorded.
Variable record_without_derivative(std::string_view op, Tensor output, std::span<const Variable> inputs);

/// Bytes that the graph behind `output` keeps for backward, each storage counted once; `exclude` lists
/// storages that exist anyway (the parameters).
size_t saved_bytes(const Variable& output, std::span<const Variable> exclude);

}  // namespace normtune
