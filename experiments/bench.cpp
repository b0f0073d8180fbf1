#include "experiments/bench.h"

#include <charconv>
#include <chrono>
#include <fstream>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include "autograd/cross_entropy_loss.h"
#include "experiments/nearest_name.h"
#include "experiments/process_memory.h"
#include "experiments/statistics.h"
#include "experiments/step_work.h"
#include "experiments/update.h"
#include "nn/initialization.h"
#include "nn/packed_batch.h"

namespace normtune {

namespace {

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Median time of `work` on a device in seconds, after one run that is discarded.
double time_work(const std::function<void()>& work, int64_t repeats, Backend& backend) {
  const auto whole_work = [&] {
    work();
    backend.synchronize();
  };
  whole_work();
  std::vector<double> times;
  for (int64_t i = 0; i < repeats; ++i) times.push_back(seconds_of(whole_work));
  return median(times);
}

/// Sequences of given lengths, of random token ids (the special ones left out).
class RandomSequences {
 public:
  RandomSequences(const BertConfig& config, std::vector<int64_t> lengths, uint64_t seed)
      : lengths_(std::move(lengths)), token_type_ids_(static_cast<size_t>(num_tokens())) {
    const Tensor words = Tensor::empty({num_tokens()}, DType::float64);
    fill_uniform(words, "bench.input_ids", seed, 1);
    for (const double word : words.to_vector<double>()) {
      input_ids_.push_back(static_cast<int32_t>((word + 1) / 2 * static_cast<double>(config.vocab_size)));
    }
  }

  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t num_tokens() const { return std::accumulate(lengths_.begin(), lengths_.end(), int64_t{0}); }

  PackedBatch packed(const BatchForm& form) const {
    std::vector<TokenizedExample> examples;
    std::span<const int32_t> input_ids = input_ids_, token_type_ids = token_type_ids_;
    for (const int64_t length : lengths_) {
      const auto count = static_cast<size_t>(length);
      examples.push_back({input_ids.first(count), token_type_ids.first(count), std::ssize(examples)});
      input_ids = input_ids.subspan(count);
      token_type_ids = token_type_ids.subspan(count);
    }
    return pack(examples, form.device, form.padding);
  }

 private:
  std::vector<int64_t> lengths_;
  std::vector<int32_t> input_ids_, token_type_ids_;
};

/// Batches of random sequences, all of one class; the "examples" of an update are whole batches.
class BenchObjective final : public TrainingObjective {
 public:
  explicit BenchObjective(const StepBenchOptions& options) {
    for (const std::vector<int64_t>& lengths : options.batches) {
      batches_.emplace_back(options.config, lengths, options.seed + batches_.size());
    }
  }

  TrainingBatch batch(Bert& model, const UpdateExamples&, std::span<const int64_t> indices,
                      const BatchForm& form) const override {
    const RandomSequences& sequences = batches_.at(static_cast<size_t>(indices[0]));
    const int64_t batch_size = std::ssize(sequences.lengths());
    return {.packed = sequences.packed(form),
            .targets = {Tensor::zeros({batch_size}, DType::int32, form.device)},
            .scales = {1.0 / static_cast<double>(batch_size)},
            .num_tokens = sequences.num_tokens(),
            .flops = needed_step_flops(model, sequences.lengths())};
  }
  Variable loss(Bert& model, const TrainingBatch& batch, const ForwardContext& context) const override {
    return cross_entropy_loss(model.classify(batch.packed, context), batch.targets[0], batch.scales[0]);
  }
  bool repeats_shapes() const override { return true; }

 private:
  std::vector<RandomSequences> batches_;
};

/// A model, its optimiser and training steps as fine-tuning takes them.
class BenchTrainer {
 public:
  explicit BenchTrainer(const StepBenchOptions& options)
      : options_(options),
        model_(options.config, BertHead::classification, options.dtype, options.device),
        objective_(options) {
    for (const Parameter& parameter : model_.parameters()) {
      initialize_parameter(parameter, options.config, options.seed);
    }
    model_.set_last_layer_cls_only(options.last_layer_cls_only);
    optimizer_.emplace(apply_method(model_, options.method, options.seed), OptimizerSettings{});
    captured_steps_.emplace(model_, objective_, *optimizer_, options.cuda_graphs);
    model_.leave_frozen_weights_rounded();
    held_ = model_.hold_weights();
  }

