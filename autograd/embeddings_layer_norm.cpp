#include "autograd/embeddings_layer_norm.h"

#include <array>

#include "autograd/checks.h"
#include "autograd/normalization.h"

namespace normtune {

namespace {

constexpr size_t num_tables = Backend::EmbeddingsLayerNorm::num_tables;  // word, position, token type

/// Backward through dropout (the same mask), layer norm (see Normalization) and the sum, whose three terms
/// have the same gradient; each table collects it in the rows that were looked up.
class EmbeddingsLayerNormBackward : public Node {
 public:
  std::string_view name() const override { return "embeddings_layer_norm"; }
  std::vector<Tensor*> saved_tensors() override {
    std::vector<Tensor*> saved = normalization.saved_tensors();
    for (Tensor& table_ids : ids) saved.push_back(&table_ids);
    saved.push_back(&mask.example_ids);
    saved.push_back(&mask.positions);
    return saved;
  }
  bool reduces_rows(size_t) const override { return true; }

  /// Inputs in the order tables, weight, bias.
  std::vector<Tensor> backward(Tensor grad_output) override {
    Backend& backend = grad_output.backend();
    std::vector<Tensor> grads(num_tables + 2);
    const bool needs_sum = needs_input_grad(0) || needs_input_grad(1) || needs_input_grad(2);
    Tensor grad_sum;  // [rows, hidden_size]
    if (needs_sum || mask.active()) grad_sum = overwritable(grad_output);
    if (mask.active()) {
      backend.dropout(grad_output, mask, grad_sum);
      grad_output = grad_sum;
    }
    normalization.backward(grad_output, DropoutMask{},
                           {.input = needs_sum ? &grad_sum : nullptr,
                            .weight = needs_input_grad(num_tables) ? &grads[num_tables] : nullptr,
                            .bias = needs_input_grad(num_tables + 1) ? &grads[num_tables + 1] : nullptr},
                           reduction());
    for (size_t i = 0; i < num_tables; ++i) {
      if (!needs_input_grad(i)) continue;
      const int64_t skip_index = i == 0 ? padding_idx : -1;
      if (row_gradient_is_taken(i)) {
        give_row_gradient(i, row_gradient(grad_sum, ids[i], table_shapes[i][0], skip_index));
      } else {
        grads[i] = reduction().table_gradient(grad_sum, ids[i], table_shapes[i], skip_index);
      }
    }
    return grads;
  }

  detail::Normalization normalization;
  DropoutMask mask;
  std::array<Tensor, num_tables> ids;  // of the tables that require a gradient
  std::array<Shape, num_tables> table_shapes;
  int64_t padding_idx = -1;
};

/// Inputs in the order tables, weight, bias.
void check_embeddings(const std::vector<Variable>& inputs, const std::array<Tensor, num_tables>& ids,
                      const DropoutMask& mask) {
  constexpr std::string_view op = "embeddings_layer_norm";
  constexpr std::array<std::string_view, num_tables> id_names{"ids", "position_ids", "token_type_ids"};
  detail::check_operands(op, inputs);
  const Device device = inputs[0].device();
  detail::check_rank(op, "word_weight", inputs[0].shape(), 2);
  detail::check_normalization(op, inputs[0], inputs[num_tables], inputs[num_tables + 1]);
  const int64_t num_rows = ids[0].numel(), hidden_size = inputs[0].size(1);
  for (size_t i = 0; i < num_tables; ++i) {
    detail::check_rank(op, "each table", inputs[i].shape(), 2);
    detail::check_shape(op, "each table", inputs[i].shape(), {inputs[i].size(0), hidden_size});
    detail::check_index(op, id_names[i], ids[i], device, num_rows, 0, inputs[i].size(0));
  }
  detail::check_dropout_mask(op, mask, num_rows, device);
}

}  // namespace

Variable embeddings_layer_norm(const Variable& word_weight, const Variable& position_weight,
                               const Variable& token_type_weight, const Tensor& ids,
                               const Tensor& position_ids, const Tensor& token_type_ids,
                               const Variable& weight, const Variable& bias, double eps,
                               const DropoutMask& mask, int64_t padding_idx) {
  const std::vector<Variable> inputs{word_weight, position_weight, token_type_weight, weight, bias};
  const std::array<Tensor, num_tables> table_ids{ids, position_ids, token_type_ids};
  check_embeddings(inputs, table_ids, mask);

  const Tensor output = Tensor::empty({ids.numel(), word_weight.size(1)}, weight.dtype(), weight.device());
  auto node = std::make_shared<EmbeddingsLayerNormBackward>();
  const bool keep = needs_recording(std::span(inputs).first(num_tables + 1));
  const Backend::EmbeddingsLayerNorm::Tables tables{{{word_weight.tensor(), ids},
                                                     {position_weight.tensor(), position_ids},
                                                     {token_type_weight.tensor(), token_type_ids}}};
  node->normalization.forward(tables, mask, weight, bias, eps, keep, output);
  return record(output, inputs, [&] {
    node->mask = mask;
    node->padding_idx = padding_idx;
    for (size_t i = 0; i < num_tables; ++i) {
      node->table_shapes[i] = inputs[i].shape();
      if (inputs[i].requires_grad()) node->ids[i] = table_ids[i];
    }
    return node;
  });
}

}  // namespace normtune
