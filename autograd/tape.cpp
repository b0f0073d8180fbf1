#include <atomic>
#include <map>
#include <stdexcept>
#include <unordered_set>

#include "autograd/variable.h"

namespace normtune {

namespace {

thread_local bool recording = true;
std::atomic<uint64_t> next_sequence_number{0};

/// a + b, written into one of them if nobody else uses it.
Tensor add_gradients(Tensor a, Tensor b) {
  if (!a.is_unique() && b.is_unique()) std::swap(a, b);
  if (a.is_unique()) {
    a.backend().add_scaled(b, 1.0, a);
    return a;
  }
  Tensor sum = Tensor::empty_like(a);
  a.backend().add(a, b, sum);
  return sum;
}

}  // namespace

/// Plays the recorded ops in reverse. A node is run when every later node is done, hence when its gradient is
/// complete: the users of a value are always recorded after it. Gradients of weights may be under way until
/// the end (GradientReduction::weight_gradient); whoever reads one before joins these products first.
class Tape {
 public:
  Tape(const GradientReduction& reduction, Backend& backend) : reduction_(reduction), backend_(backend) {}

  bool takes_row_gradients() const {
    return backend_.takes_row_gradients() && !reduction_.squares_examples();
  }

  /// Connects `node` to its inputs and wraps its output.
  static Variable attach(Tensor output, std::shared_ptr<Node> node, std::span<const Variable> inputs) {
    for (const Variable& input : inputs) {
      node->inputs_.push_back(input.requires_grad() ? input.meta() : nullptr);
    }
    node->sequence_number_ = next_sequence_number++;
    Variable variable(std::move(output), /*requires_grad=*/true);
    variable.impl_->meta->grad_fn = std::move(node);
    return variable;
  }

  /// Adds a gradient to a leaf, or to what waits for the node that made the value. The sums of its columns
  /// may come along; they are of no use when there is another part.
  void deliver(const std::shared_ptr<AutogradMeta>& meta, Tensor grad, Tensor column_sums = {}) {
    if (!meta->grad_fn) {
      deliver_to_leaf(*meta, std::move(grad));
      return;
    }
    const std::shared_ptr<Node>& node = meta->grad_fn;
    if (node->consumed_) {
      throw std::logic_error(fmt::format(
          "backward: the saved tensors of {} are released; each graph serves one backward()", node->name()));
    }
    Pending& pending = pending_[node->sequence_number_];
    pending.node = node;
    pending.column_sums = pending.grad.defined() ? Tensor() : std::move(column_sums);
    pending.grad =
        pending.grad.defined() ? add_gradients(std::move(pending.grad), std::move(grad)) : std::move(grad);
  }

  /// Hands out what has been delivered to a value so far, if nobody else uses that tensor. Whoever takes it
  /// delivers it again.
  Tensor take_delivered(const AutogradMeta& meta) {
    if (!meta.grad_fn) return Tensor();
    const auto found = pending_.find(meta.grad_fn->sequence_number_);
    if (found == pending_.end() || !found->second.grad.defined() || !found->second.grad.is_unique()) {
      return Tensor();
    }
    return std::exchange(found->second.grad, Tensor());
  }

  void play() {
    try {
      while (!pending_.empty()) {
        Pending next = std::move(pending_.begin()->second);
        pending_.erase(pending_.begin());
        next.node->column_sums_ = std::move(next.column_sums);
        run(*next.node, std::move(next.grad));
      }
    } catch (...) {
      join_products_after_a_failure();
      throw;
    }
    backend_.join_products();
  }

  static const std::vector<std::shared_ptr<AutogradMeta>>& inputs(const Node& node) { return node.inputs_; }

