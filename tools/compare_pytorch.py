"""Puts `normtune bench` beside PyTorch on the same shapes and batches and writes a Markdown table.

    python tools/compare_pytorch.py --normtune build/tools/normtune --shapes tiny,minilm --rounds 3

Both programs do the same step: forward with dropout, loss, backward, clipping, AdamW, in float32 or, with `--precision
bf16`, with products in bfloat16 (PyTorch: autocast). They alternate, so that a change of the machine's mood meets both;
each run is a process of its own, every figure the median over the rounds. PyTorch is measured with each of `--settings`
(tools/bench_pytorch.py); the table shows the first of them, the default, and the fastest. normtune is measured with
`--last_layer_cls_only false`, which does exactly the work that PyTorch does ("all rows"), and as it is ("[CLS]"). With
`--lengths FILE` PyTorch pads each batch to its longest sequence, or to `--pad_to`; normtune never pads.
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


def run_normtune(args, shape, method, extra):
    command = [args.normtune, "bench", "--json", "--shape", shape, "--method", method, "--batch", str(args.batch),
               "--num_threads", str(args.num_threads), "--repeats", str(args.repeats),
               "--precision", args.precision, *extra]
    command += ["--lengths", args.lengths] if args.lengths else ["--seq", str(args.seq)]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {result.returncode}")
    return json.loads(result.stdout)


def median_case(runs):
    """The median of each figure over the rounds."""
    keys = ("ms_per_step", "tokens_per_second", "peak_rss_bytes", "import_rss_bytes", "roof_share",
            "saved_bytes_per_token_layer")
    return {key: statistics.median(run[key] for run in runs) for key in keys if runs[0].get(key) is not None}


def compare_case(args, shape, method):
    """One shape and method: name of the contestant -> medians."""
    runs = {}
    for _ in range(args.rounds):
        for setting in args.settings.split(","):
            case = {"shape": shape, "method": method, "setting": setting}
            runs.setdefault(setting, []).append(bench_pytorch.run_in_own_process(args, case))
        for variant, extra in NORMTUNE_VARIANTS.items():
            runs.setdefault(variant, []).append(run_normtune(args, shape, method, extra))
    return {name: median_case(of_name) for name, of_name in runs.items()}


def table_row(args, shape, method, results):
    settings = args.settings.split(",")
    default = results[settings[0]]
    strongest = min(settings, key=lambda setting: results[setting]["ms_per_step"])
    all_rows, cls_rows = (results[name] for name in NORMTUNE_VARIANTS)

    def milliseconds(result):
        return f"{result['ms_per_step']:.{0 if result['ms_per_step'] >= 100 else 1}f}"

    def speed(ours, theirs):
        return f"{ours['tokens_per_second'] / theirs['tokens_per_second']:.2f}"

    def peak(result):
        return f"{result['peak_rss_bytes'] / 1e6:.0f}"

    return [shape, method, milliseconds(default), f"{milliseconds(results[strongest])} ({strongest})",
            milliseconds(all_rows), speed(all_rows, default), speed(all_rows, results[strongest]),
            f"{all_rows['roof_share']:.2f}" if "roof_share" in all_rows else "",
            milliseconds(cls_rows), speed(cls_rows, results[strongest]),
            peak(default), peak(all_rows), f"{all_rows['peak_rss_bytes'] / default['peak_rss_bytes']:.2f}"]


HEADER = ["shape", "method", "PyTorch default, ms", "PyTorch fastest, ms", "all rows, ms", "against default",
          "against fastest", "share of roof", "[CLS], ms", "[CLS] against fastest", "PyTorch peak, MB", "our peak, MB",
          "peak / PyTorch's"]


def markdown_table(rows):
    lines = ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def processor():
    with open("/proc/cpuinfo") as file:
        match = re.search(r"model name\s*:\s*(.*)", file.read())
    return match.group(1) if match else platform.machine()


def introduction(args):
    """What holds for all tables of the file."""
    import torch
    import transformers

    version = subprocess.run([args.normtune, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return f"""# Training steps beside PyTorch

{processor()}; PyTorch {torch.__version__}, transformers {transformers.__version__};
{version.splitlines()[0] if version else "normtune"}. A step is forward with dropout, loss, backward, clipping and AdamW.
The programs alternate; every figure is the median over the rounds.

"Against" is the ratio of tokens per second (padding does not count); above 1 normtune is faster. "All rows" computes the last
layer for all tokens, as PyTorch does; normtune otherwise computes it for the [CLS] rows alone, with equal results.
The share of the roof is that of the products the method needs in what the multiply-add units (in bf16: the tiles) gave in the same
run, all rows. PyTorch's "default" is eager attention; "fastest" is the best of the settings named below (tools/bench_pytorch.py says what
they are). Peak memory is that of the whole process; the importing of PyTorch alone takes about 550 MB of it.
"""


def section(args, rows, load):
    """One table with the circumstances of its measurement."""
    batch = f"{args.batch} sequences " + (
        f"with the lengths in {os.path.basename(args.lengths)}" if args.lengths else f"of {args.seq} tokens")
    batch += {"fp32": ", float32", "bf16": ", bfloat16"}[args.precision]
    batch += f"; PyTorch pads to {args.pad_to}" if args.pad_to else ""
    command = "python tools/compare_pytorch.py " + " ".join(
        f"--{name} {value}" for name, value in sorted(vars(args).items())
        if value is not None and name not in ("normtune", "output", "append"))
    return f"""
## Batches of {batch}

{datetime.date.today().isoformat()}, {args.num_threads} threads, dropout {args.dropout}, {args.rounds} rounds of {args.repeats} passes, PyTorch settings
{args.settings}; load average of the machine before the first run: {load:.2f}.

{markdown_table(rows)}

    {command}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    bench_pytorch.add_options(parser)
    parser.add_argument("--normtune", default="build/tools/normtune", help="the program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default="docs/benchmarks.md", help="Markdown file; - for standard output")
    parser.add_argument("--append", action="store_true", help="add a table to the file, keep what it has")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: load average {load:.2f}: other work will disturb the measurement", file=sys.stderr)
    rows = []
    for shape in bench_pytorch.names(args.shapes, bench_pytorch.SHAPES, "shape"):
        for method in bench_pytorch.names(args.methods, bench_pytorch.METHODS, "method"):
            rows.append(table_row(args, shape, method, compare_case(args, shape, method)))
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    text = section(args, rows, load)
    if not args.append:
        text = introduction(args) + text
    if args.output == "-":
        print(text)
        return
    os.makedirs(os.path.dirname(args.output) or ".", exist_ok=True)
    with open(args.output, "a" if args.append else "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