  Bert& model() { return model_; }
  const Optimizer& optimizer() const { return *optimizer_; }

  EnqueuedUpdate enqueue_step(int64_t batch) {
    return enqueue_update(model_, objective_, *optimizer_,
                          {.update = step_++, .indices = std::span(&batch, 1)},
                          /*lr=*/5e-5, {.batch_size = 1, .dropout_seed = options_.seed}, &*captured_steps_);
  }

  /// That a step on the first batch keeps for backward, for each token and layer.
  double saved_bytes_per_token_layer() {
    const int64_t first = 0;
    const TrainingBatch batch =
        objective_.batch(model_, {}, std::span(&first, 1), {.device = options_.device});
    const Variable loss = objective_.loss(model_, batch, {.training = true, .dropout_seed = options_.seed});
    const size_t saved = saved_bytes(loss, model_.parameters().variables());
    return static_cast<double>(saved) / static_cast<double>(batch.num_tokens * model_.num_layers());
  }

 private:
  const StepBenchOptions& options_;
  Bert model_;
  BenchObjective objective_;
  std::optional<Optimizer> optimizer_;
  std::optional<CapturedSteps> captured_steps_;
  std::vector<std::shared_ptr<const void>> held_;
  int64_t step_ = 0;
};

struct TimedStep {
  UpdateResult result;
  double seconds;
};

/// Steps on the batches in turn. As in training, a step is enqueued before the result of the one before is
/// read; it lasts from one result to the next. A CPU has the result at once.
std::vector<TimedStep> timed_steps(BenchTrainer& trainer, int64_t num_batches, int64_t num_steps) {
  std::vector<TimedStep> steps;
  auto last = std::chrono::steady_clock::now();
  std::optional<EnqueuedUpdate> pending;
  const auto finish_pending = [&] {
    const UpdateResult result = std::exchange(pending, std::nullopt)->finish();
    const auto now = std::chrono::steady_clock::now();
    steps.push_back({result, std::chrono::duration<double>(now - last).count()});
    last = now;
  };
  for (int64_t step = 0; step < num_steps; ++step) {
    EnqueuedUpdate next = trainer.enqueue_step(step % num_batches);
    if (pending) finish_pending();
    pending = std::move(next);
    if (pending->is_done()) finish_pending();
  }
  if (pending) finish_pending();
  return steps;
}

}  // namespace

BertConfig bench_shape(std::string_view name) {
  struct BenchShape {
    std::string_view name;
    int64_t layers, hidden_size, heads, intermediate_size;
  };
  constexpr BenchShape shapes[] = {{"tiny", 2, 128, 2, 512},
                                   {"minilm", 6, 384, 12, 1536},
                                   {"base", 12, 768, 12, 3072},
                                   {"large", 24, 1024, 16, 4096}};
  std::vector<std::string> names;
  for (const BenchShape& shape : shapes) {
    names.emplace_back(shape.name);
    if (shape.name != name) continue;
    BertConfig config;
    config.vocab_size = 30522;
    config.hidden_size = shape.hidden_size;
    config.num_hidden_layers = shape.layers;
    config.num_attention_heads = shape.heads;
    config.intermediate_size = shape.intermediate_size;
    config.max_position_embeddings = 512;
    config.type_vocab_size = 2;
    return config;
  }
  fail(ErrorKind::usage, "--shape: expected {}, found '{}'; nearest: {}", fmt::join(names, ", "), name,
       nearest_name(name, names));
}

StepBenchResult bench_step(const StepBenchOptions& options) {
  BenchTrainer trainer(options);
  StepBenchResult result;
  const int64_t num_batches = std::ssize(options.batches);
  // The first pass pays for memory; where steps are captured, that is done in the second.
  const int64_t untimed = (backend_of(options.device).can_capture() ? 2 : 1) * num_batches;
  const std::vector<TimedStep> steps =
      timed_steps(trainer, num_batches, untimed + options.repeats * num_batches);
  const auto timed = std::span(steps).subspan(static_cast<size_t>(untimed));
  std::vector<double> step_times, pass_times(static_cast<size_t>(options.repeats));
  double tokens = 0, flops = 0;  // of a pass
  for (size_t i = 0; i < timed.size(); ++i) {
    step_times.push_back(timed[i].seconds);
    pass_times[i / static_cast<size_t>(num_batches)] += timed[i].seconds;
    if (i >= static_cast<size_t>(num_batches)) continue;
    tokens += static_cast<double>(timed[i].result.num_tokens);
    flops += timed[i].result.flops;
  }
  result.peak_rss_bytes = peak_rss_bytes();
  result.peak_device_bytes = peak_device_bytes(options.device);
  result.peak_reserved_bytes = peak_reserved_bytes(options.device);
  result.ms_per_step = median(step_times) * 1e3;
  result.tokens_per_second = tokens / median(pass_times);
  result.needed_gflops = flops / 1e9;
  result.roof_gflops = backend_of(options.device).measure_roof(options.dtype).gflops;
  result.roof_share = result.needed_gflops / median(pass_times) / result.roof_gflops;
  result.saved_bytes_per_token_layer = trainer.saved_bytes_per_token_layer();
  result.trainable_parameters = trainable_elements(trainer.optimizer().tensors());
  result.total_parameters = trainer.model().parameters().numel();
  return result;
}

namespace {

/// Times kernels one by one and relates them to what the machine can do.
class KernelBench {
 public:
  KernelBench(int64_t rows, int64_t repeats, Device device)
      : rows_(rows),
        repeats_(repeats),
        device_(device),
        backend_(backend_of(device)),
        activation_dtype_(backend_.activation_dtype(DType::float32)),
        roof_(backend_.measure_roof(DType::float32)) {}

