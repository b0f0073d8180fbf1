"""Puts `normtune bench` beside PyTorch on the same shapes and batches and writes a Markdown table.

    python tools/compare_pytorch.py --normtune build/tools/normtune --shapes tiny,minilm --rounds 3
    python tools/compare_pytorch.py --device cuda --precision bf16 --batch 32 --shapes base,large \\
        --settings sdpa-fused,compile --output gpu.md

Both programs do the same step: forward with dropout, loss, backward, clipping, AdamW, in float32 or, with `--precision
bf16`, with products in bfloat16 (PyTorch: autocast). They alternate, so that a change of the machine's mood meets both;
each run is a process of its own (on a GPU PyTorch measures all methods of a shape in one), every figure the median over the
rounds. PyTorch is measured with each of `--settings` (tools/bench_pytorch.py). On the CPU the table shows the first of
them, the default, and the fastest; on a GPU all. normtune is measured with `--last_layer_cls_only false`, which does exactly
the work that PyTorch does ("all rows"), and as it is ("[CLS]"). With `--lengths FILE` PyTorch pads each batch to its
longest sequence, or to `--pad_to`; normtune never pads. `--json FILE` keeps the results of all runs, one a line.
"""

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys

import bench_pytorch

NORMTUNE_VARIANTS = {"all rows": ["--last_layer_cls_only", "false"], "[CLS]": []}


def run_normtune(args, shape, method, variant):
    """One run, with an "error" if it failed."""
    command = [args.normtune, "bench", "--json", "--shape", shape, "--method", method, "--batch", str(args.batch),
               "--num_threads", str(args.num_threads), "--repeats", str(normtune_repeats(args)),
               "--device", args.device, "--precision", args.precision, *NORMTUNE_VARIANTS[variant]]
    command += ["--lengths", args.lengths] if args.lengths else ["--seq", str(args.seq)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode == 0:
        return json.loads(result.stdout)
    print(f"{' '.join(command)}: exit code {result.returncode}", file=sys.stderr)
    return {"shape": shape, "method": method, "error": f"exit code {result.returncode}"}


def normtune_repeats(args):
    """So many that it makes as many steps as PyTorch does."""
    return args.repeats * len(bench_pytorch.batches_of_a_pass(args)) // len(bench_pytorch.length_batches(args))


def median_case(runs):
    """The median of each figure over the rounds; an "error" if one failed."""
    failed = [run for run in runs if "error" in run]
    if failed:
        return failed[0]
    keys = ("ms_per_step", "tokens_per_second", "peak_rss_bytes", "import_rss_bytes", "roof_share", "needed_gflops",
            "saved_bytes_per_token_layer", "peak_device_bytes", "peak_reserved_bytes")
    return {key: statistics.median(run[key] for run in runs) for key in keys if runs[0].get(key) is not None}


class Record:
    """All runs by case and contestant, and in a file."""

    def __init__(self, path):
        self.runs, self.path = {}, path

    def add(self, shape, method, contestant, result):
        self.runs.setdefault((shape, method), {}).setdefault(contestant, []).append(result)
        if self.path:
            with open(self.path, "a") as file:
                print(json.dumps({"contestant": contestant, **result}), file=file)

    def medians(self, shape, method):
        """Name of the contestant -> medians."""
        return {name: median_case(runs) for name, runs in self.runs[shape, method].items()}

    def any_failed(self):
        return any("error" in run for of_case in self.runs.values() for runs in of_case.values() for run in runs)

    def about_pytorch(self):
        """A result of PyTorch, for what it says about versions and the card."""
        results = [result for of_case in self.runs.values() for runs in of_case.values() for result in runs]
        return next((result for result in results if "torch" in result), {})


def compare(args, record, shape, methods):
    """One shape, by methods that take turns with the settings and with normtune."""
    for _ in range(args.rounds):
        for setting in args.settings.split(","):
            cases = [{"shape": shape, "method": method, "setting": setting} for method in methods]
            for case, result in zip(cases, bench_pytorch.run_in_own_process(args, cases)):
                record.add(shape, case["method"], setting, result)
        for method in methods:
            for variant in NORMTUNE_VARIANTS:
                record.add(shape, method, variant, run_normtune(args, shape, method, variant))


def milliseconds(result):
    return f"{result['ms_per_step']:.{0 if result['ms_per_step'] >= 100 else 1}f}"


def speed(ours, theirs):
    return f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}"


