#include <map>

#include "nn/forward_context.h"
#include "tests/cuda/device_testing.h"
#include "tests/cuda/emulated_backend.h"

using namespace normtune;
using namespace normtune::test;

/// Backend::capture: what is noted, and what a replay does.
BOOST_AUTO_TEST_SUITE(capture)

namespace {

Tensor on_the_device(const std::vector<float>& values) {
  return Tensor::from_values({std::ssize(values)}, values, cuda_device);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_replay_takes_the_values_of_its_time) {
  if (!device_at_hand()) return;
  const Tensor input = on_the_device({1, 2, 3});
  Tensor output;
  const auto work = input.backend().capture([&] {
    const Tensor doubled = Tensor::empty_like(input);
    input.backend().scale(input, 2, doubled);
    output = Tensor::empty_like(input);
    input.backend().add(doubled, input, output);
  });
  for (const float first : {1.f, -4.f, 7.f}) {
    Tensor(input).copy_from(Tensor::from_values({3}, std::vector<float>{first, 2, 3}));
    work->replay();
    BOOST_TEST(output.to_vector<float>() == (std::vector<float>{3 * first, 6, 9}));
  }
}

/// Copies, products and reductions too; nothing runs before the replay.
BOOST_AUTO_TEST_CASE(a_capture_does_nothing) {
  if (!device_at_hand()) return;
  const Tensor a = on_the_device({1, 2, 3, 4}).reshape({2, 2});
  const Tensor product = Tensor::zeros({2, 2}, DType::float32, cuda_device), copied = product.clone();
  const Tensor sum = Tensor::zeros({}, DType::float32, cuda_device);
  const auto work = a.backend().capture([&] {
    a.backend().matmul({.a = a, .b = a, .c = product});
    Tensor(copied).copy_from(product);
    a.backend().sum(copied, sum);
  });
  BOOST_TEST(product.to_vector<float>() == (std::vector<float>(4)));
  BOOST_TEST(sum.item() == 0);
  work->replay();
  BOOST_TEST(product.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
  BOOST_TEST(copied.to_vector<float>() == (std::vector<float>{7, 10, 15, 22}));
  BOOST_TEST(sum.item() == 54);
}

/// A rehearsal does the work, where a capture will have it done.
BOOST_AUTO_TEST_CASE(a_rehearsal_does_what_a_replay_does) {
  if (!device_at_hand()) return;
  const Tensor input = on_the_device({1, 2, 3, 4}).reshape({2, 2});
  Tensor product, sum;
  const auto work = [&] {
    const Tensor doubled = Tensor::empty_like(input);
    input.backend().scale(input, 2, doubled);
    product = Tensor::empty_like(input);
    input.backend().matmul_beside({.a = doubled, .b = input, .c = product}, {doubled, input});
    sum = Tensor::empty({}, DType::float32, cuda_device);
    input.backend().sum(doubled, sum);
    input.backend().join_products();
  };
  if (is_emulated()) emulator::forget_uses();
  input.backend().rehearse(work);
  BOOST_TEST(product.to_vector<float>() == (std::vector<float>{14, 20, 30, 44}));
  BOOST_TEST(sum.item() == 20);
  const void* place = product.raw_data();
  product = sum = Tensor();
  const auto captured = input.backend().capture(work);
  BOOST_TEST(product.raw_data() == place);
  Tensor(input).copy_from(Tensor::from_values({2, 2}, std::vector<float>{1, 0, 0, 1}));
  captured->replay();
  BOOST_TEST(product.to_vector<float>() == (std::vector<float>{2, 0, 0, 2}));
  BOOST_TEST(sum.item() == 4);
  if (is_emulated()) BOOST_TEST(emulator::num_first_uses_in_captures() == 0);
}

/// Captured work shares its memory, and what is made outside has its own.
BOOST_AUTO_TEST_CASE(pieces_of_work_take_turns) {
  if (!device_at_hand()) return;
  const Tensor input = on_the_device({1, 2, 3});
  std::map<double, std::pair<std::unique_ptr<CapturedWork>, Tensor>> pieces;
  for (const double factor : {2, 5, 7}) {
    Tensor output;
    auto work = input.backend().capture([&] {
      const Tensor scratch = Tensor::full(input.shape(), factor, DType::float32, cuda_device);
      output = Tensor::empty_like(input);
      input.backend().multiply(input, scratch, output);
    });
    pieces[factor] = {std::move(work), output};
  }
  for (const double factor : {5, 2, 7, 2, 5}) {
    pieces[factor].first->replay();
    const Tensor outside = Tensor::full({3}, -1, DType::float32, cuda_device);
    const auto times = static_cast<float>(factor);
    BOOST_TEST(pieces[factor].second.to_vector<float>() == (std::vector<float>{times, 2 * times, 3 * times}));
    BOOST_TEST(outside.to_vector<float>() == (std::vector<float>{-1, -1, -1}));
  }
}

BOOST_AUTO_TEST_CASE(what_is_given_back_meanwhile_is_given_back_once) {
  if (!device_at_hand()) return;
  Tensor outside = on_the_device({1, 2, 3});
  const Tensor output = Tensor::zeros({3}, DType::float32, cuda_device);
  const auto work = output.backend().capture([&] {
    output.backend().fill(output, 4);
    outside = Tensor();
  });
  for (int i = 0; i < 3; ++i) {
    work->replay();
    const Tensor a = on_the_device({1, 1, 1}), b = on_the_device({2, 2, 2});
    BOOST_TEST(a.to_vector<float>() == (std::vector<float>{1, 1, 1}));
    BOOST_TEST(output.to_vector<float>() == (std::vector<float>{4, 4, 4}));
  }
}

/// The host cannot take part in a replay, and a device goes on after such a mistake.
BOOST_AUTO_TEST_CASE(captured_work_has_no_host) {
  if (!device_at_hand()) return;
  const Tensor tensor = on_the_device({1, 2, 3});
  Backend& backend = tensor.backend();
  const std::vector<std::function<void()>> mistakes = {
      [&] { tensor.to_vector<float>(); }, [&] { on_the_device({1}); }, [&] { backend.synchronize(); }};
  for (const auto& mistake : mistakes) {
    BOOST_CHECK_THROW(backend.capture(mistake), std::logic_error);
    BOOST_CHECK_THROW(backend.rehearse(mistake), std::logic_error);
  }
  BOOST_CHECK_THROW(backend.rehearse([&] { throw std::logic_error("stopped"); }), std::logic_error);
  BOOST_TEST(tensor.to_vector<float>() == (std::vector<float>{1, 2, 3}));
  Tensor doubled;
  const auto work = backend.capture([&] {
    doubled = Tensor::empty_like(tensor);
    backend.scale(tensor, 2, doubled);
  });
  work->replay();
  BOOST_TEST(doubled.to_vector<float>() == (std::vector<float>{2, 4, 6}));
}

BOOST_AUTO_TEST_CASE(dropout_reads_the_key_of_a_replay) {
  if (!device_at_hand()) return;
  constexpr int64_t rows = 5, columns = 70, num_layers = 2;
  constexpr int32_t site = dropout_site(1, DropoutPlace::ffn_output);
  const Tensor input = Tensor::full({rows, columns}, 1, DType::float32);
  const RowIndex index{.example_ids = Tensor::from_values({rows}, std::vector<int64_t>{3, 3, 8, 8, 8}),
                       .positions = Tensor::from_values({rows}, std::vector<int32_t>{0, 1, 0, 1, 2})};
  const RowIndex index_there{index.example_ids.to(cuda_device), index.positions.to(cuda_device)};
  Tensor keys = dropout_keys(9, 0, num_layers).to(cuda_device);
  const Tensor there = input.to(cuda_device), found = Tensor::empty_like(there);
  const ForwardContext captured{.training = true, .dropout_seed = 9, .step = 0, .dropout_keys = keys};
  const auto work = there.backend().capture(
      [&] { there.backend().dropout(there, dropout_mask(captured, 0.3, site, index_there), found); });
  for (const int64_t step : {0, 1, 41}) {
    keys.copy_from(dropout_keys(9, step, num_layers));
    work->replay();
    const Tensor expected = Tensor::empty_like(input);
    const ForwardContext context{.training = true, .dropout_seed = 9, .step = step};
    input.backend().dropout(input, dropout_mask(context, 0.3, site, index), expected);
    BOOST_TEST(found.to_vector<float>() == expected.to_vector<float>());
  }
}

BOOST_AUTO_TEST_SUITE_END()
