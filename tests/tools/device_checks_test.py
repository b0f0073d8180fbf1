"""tools/device_checks.sh and tools/report_device.py, with stand-ins for the device, the programs and PyTorch.

    python3 tests/tools/device_checks_test.py

Every figure is made up here. What the stand-ins shall do wrong is told by FAKE_..., environment variables.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PYTHON = f"#!{sys.executable} -SE\n"

TEST_CUDA = PYTHON + r"""
import os, sys, time
suites = ["rows", "attention", "matmul", "commands", "training", "emulator_itself"]
if "--list_content" in sys.argv:
    print("".join(f"{suite}*\n    a_case*\n" for suite in suites))
    sys.exit()
chosen = next(word.split("=")[1] for word in sys.argv if word.startswith("--run_test="))
if chosen == os.environ.get("FAKE_SLOW"):
    time.sleep(60)
if chosen == os.environ.get("FAKE_SKIPPED"):
    print("skipped: no CUDA device")
print(f"{chosen}: 1700 generated cases")
"""

# Steps of base take 5 ms for all rows and 4 for [CLS] rows, `layernorm` half of that, of large three times that.
NORMTUNE = PYTHON + r"""
import json, os, sys
if "--version" in sys.argv:
    print("normtune 0.0.0\nbuild: none\ndevices: cpu (1 threads); " + os.environ.get("FAKE_DEVICES", "cuda:0 (Made-up Card)"))
    sys.exit()
options = dict(zip(sys.argv[2:], sys.argv[3:]))
shape, method = options["--shape"], options.get("--method", "full")
if f"{shape}-{method}" == os.environ.get("FAKE_BROKEN"):
    sys.exit("normtune: error: made up")
ms = 5 if "--last_layer_cls_only" in options else 4
ms *= (1 if method == "full" else .5) * (3 if shape == "large" else 1)
memory = 4000e6 if method == "full" else 1000e6
document = {"shape": shape, "method": method, "ms_per_step": ms, "tokens_per_second": 4096e3 / ms, "needed_gflops": 2000,
            "roof_gflops": 1e6, "roof_share": .5, "peak_rss_bytes": 1, "peak_device_bytes": memory,
            "peak_reserved_bytes": 2 * memory, "saved_bytes_per_token_layer": 1, "trainable_parameters": 1}
if "--kernels" in sys.argv:
    document["kernels"] = [{"kernel": "made-up kernel", "shape": "2x3", "milliseconds": .25, "gbs": 70, "roof_share": .75}]
print(json.dumps(document, indent=2))
"""

COMPUTE_SANITIZER = r"""#!/usr/bin/env bash
while [ $# -gt 0 ] && [[ $1 != */test_cuda ]]; do tool="$tool $1"; shift; done
[[ $* != *commands* ]] || { echo "a suite that starts programs"; exit 99; }
"$@"
[[ -z $FAKE_FINDS || $tool != *$FAKE_FINDS* ]] || { echo "========= ERROR SUMMARY: 2 errors"; exit 99; }
echo "========= ERROR SUMMARY: 0 errors"
"""

NVIDIA_SMI = r"""#!/usr/bin/env bash
case $* in *driver_version*) echo 1.2.3 ;; *) echo "a table" ;; esac
"""

# Stands in for a Python with PyTorch: what would measure it is replaced, all else is the real thing. Eager PyTorch takes
# twice as long as normtune's steps with all rows and four times the memory, compiled 1.1 times as long and three times.
PYTHON_WITH_PYTORCH = f"#!{sys.executable}\n" + r"""
import os, runpy, sys
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
import bench_pytorch

def run_in_own_process(args, cases):
    return [peak() if "peak" in case else measure(case) for case in cases]

def peak():
    return {"peak_gflops": 1e6, "card": "Made-up Card", "torch": "0.0.1"}

def measure(case):
    if case["setting"] == os.environ.get("FAKE_BROKEN_SETTING"):
        return {**case, "error": "made up"}
    ms = 5 * (1 if case["method"] == "full" else .5) * (3 if case["shape"] == "large" else 1)
    ms *= 1.1 if case["setting"] == "compile" else 2
    memory = (4000e6 if case["method"] == "full" else 1000e6) * (3 if case["setting"] == "compile" else 4)
    return {**case, "bert": "plain" if case["method"] == "lora" else "transformers", "torch": "0.0.1", "transformers": "0.0.2",
            "ms_per_step": ms, "tokens_per_second": 4096e3 / ms, "peak_device_bytes": memory, "peak_reserved_bytes": memory}

