#include "autograd/convert.h"

#include "autograd/checks.h"

namespace normtune {

namespace {

/// The gradient of rounding is taken to be 1: grad_input = grad_output, in the dtype of the input.
class ConvertBackward : public Node {
 public:
  explicit ConvertBackward(DType input_dtype) : input_dtype_(input_dtype) {}
  std::string_view name() const override { return "convert"; }
  std::vector<Tensor*> saved_tensors() override { return {}; }
  std::vector<Tensor> backward(Tensor grad_output) override { return {grad_output.to(input_dtype_)}; }

 private:
  DType input_dtype_;
};

}  // namespace

Variable convert(const Variable& input, DType dtype) {
  detail::check_operands("convert", {input});
  if (input.dtype() == dtype) return input;
  return record(input.tensor().to(dtype), {input},
                [&] { return std::make_shared<ConvertBackward>(input.dtype()); });
}

}  // namespace normtune