  /// Frees the graph behind `node` without recursion, as far as nobody else holds it: a chain may be longer
  /// than the stack is deep.
  static void dismantle(Node& node) {
    std::vector<std::shared_ptr<AutogradMeta>> stack = std::move(node.inputs_);
    while (!stack.empty()) {
      const std::shared_ptr<AutogradMeta> meta = std::move(stack.back());
      stack.pop_back();
      if (!meta || meta.use_count() > 1 || !meta->grad_fn || meta->grad_fn.use_count() > 1) continue;
      for (std::shared_ptr<AutogradMeta>& input : meta->grad_fn->inputs_) stack.push_back(std::move(input));
      meta->grad_fn->inputs_.clear();
    }
  }

 private:
  struct Pending {
    std::shared_ptr<Node> node;
    Tensor grad;
    Tensor column_sums;  // of grad, or undefined
  };

  /// Whoever catches the failure may read or free what products write and read.
  void join_products_after_a_failure() {
    try {
      backend_.join_products();
    } catch (const std::exception&) {
      // A device that fails goes on failing: the first error is the one to tell.
    }
  }

  void deliver_rows_to_leaf(AutogradMeta& leaf, RowGradient rows) {
    if (leaf.grad.defined()) {
      deliver_to_leaf(leaf, rows.dense());
    } else {
      leaf.row_grad = leaf.row_grad.defined() ? add_row_gradients(leaf.row_grad, rows) : std::move(rows);
    }
  }

  void deliver_to_leaf(AutogradMeta& leaf, Tensor grad) {
    if (leaf.whole_grad().defined()) {
      backend_.join_products();
      leaf.grad = add_gradients(std::move(leaf.grad), std::move(grad));
    } else {
      // A leaf's gradient is its owner's to change, so it must not share a storage with another gradient.
      leaf.grad = grad.is_unique() ? std::move(grad) : grad.clone();
    }
  }

  /// Squares can only go from an op that makes them to a leaf that gets nothing else: neither can a gradient
  /// be propagated from a square, nor is the square of a sum the sum of squares.
  void check_squares(const Node& node, const std::vector<std::shared_ptr<AutogradMeta>>& inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || !inputs[i]->requires_grad) continue;
      const bool is_leaf = !inputs[i]->grad_fn;
      if (is_leaf != node.reduces_rows(i)) {
        throw std::logic_error(
            fmt::format("backward_squares: {} has no squared gradients of single examples for input {}{}",
                        node.name(), i, is_leaf ? "" : ", which is not a leaf"));
      }
      if (is_leaf && !squared_leaves_.insert(inputs[i].get()).second) {
        throw std::logic_error(fmt::format("backward_squares: input {} of {} is used twice", i, node.name()));
      }
    }
  }

  void run(Node& node, Tensor grad_output) {
    if (reduction_.squares_examples()) check_squares(node, node.inputs_);
    node.reduction_ = &reduction_;
    node.tape_ = this;
    std::vector<Tensor> grad_inputs = node.backward(std::move(grad_output));
    node.consumed_ = true;
    node.column_sums_ = Tensor();
    std::vector<Tensor> column_sums = std::move(node.given_column_sums_);
    column_sums.resize(node.inputs_.size());
    std::vector<RowGradient> row_gradients = std::move(node.given_row_gradients_);
    row_gradients.resize(node.inputs_.size());
    for (Tensor* saved : node.saved_tensors()) *saved = Tensor();
    const std::vector<std::shared_ptr<AutogradMeta>> inputs = std::move(node.inputs_);
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (!inputs[i] || !inputs[i]->requires_grad) continue;
      if (row_gradients[i].defined()) {
        deliver_rows_to_leaf(*inputs[i], std::move(row_gradients[i]));
        continue;
      }
      if (i >= grad_inputs.size() || !grad_inputs[i].defined()) {
        throw std::logic_error(fmt::format("backward: {} computed no gradient for input {}", node.name(), i));
      }
      if (node.reduces_rows(i) && inputs[i]->grad_fn) backend_.join_products();  // a node will read it
      deliver(inputs[i], std::move(grad_inputs[i]), std::move(column_sums[i]));
    }
  }

  const GradientReduction& reduction_;
  Backend& backend_;
  std::unordered_set<const AutogradMeta*> squared_leaves_;
  std::map<uint64_t, Pending, std::greater<>> pending_;  // by sequence number, the latest node first
};