  /// Parameters, their gradients and statistics.
  Tensor values(const Shape& shape) const { return values(shape, DType::float32); }
  /// Activations, and weights as products take them: in bfloat16 if that is what the device computes in.
  Tensor activations(const Shape& shape) const { return values(shape, activation_dtype_); }

  void product(const std::string& kernel, const Backend::MatMul& args) {
    const int64_t inner = args.transpose_a ? args.a.rows : args.a.cols;
    const double flops = 2.0 * static_cast<double>(args.c.rows * args.c.cols * inner);
    add_product(kernel, fmt::format("{}x{}x{}", args.c.rows, args.c.cols, inner), flops,
                [&] { backend_.matmul(args); });
  }

  void add_product(const std::string& kernel, const std::string& shape, double flops,
                   const std::function<void()>& work) {
    const double seconds = time_work(work, repeats_, backend_);
    const double gflops = flops / seconds / 1e9;
    results_.push_back({kernel, shape, seconds * 1e3, gflops, 0, gflops / roof_.gflops});
  }

  /// `bytes`: what the kernel must read and write.
  void add_memory_bound(const std::string& kernel, const Shape& shape, double bytes,
                        const std::function<void()>& work) {
    const double seconds = time_work(work, repeats_, backend_);
    const double gbs = bytes / seconds / 1e9;
    results_.push_back(
        {kernel, fmt::format("{}", fmt::join(shape, "x")), seconds * 1e3, 0, gbs, gbs / roof_.gbs});
  }

  void linear(const std::string& name, int64_t in_features, int64_t out_features) {
    const Tensor input = activations({rows_, in_features}), output = activations({rows_, out_features});
    const Tensor weight = activations({out_features, in_features}),
                 grad_weight = values({out_features, in_features});
    product(name + " forward", {.a = input, .b = weight, .transpose_b = true, .c = output});
    product(name + " grad_input", {.a = output, .b = weight, .c = input});
    product(name + " grad_weight", {.a = output, .transpose_a = true, .b = input, .c = grad_weight});
  }