def cpu_row(args, shape, method, results):
    settings = args.settings.split(",")
    default = results[settings[0]]
    strongest = min(settings, key=lambda setting: results[setting]["ms_per_step"])
    all_rows, cls_rows = (results[name] for name in NORMTUNE_VARIANTS)

    def peak(result):
        return f"{result['peak_rss_bytes'] / 1e6:.0f}"

    return [shape, method, milliseconds(default), f"{milliseconds(results[strongest])} ({strongest})",
            milliseconds(all_rows), speed(all_rows, default), speed(all_rows, results[strongest]),
            f"{all_rows['roof_share']:.2f}" if "roof_share" in all_rows else "",
            milliseconds(cls_rows), speed(cls_rows, results[strongest]),
            peak(default), peak(all_rows), f"{all_rows['peak_rss_bytes'] / default['peak_rss_bytes']:.2f}"]


CPU_HEADER = [
    "shape", "method", "PyTorch default, ms", "PyTorch fastest, ms", "all rows, ms", "against default",
    "against fastest", "share of roof", "[CLS], ms", "[CLS] against fastest", "PyTorch peak, MB", "our peak, MB",
    "peak / PyTorch's"]


def gpu_header(args):
    settings = args.settings.split(",")
    return (["shape", "method"] + [f"{setting}, ms" for setting in settings] + ["all rows, ms", "tokens/s"]
            + [f"against {setting}" for setting in settings]
            + ["share of peak", "PyTorch's best share", "[CLS], ms", "[CLS] against best",
               f"{settings[0]}: peak (reserved), MB", "our peak (reserved), MB", "peak / PyTorch's"])


def gpu_row(args, peak_gflops, shape, method, results):
    """A contestant that failed leaves its cells empty."""
    settings = args.settings.split(",")
    all_rows, cls_rows = (results[name] for name in NORMTUNE_VARIANTS)
    measured = [results[setting] for setting in settings if "error" not in results[setting]]
    best = max(measured, key=lambda result: result["tokens_per_second"], default={"error": "none"})

    def cell(function, *contestants):
        failed = any("error" in contestant for contestant in contestants)
        return "" if failed else function(*contestants)

    def per_step(result):
        return f"{1e3 * tokens_of_a_step(args) / result['tokens_per_second']:.2f}"

    def share(result, ours):
        gflops = ours["needed_gflops"] * result["tokens_per_second"] / tokens_of_a_pass(args)
        return f"{gflops / peak_gflops:.2f}" if peak_gflops else ""

    def memory(result):
        return f"{result['peak_device_bytes'] / 1e6:.0f} ({result['peak_reserved_bytes'] / 1e6:.0f})"

    first = results[settings[0]]
    return ([shape, method] + [cell(per_step, results[setting]) or "failed" for setting in settings]
            + [cell(per_step, all_rows) or "failed", cell(lambda ours: f"{ours['tokens_per_second']:.0f}", all_rows)]
            + [cell(speed, all_rows, results[setting]) for setting in settings]
            + [cell(share, all_rows, all_rows), cell(share, best, all_rows), cell(per_step, cls_rows),
               cell(speed, cls_rows, best),
               cell(memory, first), cell(memory, all_rows),
               cell(lambda ours, theirs: f"{ours['peak_device_bytes'] / theirs['peak_device_bytes']:.2f}", all_rows, first)])


def tokens_of_a_pass(args):
    """Of the pass whose work normtune reports as needed_gflops."""
    return sum(map(sum, bench_pytorch.length_batches(args)))


def tokens_of_a_step(args):
    return tokens_of_a_pass(args) / len(bench_pytorch.length_batches(args))


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def processor():
    with open("/proc/cpuinfo") as file:
        match = re.search(r"model name\s*:\s*(.*)", file.read())
    return match.group(1) if match else platform.machine()


