"""Puts `normtune bench` beside PyTorch on the same shapes and batches and writes a Markdown table.

    python tools/compare_pytorch.py --normtune build/tools/normtune --shapes tiny,minilm --rounds 3
    python tools/compare_pytorch.py --device cuda --precision bf16 --batch 32 --shapes base,large \\
        --settings sdpa-fused,compile --output gpu.md

Both programs do the same step: forward with dropout, loss, backward, clipping, AdamW, in float32 or, with `--precision
bf16`, with products in bfloat16 (PyTorch: autocast). They alternate, so that a change of the machine's mood meets both;
each run is a process of its own (on a GPU PyTorch measures all methods of a shape in one), every figure the median over the
rounds. PyTorch is measured with each of `--settings` (tools/bench_pytorch.py). On the CPU the table shows the first of
them, the default, and the fastest; on a GPU it has a row for each. normtune is measured with `--last_layer_cls_only false`, which does exactly
the work that PyTorch does ("all rows"), and as it is ("[CLS]"). With `--lengths FILE` PyTorch pads each batch to its
longest sequence, or to `--pad_to`; normtune never pads. `--json FILE` keeps the results of all runs, one a line, after a
line with the circumstances; read_record() gives both back.
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
REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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

    def __init__(self, path=None):
        self.runs, self.path = {}, path

    def begin(self, measured):
        self.write({"measurement": vars(measured)})

    def add(self, shape, method, contestant, result):
        self.runs.setdefault((shape, method), {}).setdefault(contestant, []).append(result)
        self.write({"contestant": contestant, **result})

    def write(self, line):
        if self.path:
            with open(self.path, "a") as file:
                print(json.dumps(line), file=file)

    def medians(self, shape, method):
        """Name of the contestant -> medians."""
        return {name: median_case(runs) for name, runs in self.runs[shape, method].items()}

    def any_failed(self):
        return any("error" in run for of_case in self.runs.values() for runs in of_case.values() for run in runs)

    def about_pytorch(self):
        """What its results say about versions, and the methods whose model is that of tools/pytorch_bert.py."""
        results = [result for of_case in self.runs.values() for runs in of_case.values() for result in runs]
        plain = dict.fromkeys(result["method"] for result in results if result.get("bert") == "plain")
        found = {key: result[key] for result in results for key in ("torch", "transformers", "peft") if key in result}
        return {**found, "plain": list(plain)}


def read_record(path):
    """The circumstances and the runs of the last measurement in a file of --json."""
    measured, record = None, Record()
    with open(path) as file:
        for line in file:
            if not line.endswith("\n"):  # the program was killed while it wrote
                break
            line = json.loads(line)
            if "measurement" in line:
                measured, record = argparse.Namespace(**line["measurement"]), Record()
            else:
                record.add(line["shape"], line["method"], line.pop("contestant"), line)
    return measured, record


def circumstances(args, **more):
    """What a table has to say beside the runs; enough to write it on another machine."""
    options = {name: value for name, value in vars(args).items() if name not in ("normtune", "output", "json")}
    batches = bench_pytorch.length_batches(args)
    version = subprocess.run([args.normtune, "--version"], stdout=subprocess.PIPE, text=True, check=False).stdout
    return argparse.Namespace(**{
        **options, "lengths": args.lengths and path_in_repository(args.lengths), "options": sorted(options),
        "date": datetime.date.today().isoformat(), "normtune": version.splitlines()[0] if version else "normtune",
        "tokens_of_a_pass": sum(map(sum, batches)), "tokens_of_a_step": sum(map(sum, batches)) / len(batches), **more})


def path_in_repository(path):
    absolute = os.path.abspath(path)
    return os.path.relpath(absolute, REPOSITORY) if absolute.startswith(REPOSITORY + os.sep) else path


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


def times_as_fast(ours, theirs):
    return ours["tokens_per_second"] / theirs["tokens_per_second"]


def speed(ours, theirs):
    return f"{times_as_fast(ours, theirs):.2f}"


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


GPU_HEADER = [
    "shape", "method", "program", "ms", "tokens/s", "share of peak", "peak memory, MB", "reserved, MB",
    "all rows against it", "[CLS] against it", "our peak memory / its"]
NOT_MEASURED = {"error": "not measured"}


def step_milliseconds(measured, result):
    """The mean over the steps of a pass."""
    return 1e3 * measured.tokens_of_a_step / result["tokens_per_second"]


def memory_ratio(ours, theirs):
    return ours["peak_device_bytes"] / theirs["peak_device_bytes"]


def figures(measured, result, needed_gflops):
    """Cells with what a contestant did by itself."""
    if "error" in result:
        return ["not measured" if result is NOT_MEASURED else "failed", "", "", "", ""]
    gflops = (needed_gflops or 0) * result["tokens_per_second"] / measured.tokens_of_a_pass
    return [f"{step_milliseconds(measured, result):.2f}", f"{result['tokens_per_second']:.0f}",
            f"{gflops / measured.peak_gflops:.2f}" if gflops and measured.peak_gflops else "",
            *(f"{result[key] / 1e6:.0f}" if key in result else "" for key in ("peak_device_bytes", "peak_reserved_bytes"))]


def against(theirs, all_rows, cls_rows):
    """Cells with normtune's figures in relation to those of a PyTorch setting."""
    pairs = [(times_as_fast, all_rows), (times_as_fast, cls_rows), (memory_ratio, all_rows)]
    return ["" if "error" in ours or "error" in theirs else f"{ratio(ours, theirs):.2f}" for ratio, ours in pairs]