  void element_wise(int64_t columns) {
    const Shape shape{rows_, columns};
    const Tensor input = activations(shape), output = activations(shape);
    const auto bytes = static_cast<double>(input.nbytes());
    add_memory_bound("gelu forward", shape, 2 * bytes,
                     [&] { backend_.activation_forward(Activation::gelu, input, output); });
    add_memory_bound("gelu backward", shape, 3 * bytes, [&] {
      backend_.activation_backward(
          {.activation = Activation::gelu, .input = input, .grad_output = output, .grad_input = output});
    });
    gelu_with_derivative(shape);
  }

  /// In place: forward that keeps the derivative, as a step does, and backward by it.
  void gelu_with_derivative(const Shape& shape) {
    // Where GELU is the identity to the last digit: values stay as they are, however often it is applied.
    const Tensor states = Tensor::full(shape, 6, activation_dtype_, device_);
    const Tensor derivative = Tensor::empty(shape, backend_.derivative_dtype(activation_dtype_), device_);
    const auto bytes = static_cast<double>(2 * states.nbytes() + derivative.nbytes());
    add_memory_bound("gelu with derivative forward", shape, bytes, [&] {
      backend_.activation_with_derivative(Activation::gelu, states, states, derivative);
    });
    add_memory_bound("gelu with derivative backward", shape, bytes, [&] {
      backend_.derivative_backward({.derivative = derivative, .grad_output = states, .grad_input = states});
    });
  }

  void layer_norm(int64_t hidden_size, const DropoutMask& mask) {
    const Shape shape{rows_, hidden_size};
    const Tensor input = activations(shape), residual = activations(shape), output = activations(shape),
                 normalized = activations(shape);
    const Tensor weight = values({hidden_size}), bias = values({hidden_size}), rstd = values({rows_});
    const Tensor grad_weight = values({hidden_size}), grad_bias = values({hidden_size});
    const auto bytes = static_cast<double>(input.nbytes());
    add_memory_bound("dropout", shape, 2 * bytes, [&] { backend_.dropout(input, mask, output); });
    add_memory_bound("dropout_residual_layer_norm forward", shape, 4 * bytes, [&] {
      backend_.layer_norm_forward({.input = input,
                                   .residual = &residual,
                                   .mask = mask,
                                   .weight = weight,
                                   .bias = bias,
                                   .eps = 1e-12,
                                   .output = output,
                                   .normalized = &normalized,
                                   .rstd = &rstd});
    });
    add_memory_bound("dropout_residual_layer_norm backward", shape, 4 * bytes, [&] {
      backend_.layer_norm_backward({.grad_output = output,
                                    .normalized = normalized,
                                    .rstd = rstd,
                                    .weight = weight,
                                    .mask = mask,
                                    .grad_input = &input,
                                    .grad_residual = &residual,
                                    .grad_weight = &grad_weight,
                                    .grad_bias = &grad_bias});
    });
  }

  void attention(const PackedBatch& batch, const BertConfig& config, int64_t seq_len,
                 const DropoutMask& mask) {
    const int64_t hidden_size = config.hidden_size, num_heads = config.num_attention_heads;
    const Tensor qkv = activations({rows_, 3 * hidden_size}),
                 grad_qkv = activations({rows_, 3 * hidden_size});
    const Tensor context = activations({rows_, hidden_size}), log_sum_exp = values({rows_, num_heads});
    const auto third = [&](const Tensor& tensor, int64_t i) {
      return MatrixRef(tensor).columns(i * hidden_size, (i + 1) * hidden_size);
    };
    const double product = 2.0 * static_cast<double>(rows_ * seq_len * hidden_size);
    const std::string shape = fmt::format("{}x{}, {} heads", rows_ / seq_len, seq_len, num_heads);
    add_product("packed_attention forward", shape, 2 * product, [&] {
      backend_.attention_forward({.query = third(qkv, 0),
                                  .key = third(qkv, 1),
                                  .value = third(qkv, 2),
                                  .query_cu_seqlens = batch.cu_seqlens,
                                  .cu_seqlens = batch.cu_seqlens,
                                  .num_heads = num_heads,
                                  .mask = mask,
                                  .context = context,
                                  .log_sum_exp = &log_sum_exp});
    });
    add_product("packed_attention backward", shape, 4 * product, [&] {
      backend_.attention_backward({.query = third(qkv, 0),
                                   .key = third(qkv, 1),
                                   .value = third(qkv, 2),
                                   .query_cu_seqlens = batch.cu_seqlens,
                                   .cu_seqlens = batch.cu_seqlens,
                                   .num_heads = num_heads,
                                   .mask = mask,
                                   .log_sum_exp = log_sum_exp,
                                   .grad_context = context,
                                   .grad_query = third(grad_qkv, 0),
                                   .grad_key = third(grad_qkv, 1),
                                   .grad_value = third(grad_qkv, 2)});
    });
  }