Node::~Node() {
  Tape::dismantle(*this);
}

bool Node::column_sums_are_taken(size_t i) const {
  return needs_input_grad(i) && inputs_[i]->grad_fn && inputs_[i]->grad_fn->takes_column_sums() &&
         !reduction().squares_examples();
}

void Node::give_column_sums(size_t i, Tensor sums) {
  given_column_sums_.resize(inputs_.size());
  given_column_sums_[i] = std::move(sums);
}

bool Node::row_gradient_is_taken(size_t i) const {
  return needs_input_grad(i) && !inputs_[i]->grad_fn && tape_->takes_row_gradients();
}

void Node::give_row_gradient(size_t i, RowGradient gradient) {
  given_row_gradients_.resize(inputs_.size());
  given_row_gradients_[i] = std::move(gradient);
}

Tensor Node::take_partial_grad(size_t i) const {
  return tape_->take_delivered(*inputs_[i]);
}

void Variable::backward() const {
  play_tape(GradientReduction());
}

void Variable::backward_squares(const Tensor& cu_seqlens) const {
  check(cu_seqlens.defined() && cu_seqlens.dtype() == DType::int32 && cu_seqlens.shape().rank() == 1,
        "backward_squares: expected cu_seqlens [batch + 1] of int32");
  play_tape(GradientReduction(cu_seqlens));
}

void Variable::play_tape(const GradientReduction& reduction) const {
  check(defined() && tensor().numel() == 1, "backward: expected a variable with one element, found {}",
        defined() ? fmt::format("shape {}", shape()) : "an undefined one");
  if (!requires_grad()) throw std::logic_error("backward: no input of this variable requires a gradient");
  Tape tape(reduction, backend());
  tape.deliver(meta(), Tensor::full(shape(), 1.0, dtype(), device()));
  tape.play();
}

bool grad_enabled() {
  return recording;
}

NoGradGuard::NoGradGuard() : previous_(recording) {
  recording = false;
}
NoGradGuard::~NoGradGuard() {
  recording = previous_;
}

bool needs_recording(std::span<const Variable> inputs) {
  if (!recording) return false;
  for (const Variable& input : inputs) {
    if (input.requires_grad()) return true;
  }
  return false;
}

Variable record(Tensor output, const std::vector<Variable>& inputs,
                const std::function<std::shared_ptr<Node>()>& make_node) {
  if (!needs_recording(inputs)) return Variable(std::move(output));
  return Tape::attach(std::move(output), make_node(), inputs);
}

Variable record_without_derivative(std::string_view op, Tensor output, std::span<const Variable> inputs) {
  if (needs_recording(inputs)) {
    throw std::logic_error(fmt::format("{}: has no derivative, but an input requires a gradient", op));
  }
  return Variable(std::move(output));
}

size_t saved_bytes(const Variable& output, std::span<const Variable> exclude) {
  std::unordered_set<const Storage*> counted;
  for (const Variable& variable : exclude) {
    counted.insert(variable.tensor().storage().get());
    if (variable.rounded_copy().defined()) counted.insert(variable.rounded_copy().storage().get());
  }
  std::unordered_set<const Node*> visited;
  std::vector<Node*> stack{output.meta()->grad_fn.get()};
  size_t bytes = 0;
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (!node || !visited.insert(node).second) continue;
    for (const Tensor* saved : node->saved_tensors()) {
      if (saved->defined() && counted.insert(saved->storage().get()).second)
        bytes += saved->storage()->bytes();
    }
    for (const std::shared_ptr<AutogradMeta>& input : Tape::inputs(*node)) {
      if (input) stack.push_back(input->grad_fn.get());
    }
  }
  return bytes;
}

}  // namespace normtune
