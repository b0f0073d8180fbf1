"""Kills a sweep at random moments, starts it again each time, and says whether its table is that of a sweep that nobody
disturbed.

    python3 tools/kill_sweep.py --reference DIR --output_dir DIR [--kills 200] [--longest 4] [--seed 1] -- COMMAND...

COMMAND is a `normtune compare` or `normtune reproduce` without --output_dir, which the script adds; DIR of --reference is
what the same command wrote when it was left alone. After every kill each finished run must have the bytes and the date
that it had before: a run that is done is not done again. After the last kill the command runs to its end; then both
folders must hold the same runs, with equal predictions, and equal tables (dates, times and memory apart).
"""

import argparse
import os
import pathlib
import random
import signal
import subprocess
import sys
import time


def finished_runs(folder):
    """Date and bytes of the result file of every finished run."""
    return {file.parent.name: (file.stat().st_mtime_ns, file.read_bytes())
            for file in (folder / "runs").glob("*/run.json")}


def kill_once(command, delay):
    """True if the kill came before the command's end."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    time.sleep(delay)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def repeated_runs(before, after):
    return [name for name, result in before.items() if after.get(name) != result]


def disturb(command, folder, kills, longest, seed):
    """How many of the kills came in time."""
    moments = random.Random(seed)
    hits, done = 0, finished_runs(folder)
    for kill in range(kills):
        hits += kill_once(command, moments.uniform(0, longest))
        now = finished_runs(folder)
        if repeated := repeated_runs(done, now):
            sys.exit(f"after kill {kill + 1} these finished runs have changed or are gone: {', '.join(repeated)}")
        done = now
        if (kill + 1) % 20 == 0:
            print(f"{kill + 1} kills, {hits} of them in time; {len(done)} runs are finished", flush=True)
    return hits


def differences(folder, reference):
    """What is not the same in both folders: runs, their predictions, the tables of scores."""
    runs, wanted = finished_runs(folder), finished_runs(reference)
    yield from (f"run {name} is only in one folder" for name in sorted(runs.keys() ^ wanted.keys()))
    names = [f"runs/{name}/predictions.jsonl" for name in sorted(runs.keys() & wanted.keys())]
    names += [str(file.relative_to(reference)) for file in reference.rglob("*.csv")
              if file.name not in ("costs.csv", "runs.csv") and "runs" not in file.relative_to(reference).parts]
    for name in names:
        if not (folder / name).exists() or (folder / name).read_bytes() != (reference / name).read_bytes():
            yield f"{name} differs"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=pathlib.Path, required=True)
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=4, help="seconds that the sweep lives at most")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    command = args.command + ["--output_dir", str(args.output_dir)]
    hits = disturb(command, args.output_dir, args.kills, args.longest, args.seed)
    done = finished_runs(args.output_dir)
    last = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if last.returncode != 0:
        sys.exit(f"the last call failed with {last.returncode}: {last.stderr.strip()[-500:]}")
    found = [f"run {name} was done twice" for name in repeated_runs(done, finished_runs(args.output_dir))]
    found += differences(args.output_dir, args.reference)
    print(f"{hits} of {args.kills} kills came in time; {len(finished_runs(args.output_dir))} runs; "
          f"{'equal to the reference' if not found else 'DIFFERENT'}")
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
