"""Writes what tools/device_checks.sh has left in a results folder to the section "On a GPU" of docs/benchmarks.md.

    bash tools/device_checks.sh report --results results        or: python tools/report_device.py --results results

The section stands between two comments (at the end of the file where these are missing) and is replaced as a whole; the rest
of the file stays as it is. It says which steps passed, failed or never ran, sets the goals beside what was measured, and
has all tables. Needs no device, and Python's standard library alone.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from typing import NamedTuple

import bench_pytorch
import compare_pytorch
from compare_pytorch import markdown_table

BEGIN = "<!-- tools/report_device.py writes from here -->"
END = "<!-- to here -->"
CHECKS = ("kernels", "sanitize", "training", "large", "bench")


# ---- What the results folder holds


class Step(NamedTuple):
    """One step of device_checks.sh. State: passed, failed or not run."""
    name: str
    state: str
    reason: str = ""  # of a failure
    machine: str = ""  # card, driver, commit and date
    log: str = ""

    @property
    def check(self):
        return self.name.split("-")[0]

    @property
    def generated_cases(self):
        return sum(map(int, re.findall(r"(\d+) generated cases", self.log)))


def read_step(results, name):
    log_file = results / f"{name}.log"
    if not log_file.exists():
        return Step(name, "not run")
    log = log_file.read_text(errors="replace")
    for state in ("passed", "failed"):
        outcome = results / f"{name}.{state}"
        if outcome.exists():
            _, date, commit, card, reason = outcome.read_text().rstrip("\n").split("\t")
            return Step(name, state, reason, f"{card}, commit {commit}, {date}", log)
    return Step(name, "failed", "interrupted", log=log)


def read_steps(results):
    """All steps of the checks, whether they ran or not."""
    listed = results / "steps.txt"
    steps = [read_step(results, name) for name in listed.read_text().split()] if listed.exists() else []
    if all(step.state == "not run" for step in steps):
        sys.exit(f"report_device: error: nothing has been run in {results}")
    return steps


def read_tables(results, steps):
    """Name of a step -> circumstances and runs of its comparison with PyTorch."""
    files = {step.name: results / f"{step.name}.jsonl" for step in steps}
    tables = {name: compare_pytorch.read_record(file) for name, file in files.items() if file.exists()}
    return {name: (measured, record) for name, (measured, record) in tables.items() if record.runs}


# ---- Which steps passed


def number_of(steps, state):
    return sum(step.state == state for step in steps)


def check_rows(steps):
    for check in CHECKS:
        of_check = [step for step in steps if step.check == check]
        cases = sum(step.generated_cases for step in of_check if step.state == "passed")
        yield [f"`{check}`", *(str(number_of(of_check, state)) for state in ("passed", "failed", "not run")),
               count_of_cases(check, of_check, cases)]


def count_of_cases(check, steps, cases):
    too_few = check == "kernels" and cases < 3000 and all(step.state == "passed" for step in steps)
    return (f"{cases:,}" if cases else "") + (" (fewer than 3,000)" if too_few else "")


def what_is_missing(steps):
    failed = [f"`{step.name}` ({step.reason})" for step in steps if step.state == "failed"]
    not_run = [f"`{step.name}`" for step in steps if step.state == "not run"]
    lines = [f"- Failed: {', '.join(failed)}."] if failed else []
    return lines + ([f"- Not run: {', '.join(not_run)}."] if not_run else [])


def machines(steps):
    """On what the steps ran; as a rule one card, commit and day, else with their names."""
    ran = {}
    for step in steps:
        if step.machine:
            ran.setdefault(step.machine, []).append(f"`{step.name}`")
    return [f"- {machine}: {len(names)} step{'s' if len(names) > 1 else ''}" + (f", {', '.join(names)}" if len(ran) > 1 else "")
            for machine, names in ran.items()]


def steps_section(results, steps):
    version = (results / "device.txt").read_text().splitlines()[0]
    commands = [f"    bash tools/device_checks.sh {check} --programs DIR --results results" for check in CHECKS]
    header = ["check", "steps passed", "failed", "not run", "generated cases that passed"]
    return "\n".join([
        "## Checks", "", f"{version}. The steps of [the checks on a device](cuda.md#checks-on-a-device) ran on:",
        "", *machines(steps), "", markdown_table(header, check_rows(steps)),
        "", *what_is_missing(steps), "", *commands])


# ---- Goals


class Goal(NamedTuple):
    what: str
    limit: str
    is_met: object  # of a figure
    figures: tuple  # of all rows and of [CLS] rows; None: not measured

    def row(self):
        figures = ("" if figure is None else f"{figure:.2f}" for figure in self.figures)
        return [self.what, self.limit, *figures, self.verdict()]

    def verdict(self):
        met = [figure is not None and self.is_met(figure) for figure in self.figures]
        if met[0]:
            return "met"
        if self.figures[0] is None:
            return "not measured"
        return "met with [CLS] rows alone" if met[1] else "not met"


def at_most(limit):
    return f"<= {limit}", lambda figure: figure <= limit


def at_least(limit):
    return f">= {limit}", lambda figure: figure >= limit


TIMES = {("base", "full"): at_most(6.0), ("base", "layernorm"): at_most(3.6),  # ms
         ("large", "full"): at_most(17), ("large", "layernorm"): at_most(10)}
AGAINST_EAGER = at_least(1.5)
AGAINST_COMPILED = at_least(1.15)
AGAINST_EAGER_ON_GLUE = at_least(2.5)
MEMORY_OF_LARGE = at_most(0.5)


def medians(tables, step, shape, method):
    """Circumstances, and medians by contestant, of those that were measured."""
    measured, record = tables.get(step, (None, None))
    if record is None or (shape, method) not in record.runs:
        return measured, {}
    return measured, {name: result for name, result in record.medians(shape, method).items() if "error" not in result}


def for_both_variants(results, figure):
    """A figure of normtune's runs with all rows and with [CLS] rows in the last layer."""
    return tuple(figure(results[name]) if name in results else None for name in compare_pytorch.NORMTUNE_VARIANTS)


