"""Plants faults in the sources, one at a time, and says which tests catch each.

    python tools/plant_faults.py [--only NAME,...] [--jobs 2] [--work DIR]
    python tools/plant_faults.py --check      plants nothing, but says which faults no longer apply

Works on a copy of the tracked files, so the checkout is not touched. Each fault replaces one piece of text that must
occur exactly once (a fault that no longer applies is an error, so that the list follows the code); the tests named
beside it are then built and run. A fault that no test catches, or that does not compile, fails the run.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    file: str
    old: str
    new: str
    tests: str  # regular expression over the names that ctest knows


FAULTS = [
    # Ops and kernels.
    Fault("layer norm adds a mean", "tensor/formulas/layer_norm.h",
          "(g - mean_g - normalized", "(g + mean_g - normalized", "autograd/|tensor/"),
    Fault("embeddings take the position in place of the token type", "tensor/cpu/layer_norm.cpp",
          "loops.add(out, row_of(args.tables[2]), out", "loops.add(out, row_of(args.tables[1]), out",
          "autograd/|bert_parity"),
    Fault("an element that moved down counts as unchanged", "tensor/change.h",
          "a != b ? 1.0 : 0.0", "a > b ? 1.0 : 0.0", "tensor/|experiments/drift"),
    Fault("a transposed factor is packed with blocks at the wrong places", "tensor/cpu/vector/transpose.h",
          "transpose<2 * step>(rows);", "transpose<4 * step>(rows);", "tensor/"),
    Fault("a product forgets the terms before the last 384", "tensor/cpu/gemm.cpp",
          ".accumulate = args.accumulate || terms.begin > 0};", ".accumulate = args.accumulate};", "tensor/"),
    Fault("every thread is given the first thread's rows", "tensor/cpu/task_grid.h",
          "return Task{begin + in_round % rows,", "return Task{in_round % rows,", "tensor/"),
    Fault("GELU's derivative forgets the density", "tensor/formulas/activations.h",
          "return at_x.distribution + x * at_x.density;", "return at_x.distribution;", "autograd/|tensor/"),
    Fault("a derivative in a byte is not rounded to the nearest step", "tensor/formulas/activations.h",
          "T(27.5);", "T(27);", "autograd/|tensor/"),
    Fault("softmax keeps the common part of its gradient", "tensor/cpu/vector/rows.h",
          "factor * probs[i] * (grad_output[i] - dot)", "factor * probs[i] * grad_output[i]", "autograd/|tensor/"),
    Fault("squared error forgets the factor 2", "tensor/cpu/losses.cpp",
          "static_cast<T>(2 * difference * args.scale)", "static_cast<T>(difference * args.scale)",
          "autograd/|tensor/"),
    Fault("cross-entropy's gradient is not divided by the batch", "tensor/cpu/losses.cpp",
          "loops.scale(probs, scale, probs, num_classes);", "loops.scale(probs, scale / scale, probs, num_classes);",
          "autograd/|tensor/"),
    Fault("attention does not drop the gradient of its probabilities", "tensor/cpu/attention.cpp",
          "loops.dropout_both(p, dp, mask.row(begin + i, pair.head), kept, dp, num_keys);",
          "loops.dropout(p, mask.row(begin + i, pair.head), kept, num_keys);", "autograd/|tensor/"),
    Fault("attention is not scaled by the head size", "tensor/cpu/attention.cpp",
          "loops.softmax(row, factor, row, num_keys)", "loops.softmax(row, factor / factor, row, num_keys)",
          "autograd/|tensor/|bert_parity"),
    Fault("captured batches add to the gradients of the last update", "experiments/captured_steps.cpp",
          "for (GradientSum& gradient : sums_) gradient.sum.fill(0);", "", "cuda/training"),
    Fault("a second gradient replaces the first", "autograd/tape.cpp",
          "leaf.grad = add_gradients(std::move(leaf.grad), std::move(grad));", "leaf.grad = std::move(grad);",
          "autograd/"),
    Fault("a backward pass takes the derivative of another activation", "autograd/activation_linear.cpp",
          "activation_backward({.activation = kind_,", "activation_backward({.activation = Activation::relu,",
          "autograd/"),
    Fault("the padding row of an embedding gets a gradient", "tensor/cpu/embedding.cpp",
          "    if (index[rows.front()] == args.skip_index) return;\n    T* sum =", "    T* sum =",
          "autograd/|tensor/|bert_parity"),
    Fault("rows of a tied table replace its gradient", "autograd/tape.cpp",
          "      deliver_to_leaf(leaf, rows.dense());\n", "      leaf.grad = rows.dense();\n", "autograd/"),
    Fault("a frozen weight keeps its input", "autograd/linear.cpp",
          "if (weights_require_grad) node->input", "node->input", "autograd/"),
    Fault("rows are squared, not examples", "autograd/gradient_reduction.cpp",
          "return num_rows == batch ? one_row_each_ : cu_seqlens_;", "return one_row_each_;",
          "autograd/|squared_gradients"),
    Fault("repeated tokens of an example are squared apart", "tensor/cpu/embedding.cpp",
          "example_of(rows[i + 1]) == example_of(rows[i])", "example_of(rows[i + 1]) < 0",
          "autograd/|tensor/|squared_gradients"),
    # BERT and the methods.
    Fault("the residual of the feed-forward half is the wrong one", "nn/bert.cpp",
          "output.forward(ffn_output, attention_states,", "output.forward(ffn_output, residual,", "bert_parity"),
    Fault("two places of a block share a dropout mask", "nn/bert.cpp",
          "dropout_site(layer, DropoutPlace::ffn_output)", "dropout_site(layer, DropoutPlace::attention_output)", "nn/"),
    Fault("the pooler is linear", "nn/bert.cpp",
          "return tanh(pooler_.forward(cls_states, context, cls_rows(batch)));",
          "return pooler_.forward(cls_states, context, cls_rows(batch));", "bert_parity"),
    Fault("LoRA is not scaled", "autograd/low_rank_update.cpp", "input.backend().scale(low_rank, scaling, low_rank);", "",
          "autograd/|training_parity|nn/model|experiments/method"),
    Fault("adapters change places", "nn/adapter.cpp",
          "settings.original_ln_before ? AdapterPlacement::after_norm", "!settings.original_ln_before ? AdapterPlacement::after_norm",
          "training_parity"),
    Fault("output.LayerNorm also selects attention.output.LayerNorm", "experiments/method.cpp",
          'parameter.component == "output.LayerNorm"', 'parameter.component.ends_with("output.LayerNorm")',
          "experiments/method"),
    Fault("the last layer takes a wrong row", "nn/packed_batch.cpp",
          "cls_rows.push_back(static_cast<int32_t>(begin));", "cls_rows.push_back(static_cast<int32_t>(begin + 1));",
          "bert_parity"),
    # Optimiser and training.
    Fault("AdamW forgets a bias correction", "tensor/adamw_factors.cpp",
          "factors.root_scale = 1 / root_correction2;", "factors.root_scale = 1;", "nn/optimizer|training_parity"),
    Fault("an optimiser forgets the rounded copies", "nn/optimizer.cpp",
          "return rounded.defined() ? &rounded : nullptr;", "return rounded.defined() ? nullptr : nullptr;",
          "cuda/rounded_weights"),
    Fault("a CUDA update forgets the rounded copies of listed elements", "cuda/optimizer.cuh",
          "    if (rounded != nullptr) rounded[i] = normtune::cuda::rounded<bfloat16>(value);\n", "",
          "cuda/elementwise|cuda/rounded_weights"),
    Fault("a barrier is missing in the sum over a block", "cuda/block.cuh",
          "warp_sums[threadIdx.x / warp_size] = value;\n  __syncthreads();",
          "warp_sums[threadIdx.x / warp_size] = value;", "cuda/emulator_itself|cuda/rows"),
    Fault("attention's running sums do not shrink", "cuda/attention.cuh",
          "context.row(i)[c] *= shrink;", "context.row(i)[c] *= 1.f;", "cuda/attention"),
    Fault("a tile is overwritten while it is read", "cuda/attention.cuh",
          "__syncthreads();  // nobody still reads the last tile\n    load_rows(args.query",
          "load_rows(args.query", "cuda/attention"),
    Fault("a kernel's last element is left out", "cuda/elementwise.cuh",
          "if (i < count) function(i);", "if (i + 1 < count) function(i);", "cuda/elementwise"),
    Fault("logits are made float64 on a GPU", "experiments/evaluation.cpp",
          "CopiesOnHost copies({output.tensor()});", "CopiesOnHost copies({output.tensor().to(DType::float64)});",
          "cuda/training"),
    Fault("LayerNorms decay", "experiments/method.cpp",
          "return !parameter.is_bias && !is_layer_norm(parameter);", "return !parameter.is_bias;",
          "experiments/method|finetune_parity"),
    Fault("a masked tensor moves as a whole", "tensor/cpu/optimizer.cpp",
          "if (indices != nullptr) return update_listed", "if (indices == &gradient) return update_listed",
          "nn/optimizer|tensor/"),
    Fault("a row of embeddings without a gradient forgets its moments", "tensor/cpu/optimizer.cpp",
          "return has_moments[row] != 0 ||", "return gradient.has(row) ||",
          "nn/optimizer|training_parity"),
    Fault("gradients are not clipped", "tensor/formulas/clipping.h",
          "return max_norm > 0 && factor < 1 ? factor : 1;", "return factor < 1 ? 1 : 1;", "finetune_parity|update"),
    Fault("warm-up begins one step late", "nn/lr_schedule.cpp",
          "return static_cast<double>(step) / static_cast<double>(warmup_steps);",
          "return static_cast<double>(step - 1) / static_cast<double>(warmup_steps);", "lr_schedule"),
    Fault("a resumed optimiser counts its steps from zero", "nn/optimizer.cpp",
          "  num_steps_ = num_steps;\n", "  num_steps_ = num_steps * 0;\n", "nn/optimizer|resume"),
    Fault("accumulated gradients are means of means", "experiments/classification_objective.cpp",
          "static_cast<double>(update.indices.size())", "static_cast<double>(update.indices.size() * 0 + batch.size())",
          "finetune_parity|update"),
    Fault("a resume takes updates of other examples", "experiments/training_run.cpp",
          'count_of(identity, "per_device_train_batch_size") * count_of',
          'count_of(identity, "per_device_train_batch_size") * 0 * count_of', "experiments/resume"),
    # Reading.
    Fault("a byte order mark stays in the first field", "experiments/data_file.cpp",
          '  if (text_.starts_with("\\xEF\\xBB\\xBF")) text_.remove_prefix(3);\n', "", "experiments/"),
    Fault("tied ranks are not shared", "experiments/metrics.cpp",
          "(static_cast<double>(begin + 1) + static_cast<double>(end)) / 2.0", "static_cast<double>(begin + 1)",
          "experiments/metrics"),
    Fault("of two equally long texts the first is cut", "nn/tokenizer.cpp",
          "const bool text_is_longer = lengths.text > lengths.text_pair;",
          "const bool text_is_longer = lengths.text >= lengths.text_pair;", "nn/tokenizer|truncation"),
    Fault("old names of LayerNorm are not known", "nn/checkpoint_tensors.cpp",
          '  replace_end(name, "LayerNorm.gamma", "LayerNorm.weight");\n', "", "nn/checkpoint"),
    Fault("a hole between tensors passes", "nn/safetensors.cpp",
          "if (span.first != expected) {", "if (span.first < expected) {", "nn/safetensors"),
    # Fisher information and masks.
    Fault("the expected form forgets a class", "experiments/fisher.cpp",
          "std::max<int64_t>(1, num_labels - 1)", "std::max<int64_t>(1, num_labels - 2)", "experiments/fisher"),
    Fault("rounding noise is ranked", "experiments/element_mask.cpp", "noise ? INFINITY", "noise && false ? INFINITY",
          "experiments/element_mask"),
    Fault("of equal scores all are chosen", "experiments/element_mask.cpp", "ranks[i] == threshold && equal-- > 0",
          "ranks[i] == threshold && equal > 0", "experiments/element_mask|tools/fisher"),
    # Comparisons.
    Fault("a run's id depends on where the data lie", "experiments/comparison_plan.cpp",
          "if (!changes_numbers(name) || ", "if (", "experiments/comparison_plan"),
    Fault("an untrained run's id depends on the weights", "experiments/comparison_plan.cpp",
          '  if (options.random_init) model.erase("weights");\n', "", "experiments/comparison_plan"),
    Fault("the deviation is divided by n", "experiments/score_table.cpp",
          "squares / static_cast<double>(summary.n - 1)", "squares / static_cast<double>(summary.n)",
          "experiments/score_table"),
    Fault("a grid ignores runs without score", "experiments/score_table.cpp",
          "    if (first.n != second.n) return first.n > second.n;\n", "", "experiments/score_table"),
    Fault("the standard error forgets the number of runs", "experiments/method_comparison.cpp",
          "*summary.sd * *summary.sd / static_cast<double>(summary.n)", "*summary.sd * *summary.sd",
          "experiments/method_comparison"),
    Fault("a finished run keeps its model", "experiments/run_store.cpp",
          "  for (const fs::path& path : surplus) remove_entry(path);\n", "", "experiments/run_store|tools/compare"),
    Fault("a damaged checkpoint ends its run", "experiments/run_execution.cpp",
          "if (finetuning_ && resumed_ && refused) {", "if (finetuning_ && resumed_ && refused && false) {",
          "tools/compare"),
    # Devices.
    Fault("fisher forgets the device", "tools/command_fisher.cpp",
          "  fisher.options.device = fisher.common.device();\n", "", "cuda/commands"),
    Fault("a comparison measures Fisher information on the CPU", "experiments/comparison_plan.cpp",
          '"validation_file", "max_seq_length",     "device",', '"validation_file", "max_seq_length",', "cuda/commands"),
]


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)


def copy_sources(work):
    files = subprocess.run(["git", "ls-files", "-z"], stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    source = work / "source"
    for name in filter(None, files):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != pathlib.Path(name).read_bytes():
            shutil.copy2(name, target)
    return source


def build(work, jobs):
    return run(["cmake", "--build", str(work / "build"), "--parallel", str(jobs)])


def run_tests(work, pattern, jobs):
    """Names of the failed tests."""
    result = run(["ctest", "--test-dir", str(work / "build"), "--parallel", str(jobs), "-R", pattern])
    if "No tests were found" in result.stdout:
        sys.exit(f"no test matches {pattern}")
    return re.findall(r"^\s*\d+ - (\S+) \(", result.stdout, re.MULTILINE)


def times_found(fault, source):
    return (source / fault.file).read_text().count(fault.old)


def plant(fault, source, work, jobs):
    """Outcome of one fault: the tests that failed, or None if it did not compile."""
    path = source / fault.file
    original = path.read_text()
    path.write_text(original.replace(fault.old, fault.new))
    try:
        if build(work, jobs).returncode != 0:
            return None
        return run_tests(work, fault.tests, jobs)
    finally:
        path.write_text(original)


def check_that_all_apply(source):
    stale = [f"{f.file}: '{f.name}': expected its text once, found it {times_found(f, source)} times"
             for f in FAULTS if times_found(f, source) != 1]
    if stale:
        sys.exit("\n".join(stale))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="comma-separated parts of names of faults")
    parser.add_argument("--check", action="store_true", help="only looks whether the faults apply")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", help="a folder to build in, kept (default: a temporary one)")
    args = parser.parse_args()
    check_that_all_apply(pathlib.Path(__file__).parent.parent)
    if args.check:
        print(f"all {len(FAULTS)} faults apply")
        return
    work = pathlib.Path(args.work or tempfile.mkdtemp(prefix="normtune-faults-"))
    source = copy_sources(work)
    configured = run(["cmake", "-S", str(source), "-B", str(work / "build"), "-G", "Ninja"])
    first = build(work, args.jobs) if configured.returncode == 0 else configured
    if first.returncode != 0:
        sys.exit(first.stdout[-3000:])
    chosen = [f for f in FAULTS if not args.only or any(part in f.name for part in args.only.split(","))]
    missed = 0
    print("| fault | file | caught by |\n|---|---|---|", flush=True)
    for fault in chosen:
        failed = plant(fault, source, work, args.jobs)
        missed += not failed
        verdict = "does not compile" if failed is None else ", ".join(failed) or "**nothing**"
        print(f"| {fault.name} | {fault.file} | {verdict} |", flush=True)
    if not args.work:
        shutil.rmtree(work)
    print(f"\n{len(chosen) - missed} of {len(chosen)} caught")
    sys.exit(missed > 0)


if __name__ == "__main__":
    main()