def contestants(args, about):
    """Versions of the programs."""
    bert = f"transformers {about['transformers']}" if "transformers" in about else "BERT of tools/pytorch_bert.py"
    version = subprocess.run([args.normtune, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return f"PyTorch {about.get('torch', '(failed)')}, {bert};\n{version.splitlines()[0] if version else 'normtune'}"


def cpu_introduction(args, about):
    """What holds for all tables of the file."""
    return f"""# Training steps beside PyTorch

{processor()}; {contestants(args, about)}. A step is forward with dropout, loss, backward, clipping and AdamW.
The programs alternate; every figure is the median over the rounds.

"Against" is the ratio of tokens per second (padding does not count); above 1 normtune is faster. "All rows" computes the last
layer for all tokens, as PyTorch does; normtune otherwise computes it for the [CLS] rows alone, with equal results.
The share of the roof is that of the products the method needs in what the multiply-add units (in bf16: the tiles) gave in the same
run, all rows. PyTorch's "default" is eager attention; "fastest" is the best of the settings named below (tools/bench_pytorch.py says what
they are). Peak memory is that of the whole process; the importing of PyTorch alone takes about 550 MB of it.
"""


def gpu_introduction(args, about):
    return f"""# Training steps beside PyTorch on a GPU

{about.get("card", "no card")}; {contestants(args, about)}. A step is forward with dropout, loss, backward, clipping and AdamW.
The programs alternate; every figure is the median over the rounds.

Milliseconds are the mean of the steps of a pass. "Against" is the ratio of tokens per second (padding does not count); above 1
normtune is faster. "All rows" computes the last layer for all tokens, as PyTorch does; normtune otherwise computes it for the [CLS]
rows alone, with equal results. The share of the peak is that of the products the method needs in what PyTorch reaches with one
product of random 8192 x 8192 matrices in the same precision. Peak memory is that of tensors on the device; "reserved" is what
PyTorch's allocator took for them. tools/bench_pytorch.py says what the settings are.
"""


def section(args, header, rows, note):
    """One table with the circumstances of its measurement."""
    batch = f"{args.batch} sequences " + (
        f"with the lengths in {os.path.basename(args.lengths)}" if args.lengths else f"of {args.seq} tokens")
    batch += {"fp32": ", float32", "tf32": ", TF32", "bf16": ", bfloat16"}[args.precision]
    batch += f"; PyTorch pads to {args.pad_to}" if args.pad_to else ""
    command = "python tools/compare_pytorch.py " + " ".join(
        f"--{name} {value}" for name, value in sorted(vars(args).items())
        if value not in (None, "auto") and name not in ("normtune", "output", "json"))
    return f"""
## Batches of {batch}

{datetime.date.today().isoformat()}, {args.num_threads} threads, dropout {args.dropout}, {args.rounds} rounds of {args.repeats} passes, PyTorch settings
{args.settings}; {note}.

{markdown_table(header, rows)}

    {command}
"""


def compare_on_cpu(args, record, shapes, methods):
    """The introduction and the table."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: load average {load:.2f}: other work will disturb the measurement", file=sys.stderr)
    rows = []
    for shape in shapes:
        for method in methods:
            compare(args, record, shape, [method])
            results = record.medians(shape, method)
            failed = next((result["error"] for result in results.values() if "error" in result), None)
            if failed:
                sys.exit(f"{shape}, {method}: {failed}")
            rows.append(cpu_row(args, shape, method, results))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    note = f"load average of the machine before the first run: {load:.2f}"
    return cpu_introduction(args, record.about_pytorch()), section(args, CPU_HEADER, rows, note)


def compare_on_gpu(args, record, shapes, methods):
    peak = bench_pytorch.run_in_own_process(args, [{"peak": True}])[0]
    peak_gflops = peak.get("peak_gflops", 0)
    rows = []
    for shape in shapes:
        compare(args, record, shape, methods)
        for method in methods:
            rows.append(gpu_row(args, peak_gflops, shape, method, record.medians(shape, method)))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    note = f"peak of products {peak_gflops / 1e3:.1f} TFLOP/s" if peak_gflops else f"no peak: {peak.get('error')}"
    return gpu_introduction(args, record.about_pytorch()), section(args, gpu_header(args), rows, note)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_pytorch.add_options(parser)
    parser.add_argument("--normtune", default="build/tools/normtune", help="the program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default="docs/benchmarks.md",
                        help="Markdown file, at whose end the table is added; - for standard output")
    parser.add_argument("--json", help="file to which the results of all runs are added, one a line")
    args = parser.parse_args()
    if args.device == "cpu" and args.precision == "tf32":
        sys.exit("--precision tf32: the CPU has none; give --device cuda")
    shapes = bench_pytorch.names(args.shapes, bench_pytorch.SHAPES, "shape")
    methods = bench_pytorch.names(args.methods, bench_pytorch.METHODS, "method")
    bench_pytorch.names(args.settings, bench_pytorch.SETTINGS, "setting")
    record = Record(args.json)
    introduction, table = (compare_on_gpu if args.device == "cuda" else compare_on_cpu)(args, record, shapes, methods)
    if args.output == "-":
        print(introduction + table)
    else:
        os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
        with open(args.output, "a") as file:
            file.write(table if file.tell() > 0 else introduction + table)
    sys.exit(1 if record.any_failed() else 0)


if __name__ == "__main__":
    main()