def of_settings(results, compiled):
    """The results of PyTorch, eager or compiled."""
    return [result for name, result in results.items()
            if name in bench_pytorch.SETTINGS and bench_pytorch.SETTINGS[name].compiled == compiled]


def time_goal(tables, shape, method):
    measured, results = medians(tables, f"bench-{shape}-128", shape, method)
    return Goal(f"{shape}, {method}, 32 x 128: ms", *TIMES[shape, method],
                for_both_variants(results, lambda ours: compare_pytorch.step_milliseconds(measured, ours)))


def speed_goal(tables, step, shape, method, limit, compiled):
    """Against the fastest of PyTorch's settings."""
    _, results = medians(tables, f"bench-{step}", shape, method)
    theirs = max(of_settings(results, compiled), key=lambda result: result["tokens_per_second"], default=None)
    setting = "torch.compile" if compiled else "PyTorch, eager"
    return Goal(f"{shape}, {method}, `{step}`: speed against {setting}", *limit,
                for_both_variants(results, lambda ours: compare_pytorch.times_as_fast(ours, theirs) if theirs else None))


def memory_goal(tables, length, *steps):
    """Against the setting of PyTorch that takes the least; of these eager and compiled ones must be there."""
    results = {}
    for step in steps:
        results.update(medians(tables, f"bench-{step}", "large", "layernorm")[1])
    eager, compiled = of_settings(results, False), of_settings(results, True)
    theirs = min(eager + compiled, key=lambda result: result["peak_device_bytes"]) if eager and compiled else None
    return Goal(f"large, layernorm, {length} tokens: peak memory / PyTorch's least", *MEMORY_OF_LARGE,
                for_both_variants(results, lambda ours: compare_pytorch.memory_ratio(ours, theirs) if theirs else None))


def goals(tables):
    cases = list(TIMES)
    return ([time_goal(tables, *case) for case in cases]
            + [speed_goal(tables, f"{shape}-{length}", shape, method, AGAINST_EAGER, compiled=False)
               for length in (128, 384) for shape, method in cases]
            + [speed_goal(tables, f"{shape}-128", shape, method, AGAINST_COMPILED, compiled=True)
               for shape, method in cases]
            + [speed_goal(tables, task, shape, method, AGAINST_EAGER_ON_GLUE, compiled=False)
               for task in ("mrpc", "cola") for shape, method in cases]
            + [memory_goal(tables, 128, "large-128"), memory_goal(tables, 384, "compile-384", "large-384")])


