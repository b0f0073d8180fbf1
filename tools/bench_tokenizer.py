#!/usr/bin/env python3
"""Puts `normtune tokenize` beside the `tokenizers` library on the same lines of text.

    python3 tools/bench_tokenizer.py build/tools/normtune MODEL_FOLDER TEXT_FILE [--column 0] [--rounds 5]

normtune is measured as a whole process (start, reading vocabulary and text, writing JSON), the library by its
encode_batch_fast() alone. Rounds alternate; the table shows the fastest. Ids are compared.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

LIBRARY_RUN = """
import json, sys, time
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(128)
lines = json.load(sys.stdin)
wall, cpu = time.perf_counter(), time.process_time()
encodings = tokenizer.encode_batch_fast(lines)
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
                  "ids": [encoding.ids for encoding in encodings]}))
"""


def run_normtune(program, model, lines, num_threads):
    command = [program, "tokenize", model, "--max_seq_length", "128", "--num_threads", str(num_threads)]
    before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    output = subprocess.run(command, input="".join(line + "\n" for line in lines), capture_output=True, text=True,
                            check=True).stdout
    wall, after = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "ids": [json.loads(line)["input_ids"] for line in output.splitlines()]}


def run_library(model, lines, num_threads):
    environment = {**os.environ, "RAYON_NUM_THREADS": str(num_threads),
                   "TOKENIZERS_PARALLELISM": "true" if num_threads > 1 else "false"}
    output = subprocess.run([sys.executable, "-c", LIBRARY_RUN, model], input=json.dumps(lines), capture_output=True,
                            text=True, check=True, env=environment).stdout
    return json.loads(output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("model", help="folder with tokenizer.json")
    parser.add_argument("text", help="file with a text per line")
    parser.add_argument("--column", type=int, default=0, help="the TAB-separated column to take")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with open(options.text, encoding="utf-8", newline="\n") as file:
        lines = [line.rstrip("\n").split("\t")[options.column] for line in file]

    print(f"{len(lines)} lines, {os.cpu_count()} cores\n")
    print("| threads | program | wall s | CPU s | million tokens/s (wall) | (CPU) |\n|---|---|---|---|---|---|")
    for num_threads in (1, 2):
        runs = {"normtune tokenize": [], "tokenizers": []}
        for _ in range(options.rounds):
            runs["normtune tokenize"].append(run_normtune(options.program, options.model, lines, num_threads))
            runs["tokenizers"].append(run_library(options.model, lines, num_threads))
        if len({json.dumps(run["ids"]) for of_program in runs.values() for run in of_program}) != 1:
            sys.exit("the ids differ")
        num_tokens = sum(map(len, runs["tokenizers"][0]["ids"]))
        for name, of_program in runs.items():
            wall, cpu = (min(run[clock] for run in of_program) for clock in ("wall", "cpu"))
            print(f"| {num_threads} | {name} | {wall:.3f} | {cpu:.3f} | {num_tokens / wall / 1e6:.2f} "
                  f"| {num_tokens / cpu / 1e6:.2f} |")


if __name__ == "__main__":
    main()
