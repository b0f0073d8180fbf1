#include "autograd/packed_attention.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The three matrices of one attention, wherever they lie.
struct QueryKeyValue {
  MatrixRef query, key, value;
};

/// Columns [0, h), [h, 2h) and [2h, 3h) of a fused product.
QueryKeyValue split(const Tensor& qkv) {
  const int64_t hidden_size = qkv.size(1) / 3;
  const MatrixRef columns(qkv);
  return {columns.columns(0, hidden_size), columns.columns(hidden_size, 2 * hidden_size),
          columns.columns(2 * hidden_size, 3 * hidden_size)};
}

QueryKeyValue split(const Tensor& query, const Tensor& key_value) {
  const int64_t hidden_size = query.size(1);
  const MatrixRef columns(key_value);
  return {query, columns.columns(0, hidden_size), columns.columns(hidden_size, 2 * hidden_size)};
}

/// What both nodes keep beside query, key and value. With P = softmax(S), S = Q K^T / sqrt(d), D the dropout
/// mask and C = (D * P) V:
///   dV = (D * P)^T dC,   dP = D * (dC V^T),   dS = P * (dP - rowsum(P * dP)),
///   dQ = dS K / sqrt(d),   dK = dS^T Q / sqrt(d);
/// P = exp(S - log_sum_exp) is computed again, block by block.
struct Attention {
  Tensor query_cu_seqlens, cu_seqlens;
  int64_t num_heads;
  DropoutMask mask;
  Tensor log_sum_exp;  // [num_queries, num_heads]

  Tensor forward(const QueryKeyValue& input, const Tensor& like, bool keep) {
    Tensor context = Tensor::empty({input.query.rows, input.query.cols}, like.dtype(), like.device());
    if (keep) {
      log_sum_exp =
          Tensor::empty({input.query.rows, num_heads}, parameter_dtype(like.dtype()), like.device());
    }
    like.backend().attention_forward({.query = input.query,
                                      .key = input.key,
                                      .value = input.value,
                                      .query_cu_seqlens = query_cu_seqlens,
                                      .cu_seqlens = cu_seqlens,
                                      .num_heads = num_heads,
                                      .mask = mask,
                                      .context = context,
                                      .log_sum_exp = keep ? &log_sum_exp : nullptr});
    return context;
  }

  void backward(const QueryKeyValue& input, const Tensor& grad_context, const QueryKeyValue& grad) const {
    grad_context.backend().attention_backward({.query = input.query,
                                               .key = input.key,
                                               .value = input.value,
                                               .query_cu_seqlens = query_cu_seqlens,
                                               .cu_seqlens = cu_seqlens,
                                               .num_heads = num_heads,
                                               .mask = mask,
                                               .log_sum_exp = log_sum_exp,
                                               .grad_context = grad_context,
                                               .grad_query = grad.query,
                                               .grad_key = grad.key,
                                               .grad_value = grad.value});
  }

  std::vector<Tensor*> saved_tensors() {
    return {&query_cu_seqlens, &cu_seqlens, &mask.example_ids, &mask.positions, &log_sum_exp};
  }
};

class PackedAttentionBackward : public Node {
 public:
  std::string_view name() const override { return "packed_attention"; }
  std::vector<Tensor*> saved_tensors() override {
    std::vector<Tensor*> saved = attention.saved_tensors();
    saved.push_back(&query);
    saved.push_back(&key_value);
    return saved;
  }

  std::vector<Tensor> backward(Tensor grad_context) override {
    Tensor grad_query = Tensor::empty_like(query), grad_key_value = Tensor::empty_like(key_value);
    attention.backward(split(query, key_value), grad_context, split(grad_query, grad_key_value));
    return {needs_input_grad(0) ? grad_query : Tensor(), needs_input_grad(1) ? grad_key_value : Tensor()};
  }

  Tensor query, key_value;
  Attention attention;
};

class PackedSelfAttentionBackward : public Node {
 public:
  std::string_view name() const override { return "packed_self_attention"; }
  std::vector<Tensor*> saved_tensors() override {
    std::vector<Tensor*> saved = attention.saved_tensors();
    saved.push_back(&qkv);
    return saved;
  }

  std::vector<Tensor> backward(Tensor grad_context) override {
    Tensor grad_qkv = Tensor::empty_like(qkv);
    attention.backward(split(qkv), grad_context, split(grad_qkv));
    return {grad_qkv};
  }

  Tensor qkv;
  Attention attention;
};

void check_heads(std::string_view op, int64_t hidden_size, int64_t num_heads) {
  check(num_heads > 0 && hidden_size % num_heads == 0,
        "{}: expected num_heads to divide hidden_size {}, found {}", op, hidden_size, num_heads);
}

}  // namespace

Variable packed_attention(const Variable& query, const Variable& key_value, const Tensor& query_cu_seqlens,
                          const Tensor& cu_seqlens, int64_t num_heads, const DropoutMask& mask) {
  constexpr std::string_view op = "packed_attention";
  detail::check_operands(op, {query, key_value});
  detail::check_rank(op, "query", query.shape(), 2);
  detail::check_rank(op, "key_value", key_value.shape(), 2);
  detail::check_shape(op, "key_value", key_value.shape(), {key_value.size(0), 2 * query.size(1)});
  check_heads(op, query.size(1), num_heads);
  detail::check_cu_seqlens(op, "query_cu_seqlens", query_cu_seqlens, query.device(), query.size(0));
  detail::check_cu_seqlens(op, "cu_seqlens", cu_seqlens, query.device(), key_value.size(0));
  detail::check_shape(op, "query_cu_seqlens", query_cu_seqlens.shape(), cu_seqlens.shape());
  detail::check_dropout_mask(op, mask, query.size(0), query.device());

  const std::vector<Variable> inputs{query, key_value};
  Attention attention{query_cu_seqlens, cu_seqlens, num_heads, mask, {}};
  Tensor context = attention.forward(split(query.tensor(), key_value.tensor()), query.tensor(),
                                     /*keep=*/needs_recording(inputs));
  return record(std::move(context), inputs, [&] {
    auto node = std::make_shared<PackedAttentionBackward>();
    node->query = query.tensor();
    node->key_value = key_value.tensor();
    node->attention = std::move(attention);
    return node;
  });
}

Variable packed_self_attention(const Variable& qkv, const Tensor& cu_seqlens, int64_t num_heads,
                               const DropoutMask& mask) {
  constexpr std::string_view op = "packed_self_attention";
  detail::check_operands(op, {qkv});
  detail::check_rank(op, "qkv", qkv.shape(), 2);
  check(qkv.size(1) % 3 == 0, "{}: expected qkv with 3 * hidden_size columns, found {}", op, qkv.size(1));
  check_heads(op, qkv.size(1) / 3, num_heads);
  detail::check_cu_seqlens(op, "cu_seqlens", cu_seqlens, qkv.device(), qkv.size(0));
  detail::check_dropout_mask(op, mask, qkv.size(0), qkv.device());

  Attention attention{cu_seqlens, cu_seqlens, num_heads, mask, {}};
  Tensor context =
      attention.forward(split(qkv.tensor()), qkv.tensor(), /*keep=*/needs_recording(std::vector{qkv}));
  return record(std::move(context), {qkv}, [&] {
    auto node = std::make_shared<PackedSelfAttentionBackward>();
    node->qkv = qkv.tensor();
    node->attention = std::move(attention);
    return node;
  });
}

}  // namespace normtune