bench_pytorch.run_in_own_process = run_in_own_process
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class DeviceChecks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="device_checks_test")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.results = self.folder / "results"
        self.report = self.folder / "benchmarks.md"
        for name, text in {"programs/tools/normtune": NORMTUNE, "programs/tests/test_cuda": TEST_CUDA,
                           "path/compute-sanitizer": COMPUTE_SANITIZER, "path/nvidia-smi": NVIDIA_SMI,
                           "path/python_with_pytorch": PYTHON_WITH_PYTORCH}.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)

    def run_checks(self, *words, exit_code=0, **fakes):
        """What device_checks.sh says."""
        environment = {**os.environ, **fakes, "PYTHON": "python_with_pytorch",
                       "PATH": f"{self.folder}/path:{os.environ['PATH']}"}
        process = subprocess.run(
            ["bash", "tools/device_checks.sh", *words, "--programs", self.folder / "programs", "--results", self.results,
             "--output", self.report, "--rounds", "1"],
            cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(process.returncode, exit_code, process.stdout)
        return process.stdout

    def row(self, *begin):
        """The one row of the report's tables that begins with these cells."""
        rows = [line for line in self.report.read_text().splitlines() if line.startswith("| " + " | ".join(begin) + " |")]
        self.assertEqual(len(rows), 1, begin)
        return [word.strip() for word in rows[0].strip("|").split("|")]

    def test_all_checks_pass_once_and_are_reported(self):
        checks = ("kernels", "sanitize", "training", "large", "bench")
        for check in checks:
            self.run_checks(check)
        self.assertIn("kernels: 6800 generated cases", self.run_checks("status"))
        for check in checks:
            self.assertNotIn(" s)", self.run_checks(check))  # nothing ran again
        self.report.write_text("# Before\n")
        self.run_checks("report")
        text = self.report.read_text()
        self.assertIn("Made-up Card, driver 1.2.3, commit ", text)
        self.assertNotIn("Failed: ", text)
        self.assertNotIn("Not run: ", text)
        self.assertNotIn(str(self.folder), text)
        self.assertEqual(self.row("`kernels`"), ["`kernels`", "4", "0", "0", "6,800"])
        self.assertEqual(self.row("`large`"), ["`large`", "12", "0", "0", ""])
        self.assertEqual(self.row("base, full, 32 x 128: ms"), ["base, full, 32 x 128: ms", "<= 6.0", "5.00", "4.00", "met"])
        self.assertEqual(self.row("large, layernorm, 32 x 128: ms")[2:], ["7.50", "6.00", "met"])
        self.assertEqual(self.row("base, full, `base-128`: speed against PyTorch, eager")[1:],
                         [">= 1.5", "2.00", "2.50", "met"])
        self.assertEqual(self.row("base, full, `base-128`: speed against torch.compile")[1:],
                         [">= 1.15", "1.10", "1.38", "met with [CLS] rows alone"])
        self.assertEqual(self.row("base, full, `mrpc`: speed against PyTorch, eager")[1:],
                         [">= 2.5", "2.00", "2.50", "met with [CLS] rows alone"])
        for length in (128, 384):
            self.assertEqual(self.row(f"large, layernorm, {length} tokens: peak memory / PyTorch's least")[1:],
                             ["<= 0.5", "0.33", "0.33", "met"])
        # Figures of the tables: 2,000 GFLOP in 10 ms are .2 of a peak of 1,000 TFLOP/s.
        table = text[text.index("## `base-128`"):text.index("## `large-128`")]
        self.assertIn("| base | full | PyTorch, sdpa-fused | 10.00 | 409600 | 0.20 | 16000 | 16000 | 2.00 | 2.50 | 0.25 |", table)
        self.assertIn("| base | full | PyTorch, compile | 5.50 | 744727 | 0.36 | 12000 | 12000 | 1.10 | 1.38 | 0.33 |", table)
        self.assertIn("| base | full | normtune, all rows | 5.00 | 819200 | 0.40 | 4000 | 8000 |  |  |  |", table)
        self.assertIn("peak of products 1000.0 TFLOP/s", table)
        self.assertIn("--lengths tools/bench_lengths_cola.txt", text)
        self.assertIn("for lora the BERT of tools/pytorch_bert.py", text)
        self.assertIn("| made-up kernel | 2x3 | 0.250 |  | 70 | 0.75 |", text)
        self.assertIn("\n    normtune bench --json --device cuda --precision bf16 --shape large --method lora --batch 32", text)

    def test_failures_and_what_is_missing_are_told_and_done_again(self):
        self.assertIn("kernels-rows: FAILED (its log names", self.run_checks("kernels", exit_code=1, FAKE_SKIPPED="rows"))
        self.run_checks("sanitize", "racecheck", exit_code=1, FAKE_FINDS="racecheck")
        self.assertIn("large-lora: FAILED (exit code 1", self.run_checks("large", exit_code=1, FAKE_BROKEN="large-lora"))
        self.run_checks("bench", "base-128", exit_code=1, FAKE_BROKEN_SETTING="compile")
        status = self.run_checks("status", exit_code=1)
        self.assertIn("bench-base-128: FAILED (exit code 1)", status)
        self.assertIn("training: not run", status)

        self.run_checks("report")
        text = self.report.read_text()
        self.assertIn("- Failed: `kernels-rows` (its log names errors or what was skipped), `sanitize-racecheck` (exit code 99), "
                      "`sanitize-racecheck-products` (exit code 99), `large-lora` (exit code 1), `bench-base-128` (exit code 1).",
                      text)
        self.assertIn("- Not run: `sanitize-memcheck`,", text)
        self.assertEqual(self.row("`kernels`"), ["`kernels`", "3", "1", "0", "5,100"])
        self.assertIn("This step failed (exit code 1); what it measured until then:", text)
        self.assertIn("| base | full | PyTorch, compile | failed |  |", text)
        self.assertEqual(self.row("base, full, 32 x 128: ms")[2:], ["5.00", "4.00", "met"])
        self.assertEqual(self.row("base, full, `base-128`: speed against torch.compile")[2:], ["", "", "not measured"])
        self.assertEqual(self.row("large, full, 32 x 128: ms")[2:], ["", "", "not measured"])

        again = self.run_checks("large")
        self.assertIn("large-lora: passed (", again)
        self.assertIn("large-full: passed before", again)
        self.run_checks("bench", "base-128")
        self.run_checks("report")
        self.assertNotIn("large-lora` (", self.report.read_text())
        self.assertNotIn("| base | full | PyTorch, compile | failed |", self.report.read_text())
        lines = (self.results / "bench-base-128.jsonl").read_text().splitlines()
        self.assertEqual(sum("measurement" in json.loads(line) for line in lines), 1)

    def test_a_step_ends_in_time(self):
        said = self.run_checks("training", "--seconds", "2", exit_code=1, FAKE_SLOW="training")
        self.assertIn("training: FAILED (no time left", said)
        self.assertIn("training: FAILED (no time left)", self.run_checks("status", exit_code=1))
        said = self.run_checks("kernels", "--seconds", "2", exit_code=1, FAKE_SLOW="rows")
        self.assertIn("kernels-attention: no time left", said)
        self.assertIn("kernels-attention: not run", self.run_checks("status", exit_code=1))
        self.assertIn("training: passed", self.run_checks("training", "--seconds", "60"))

    def test_an_interrupted_step_runs_again(self):
        self.run_checks("training")
        (self.results / "training.passed").unlink()
        self.assertIn("training: FAILED (interrupted)", self.run_checks("status", exit_code=1))
        self.run_checks("report")
        self.assertIn("- Failed: `training` (interrupted).", self.report.read_text())
        self.assertIn("training: passed (", self.run_checks("training"))

    def test_steps_on_several_cards_are_told_apart(self):
        self.run_checks("training")
        self.run_checks("kernels", "rows", exit_code=0, FAKE_DEVICES="cuda:0 (Other Card)")
        self.run_checks("report")
        text = self.report.read_text()
        self.assertRegex(text, r"- Other Card, .*: 1 step, `kernels-rows`\n- Made-up Card, .*: 1 step, `training`\n")

    def test_the_section_is_replaced_and_the_rest_kept(self):
        self.run_checks("training")
        self.report.write_text("# Before\n\ntext  \n")
        self.run_checks("report")
        self.report.write_text(self.report.read_text() + "\n# After\n")
        first = self.report.read_text()
        self.assertTrue(first.startswith(
            "# Before\n\ntext\n\n<!-- tools/report_device.py writes from here -->\n\n# On a GPU\n"))
        self.assertTrue(first.endswith("\n\n<!-- to here -->\n\n# After\n"))
        self.run_checks("report")
        self.assertEqual(self.report.read_text(), first)
        self.run_checks("large", "full")
        self.run_checks("report")
        self.assertIn("`large-full`", self.report.read_text())
        self.assertTrue(self.report.read_text().endswith("\n\n<!-- to here -->\n\n# After\n"))
        self.assertEqual(len(list(self.folder.glob("*.tmp"))), 0)

        damaged = first.replace("<!-- to here -->", "")
        self.report.write_text(damaged)
        self.assertIn("error: expected one '<!--", self.run_checks("report", exit_code=1))
        self.assertEqual(self.report.read_text(), damaged)

    def test_nothing_is_reported_without_results(self):
        for words in ("report", "status"):
            said = self.run_checks(words, exit_code=1)
            self.assertRegex(said, r"\A\w+: error: nothing has been run in \S+\n\Z")
        self.assertFalse(self.report.exists())
        self.assertFalse(self.results.exists())

    def test_without_a_device_nothing_runs(self):
        said = self.run_checks("kernels", exit_code=2, FAKE_DEVICES="no CUDA in this build")
        self.assertIn("no CUDA device here; nothing was run", said)
        self.assertIn("nothing has been run", self.run_checks("report", exit_code=1))

    def test_unknown_names_are_refused(self):
        for words, message in {
                ("kernels", "row"): "kernels: expected some of rows attention matmul commands, found 'row'",
                ("sanitize", "leaks"): "sanitize: expected some of memcheck",
                ("large", "fulll"): "large: expected some of full head",
                ("bench", "base"): "bench: expected some of alone graphs-true graphs-false base-128",
                ("everything",): "unknown check 'everything'",
                ("report", "it"): "report: expected no names, found 'it'",
                ("training", "--seconds", "0"): "--seconds: expected a number from 1 on, found '0'"}.items():
            self.assertIn(message, self.run_checks(*words, exit_code=1))


if __name__ == "__main__":
    unittest.main()