def goals_section(tables):
    header = ["what", "goal", "all rows", "[CLS] rows", ""]
    return ("## Goals\n\nMilliseconds are goals for an NVIDIA H200. A goal is met if it is met with all rows of the last layer, "
            "as PyTorch computes them.\n\n" + markdown_table(header, [goal.row() for goal in goals(tables)]))


# ---- Tables


def remark(step):
    return "" if step.state == "passed" else f"\nThis step failed ({step.reason}); what it measured until then:\n"


def table_section(step, measured, record):
    heading = f"`{step.name.removeprefix('bench-')}`: {compare_pytorch.describe_batches(measured)}"
    title, rest = compare_pytorch.gpu_section(measured, record, heading).strip().split("\n", 1)
    return title + "\n" + remark(step) + rest


def bench_document(step):
    """What `normtune bench --json` wrote to a step's log, and the command; None if it did not."""
    if step.state != "passed":
        return None
    command = re.search(r"^\+ (?:\S*/)?(.*)$", step.log, re.MULTILINE)
    document = json.loads(step.log[step.log.index("{"):step.log.rindex("}") + 1])
    return {**document, "command": re.sub(r"\S*/(?=tools/)", "", command.group(1))}


def alone_row(step, document):
    return [f"`{step.name}`", document["shape"], document["method"], f"{document['ms_per_step']:.2f}",
            f"{document['tokens_per_second']:.0f}", f"{document['roof_share']:.2f}",
            *(f"{document[key] / 1e6:.0f}" for key in ("peak_device_bytes", "peak_reserved_bytes"))]


def kernel_rows(document):
    for kernel in document.get("kernels", []):
        yield [kernel["kernel"], kernel["shape"], f"{kernel['milliseconds']:.3f}",
               *(f"{kernel[key]:.0f}" if key in kernel else "" for key in ("gflops", "gbs")),
               f"{kernel['roof_share']:.2f}"]


def alone_section(steps):
    """Steps and kernels of normtune by itself."""
    documents = {step: bench_document(step) for step in steps}
    documents = {step: document for step, document in documents.items() if document}
    if not documents:
        return ""
    header = ["step", "shape", "method", "ms", "tokens/s", "share of peak", "peak memory, MB", "reserved, MB"]
    text = ("## normtune alone\n\nbfloat16; the last layer for the [CLS] rows. The peak is that of products which normtune itself "
            "times.\n\n" + markdown_table(header, [alone_row(*pair) for pair in documents.items()]))
    kernels = [row for document in documents.values() for row in kernel_rows(document)]
    if kernels:
        text += "\n\n" + markdown_table(["kernel", "shape", "ms", "GFLOP/s", "GB/s", "share of peak"], kernels)
    return text + "\n\n" + "\n".join(f"    {document['command']}" for document in documents.values())


# ---- The file


def section(results):
    steps = read_steps(results)
    tables = read_tables(results, steps)
    parts = ["# On a GPU", compare_pytorch.GPU_EXPLANATION.strip(), steps_section(results, steps), goals_section(tables)]
    parts += [table_section(step, *tables[step.name]) for step in steps if step.name in tables]
    parts.append(alone_section([step for step in steps if step.check == "large" or
                                step.name.startswith(("bench-alone", "bench-graphs"))]))
    return "\n\n".join(part for part in parts if part)


def with_section(document, text):
    """The document with the text between the two comments."""
    if BEGIN not in document and END not in document:
        return f"{document.rstrip()}\n\n{BEGIN}\n\n{text}\n\n{END}\n".lstrip()
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(END) < document.index(BEGIN):
        sys.exit(f"report_device: error: expected one '{BEGIN}' and, behind it, one '{END}'")
    return f"{document[:document.index(BEGIN)]}{BEGIN}\n\n{text}\n\n{document[document.index(END):]}"


def write(path, text):
    """Writes a file as a whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
        file.write(text)
    if path.exists():
        shutil.copymode(path, file.name)
    else:
        os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=pathlib.Path, default="device_results")
    parser.add_argument("--output", type=pathlib.Path, default="docs/benchmarks.md")
    args = parser.parse_args()
    text = section(args.results)
    write(args.output, with_section(args.output.read_text() if args.output.exists() else "", text))
    print(f"wrote the section \"On a GPU\" of {args.output}")


if __name__ == "__main__":
    main()