  void adamw(int64_t rows, int64_t columns) {
    const Shape shape{rows, columns};
    const Tensor parameter = values(shape), gradient = values(shape), first = values(shape),
                 second = values(shape);
    const Tensor one = Tensor::from_values(Shape{}, std::vector<double>{1}, device_);
    const Tensor factors = to_tensor({adamw_factors({}, /*lr=*/1e-5, /*weight_decay=*/0, 1)}).to(device_);
    add_memory_bound("adamw_step", shape, 7 * static_cast<double>(parameter.nbytes()), [&] {
      backend_.adamw_step({.tensors = {{.parameter = parameter,
                                        .gradient = gradient,
                                        .first_moment = first,
                                        .second_moment = second,
                                        .indices = nullptr,
                                        .factors = factors}},
                           .gradient_scale = one});
    });
  }

  std::vector<KernelBenchResult> results() && { return std::move(results_); }

 private:
  /// Uninitialised memory may hold NaN or denormal numbers, which some machines compute slowly.
  Tensor values(const Shape& shape, DType dtype) const { return Tensor::full(shape, 0.5, dtype, device_); }

  int64_t rows_, repeats_;
  Device device_;
  Backend& backend_;
  DType activation_dtype_;
  MachineRoof roof_;
  std::vector<KernelBenchResult> results_;
};

}  // namespace

std::vector<KernelBenchResult> bench_kernels(const BertConfig& config, int64_t num_sequences, int64_t seq_len,
                                             int64_t repeats, Device device) {
  const int64_t hidden_size = config.hidden_size, intermediate_size = config.intermediate_size;
  const PackedBatch batch =
      RandomSequences(config, std::vector<int64_t>(static_cast<size_t>(num_sequences), seq_len), 42)
          .packed({.device = device});
  const DropoutMask mask{.probability = 0.1,
                         .key = dropout_key(42, 0, 0),
                         .example_ids = batch.example_ids,
                         .positions = batch.position_ids};
  KernelBench bench(num_sequences * seq_len, repeats, device);
  bench.linear("query_key_value", hidden_size, 3 * hidden_size);
  bench.linear("attention.output.dense", hidden_size, hidden_size);
  bench.linear("intermediate.dense", hidden_size, intermediate_size);
  bench.linear("output.dense", intermediate_size, hidden_size);
  bench.attention(batch, config, seq_len, mask);
  bench.element_wise(intermediate_size);
  bench.layer_norm(hidden_size, mask);
  bench.adamw(intermediate_size, hidden_size);
  return std::move(bench).results();
}

std::vector<std::vector<int64_t>> read_length_batches(const std::string& path, int64_t batch_size,
                                                      int64_t max_position_embeddings) {
  std::ifstream file(path);
  if (!file)
    fail(ErrorKind::data, "{}: cannot be read; expected a file with one sequence length per line", path);
  std::vector<std::vector<int64_t>> batches;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    int64_t length = 0;
    const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), length);
    if (error != std::errc() || end != line.data() + line.size() || length < 1 ||
        length > max_position_embeddings) {
      fail(ErrorKind::data, "{}, line {}: expected a sequence length from 1 to {}, found '{}'", path, number,
           max_position_embeddings, line);
    }
    if (batches.empty() || static_cast<int64_t>(batches.back().size()) == batch_size) batches.emplace_back();
    batches.back().push_back(length);
  }
  if (batches.empty())
    fail(ErrorKind::data, "{}: expected one sequence length per line, found no lines", path);
  return batches;
}

}  // namespace normtune