def gpu_rows(measured, shape, method, results):
    """A row for each contestant, whose cells are empty where something failed or has not been measured."""
    all_rows, cls_rows = (results.get(name, NOT_MEASURED) for name in NORMTUNE_VARIANTS)
    rows = []
    for name in measured.settings.split(","):
        theirs = results.get(name, NOT_MEASURED)
        rows.append([shape, method, f"PyTorch, {name}", *figures(measured, theirs, all_rows.get("needed_gflops")),
                     *against(theirs, all_rows, cls_rows)])
    for name, ours in zip(NORMTUNE_VARIANTS, (all_rows, cls_rows)):
        rows.append([shape, method, f"normtune, {name}", *figures(measured, ours, ours.get("needed_gflops")),
                     "", "", ""])
    return rows


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def processor():
    with open("/proc/cpuinfo") as file:
        match = re.search(r"model name\s*:\s*(.*)", file.read())
    return match.group(1) if match else platform.machine()


def contestants(measured, about):
    """Versions of the programs."""
    libraries = [f"{name} {about[name]}" for name in ("transformers", "peft") if name in about]
    if about["plain"]:
        libraries.append(f"for {', '.join(about['plain'])} the BERT of tools/pytorch_bert.py")
    return ", ".join([f"PyTorch {about.get('torch', '(failed)')}", *libraries]) + f";\n{measured.normtune}"


def cpu_introduction(measured, about):
    """What holds for all tables of the file."""
    return f"""# Training steps beside PyTorch

{processor()}; {contestants(measured, about)}. A step is forward with dropout, loss, backward, clipping and AdamW.
The programs alternate; every figure is the median over the rounds.

"Against" is the ratio of tokens per second (padding does not count); above 1 normtune is faster. "All rows" computes the last
layer for all tokens, as PyTorch does; normtune otherwise computes it for the [CLS] rows alone, with equal results.
The share of the roof is that of the products the method needs in what the multiply-add units (in bf16: the tiles) gave in the same
run, all rows. PyTorch's "default" is eager attention; "fastest" is the best of the settings named below (tools/bench_pytorch.py says what
they are). Peak memory is that of the whole process; the importing of PyTorch alone takes about 550 MB of it.
"""


GPU_EXPLANATION = """A step is forward with dropout, loss, backward, clipping and AdamW. The programs alternate; every figure is
the median over the rounds.

Milliseconds are those of a step, the mean over a pass. "Against" is the ratio of tokens per second (padding does not count); above 1
normtune is faster. "All rows" computes the last layer for all tokens, as PyTorch does; normtune otherwise computes it for the [CLS]
rows alone, with equal results. The share of the peak is that of the products the method needs in what PyTorch reaches with one
product of random 8192 x 8192 matrices in the same precision. Peak memory is that of tensors on the device; "reserved" is what
the program's allocator took for them. tools/bench_pytorch.py says what the settings are.
"""


def section(measured, heading, note, table):
    """One table with the circumstances of its measurement."""
    options = {name: getattr(measured, name) for name in measured.options}
    command = "python tools/compare_pytorch.py " + " ".join(
        f"--{name} {value}" for name, value in options.items() if value not in (None, "auto"))
    return f"""
## {heading}

{measured.date}, {measured.num_threads} threads, dropout {measured.dropout}, {measured.rounds} rounds of {measured.repeats} passes, PyTorch settings
{measured.settings}; {note}.

{table}

    {command}
"""


def describe_batches(measured):
    lengths = f"of {measured.seq} tokens"
    if measured.lengths:
        lengths = f"with the lengths in {os.path.basename(measured.lengths)}"
    padding = f"; PyTorch pads to {measured.pad_to}" if measured.pad_to else ""
    precision = {"fp32": "float32", "tf32": "TF32", "bf16": "bfloat16"}[measured.precision]
    return f"batches of {measured.batch} sequences {lengths}, {precision}{padding}"


def gpu_section(measured, record, heading):
    peak = "no peak was measured"
    if measured.peak_gflops:
        peak = f"peak of products {measured.peak_gflops / 1e3:.1f} TFLOP/s"
    rows = [row for shape, method in record.runs
            for row in gpu_rows(measured, shape, method, record.medians(shape, method))]
    note = f"{peak}.\n{measured.card}; {contestants(measured, record.about_pytorch())}"
    return section(measured, heading, note, markdown_table(GPU_HEADER, rows))


def compare_on_cpu(args, record, shapes, methods):
    """The introduction and the table."""
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"warning: load average {load:.2f}: other work will disturb the measurement", file=sys.stderr)
    measured = circumstances(args)
    record.begin(measured)
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
    return (cpu_introduction(measured, record.about_pytorch()),
            section(measured, capitalized(describe_batches(measured)), note, markdown_table(CPU_HEADER, rows)))


def compare_on_gpu(args, record, shapes, methods):
    peak = bench_pytorch.run_in_own_process(args, [{"peak": True}])[0]
    measured = circumstances(args, peak_gflops=peak.get("peak_gflops"), card=peak.get("card", "no card"))
    record.begin(measured)
    for shape in shapes:
        compare(args, record, shape, methods)
        for method in methods:
            for row in gpu_rows(measured, shape, method, record.medians(shape, method)):
                print(" | ".join(row), file=sys.stderr, flush=True)
    introduction = "# Training steps beside PyTorch on a GPU\n\n" + GPU_EXPLANATION
    return introduction, gpu_section(measured, record, capitalized(describe_batches(measured)))


def capitalized(text):
    return text[0].upper() + text[1:]


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
