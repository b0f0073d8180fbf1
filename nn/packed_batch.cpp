#include "nn/packed_batch.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace normtune {

int64_t bucket_size(int64_t total_tokens) {
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(total_tokens)));
  const int64_t step = std::max(int64_t{32}, power / 16);
  return (total_tokens + step - 1) / step * step;
}

PackedBatch pack(std::span<const TokenizedExample> examples, Device device, Padding padding) {
  check(!examples.empty(), "pack: expected at least one sequence");
  std::vector<int32_t> input_ids, token_type_ids, position_ids, cls_rows, cu_seqlens{0};
  std::vector<int64_t> example_ids, cls_example_ids;
  for (const TokenizedExample& example : examples) {
    check(!example.input_ids.empty(), "pack: sequence of example {} is empty", example.example_id);
    check(example.input_ids.size() == example.token_type_ids.size(),
          "pack: example {} has {} input_ids but {} token_type_ids", example.example_id,
          example.input_ids.size(), example.token_type_ids.size());
    const size_t begin = input_ids.size(), length = example.input_ids.size();
    cls_rows.push_back(static_cast<int32_t>(begin));
    cls_example_ids.push_back(example.example_id);
    input_ids.insert(input_ids.end(), example.input_ids.begin(), example.input_ids.end());
    token_type_ids.insert(token_type_ids.end(), example.token_type_ids.begin(), example.token_type_ids.end());
    example_ids.insert(example_ids.end(), length, example.example_id);
    position_ids.resize(begin + length);
    std::iota(position_ids.begin() + static_cast<ptrdiff_t>(begin), position_ids.end(), 0);
    cu_seqlens.push_back(static_cast<int32_t>(input_ids.size()));
  }
  std::vector<int32_t> cls_cu_seqlens(examples.size() + 1);
  std::iota(cls_cu_seqlens.begin(), cls_cu_seqlens.end(), 0);
  if (padding == Padding::to_bucket) {
    const auto rows = static_cast<size_t>(bucket_size(std::ssize(input_ids)));
    for (std::vector<int32_t>* array : {&input_ids, &token_type_ids, &position_ids}) array->resize(rows);
    example_ids.resize(rows);
    cu_seqlens.push_back(static_cast<int32_t>(rows));
    cls_cu_seqlens.push_back(cls_cu_seqlens.back());
  }
  const auto total_tokens = static_cast<int64_t>(input_ids.size());
  const auto batch_size = static_cast<int64_t>(examples.size());
  const auto num_bounds = static_cast<int64_t>(cu_seqlens.size());

  return {.batch_size = batch_size,
          .total_tokens = total_tokens,
          .input_ids = Tensor::from_values({total_tokens}, input_ids, device),
          .token_type_ids = Tensor::from_values({total_tokens}, token_type_ids, device),
          .position_ids = Tensor::from_values({total_tokens}, position_ids, device),
          .example_ids = Tensor::from_values({total_tokens}, example_ids, device),
          .cu_seqlens = Tensor::from_values({num_bounds}, cu_seqlens, device),
          .cls_rows = Tensor::from_values({batch_size}, cls_rows, device),
          .cls_positions = Tensor::zeros({batch_size}, DType::int32, device),
          .cls_example_ids = Tensor::from_values({batch_size}, cls_example_ids, device),
          .cls_cu_seqlens = Tensor::from_values({num_bounds}, cls_cu_seqlens, device)};
}

}  // namespace normtune
