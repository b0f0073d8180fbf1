"""The recipe of `normtune finetune` in transformers (and peft for LoRA), beside normtune's on the same task.

    python tools/compare_transformers.py losses --model MODEL --glue_dir GLUE --normtune build/tools/normtune
    python tools/compare_transformers.py scores --model MODEL --glue_dir GLUE --runs docs/results/.../runs --output scores.csv

losses   both start from one folder (so with equal heads), take the rows in file order and drop nothing out: the training
         losses must be equal, step by step. Exit code 1 if one differs by more than 1e-5 in the first ten steps or 1e-3
         later. (Not for lora, whose A both draw at random; tests/experiments/training_parity_test.cpp compares it.)
scores   with dropout and shuffling no two runs are equal; trains every method with every seed in transformers, and asks
         by Welch's t-test (Holm's correction over methods) whether the dev accuracies differ from those of normtune's
         runs (the folder `runs/` of `normtune compare`). A seed that is already in the output file is not trained again.

Task: rte. With --train_pooler both sides train the pooler beside the head, whatever the method. docs/results.md has the
values of the options.
"""

import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from scipy import stats

from bench_pytorch import prepare

LABELS = {"entailment": 0, "not_entailment": 1}
MAX_LENGTH = 128


def read_rte(glue_dir, split):
    with open(pathlib.Path(glue_dir) / "RTE" / f"{split}.tsv", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [(row["sentence1"], row["sentence2"], LABELS[row["label"]]) for row in rows]


def make_batch(tokenizer, rows):
    first, second, labels = zip(*rows)
    batch = tokenizer(list(first), list(second), truncation=True, max_length=MAX_LENGTH, padding=True,
                      return_tensors="pt")
    return {**batch, "labels": torch.tensor(labels)}


def batches_of(rows, size, generator=None):
    """The rows in batches of `size`, in file order or, with a generator, in a random one."""
    order = range(len(rows)) if generator is None else torch.randperm(len(rows), generator=generator).tolist()
    order = list(order)
    return [[rows[i] for i in order[begin : begin + size]] for begin in range(0, len(order), size)]


def load(folder, dropout):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=2, attn_implementation="eager")
    if not dropout:
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    return model


def train(model, tokenizer, rows, method, args, learning_rate, generator=None):
    """Trains the model in place; returns the loss of every update."""
    model = prepare(model, method).train()
    if args.train_pooler:
        for name, parameter in model.named_parameters():
            if "pooler.dense." in name:
                parameter.requires_grad_(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    updates = args.epochs * -(-len(rows) // args.batch)
    if args.max_steps > 0:
        updates = args.max_steps
    # As in transformers' Trainer and in normtune, a part of an update counts as one.
    warmup = -(-int(args.warmup_ratio * updates * 10**9) // 10**9)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, warmup, updates)
    losses = []
    while len(losses) < updates:
        for batch in batches_of(rows, args.batch, generator)[: updates - len(losses)]:
            loss = model(**make_batch(tokenizer, batch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return model, losses


def accuracy(model, tokenizer, rows):
    model.eval()
    right = 0
    with torch.no_grad():
        for rows_of_batch in batches_of(rows, 32):
            batch = make_batch(tokenizer, rows_of_batch)
            right += (model(**batch).logits.argmax(dim=1) == batch["labels"]).sum().item()
    return right / len(rows)


# ---- Equal losses


def normtune_losses(args, start, method, output_dir):
    """The losses of normtune's updates, from its metrics.jsonl."""
    subprocess.run(
        [args.normtune, "finetune", "--model_name_or_path", start, "--task_name", "rte", "--glue_dir", args.glue_dir,
         "--method", method, "--learning_rate", str(args.learning_rates[method]), "--max_steps", str(args.max_steps),
         "--per_device_train_batch_size", str(args.batch), "--warmup_ratio", str(args.warmup_ratio),
         "--shuffle", "false", "--hidden_dropout_prob", "0", "--attention_probs_dropout_prob", "0",
         "--classifier_dropout", "0", "--logging_steps", "1", "--eval_strategy", "no", "--save_strategy", "no",
         "--train_pooler", "true" if args.train_pooler else "auto", "--max_eval_samples", "8", "--num_threads", str(args.threads), "--quiet", "--output_dir", output_dir],
        check=True, stdout=subprocess.DEVNULL)
    with open(pathlib.Path(output_dir) / "metrics.jsonl", encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line["loss"] for line in lines if line["kind"] == "step"]


def compare_losses(args, tokenizer):
    """Prints the largest difference of each method; True if all are within the tolerance."""
    rows = read_rte(args.glue_dir, "train")
    equal = True
    for method in args.methods:
        with tempfile.TemporaryDirectory() as folder:
            start = os.path.join(folder, "start")
            torch.manual_seed(1)
            load(args.model, dropout=False).save_pretrained(start)
            tokenizer.save_pretrained(start)
            ours = normtune_losses(args, start, method, os.path.join(folder, "run"))
            model = load(start, dropout=False)
            _, theirs = train(model, tokenizer, rows, method, args, args.learning_rates[method])
        differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
        early, late = max(differences[:10]), max(differences)
        passed = early <= 1e-5 and late <= 1e-3
        equal = equal and passed
        print(f"{method}: {len(ours)} updates, loss {theirs[0]:.4f} to {theirs[-1]:.4f}; largest difference "
              f"{early:.1e} in the first ten, {late:.1e} in all: {'equal' if passed else 'DIFFERENT'}", flush=True)
    return equal


# ---- Equal scores


def finished_seeds(path):
    """The lines of an earlier call: {(method, seed): accuracy}."""
    if not os.path.exists(path):
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(row["method"], int(row["seed"])): float(row["accuracy"]) for row in csv.DictReader(file)}


def train_seed(args, tokenizer, method, seed):
    torch.manual_seed(seed)
    model, _ = train(load(args.model, dropout=True), tokenizer, read_rte(args.glue_dir, "train"), method, args,
                     args.learning_rates[method], torch.Generator().manual_seed(seed))
    return accuracy(model, tokenizer, read_rte(args.glue_dir, "dev"))


def peer_scores(args, tokenizer):
    """Trains what the output file lacks, adding a line for each run as soon as it ends."""
    scores = finished_seeds(args.output)
    if not scores:
        with open(args.output, "w", encoding="utf-8") as file:
            file.write("method,seed,accuracy\n")
    for method in args.methods:
        for seed in range(1, args.seeds + 1):
            if (method, seed) in scores:
                continue
            scores[method, seed] = train_seed(args, tokenizer, method, seed)
            with open(args.output, "a", encoding="utf-8") as file:
                file.write(f"{method},{seed},{scores[method, seed]!r}\n")
            print(f"transformers, {method}, seed {seed}: accuracy {scores[method, seed]:.4f}", flush=True)
    return scores


def normtune_scores(runs, methods):
    """The dev accuracies of the runs of a comparison on rte: {method: [accuracy, ...]}."""
    scores = {method: [] for method in methods}
    for folder in sorted(pathlib.Path(runs).iterdir()):
        if not (folder / "all_results.json").exists():
            continue
        run = json.loads((folder / "run.json").read_text())
        if run["task"] == "rte" and run["method"] in scores:
            scores[run["method"]].append(json.loads((folder / "all_results.json").read_text())["eval_accuracy"])
    return scores


def holm(p_values):
    """Holm's step-down correction: {name: adjusted p}."""
    adjusted, largest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = largest
    return adjusted


def compare_scores(args, tokenizer):
    """Prints means, deviations and tests; True if no method differs at p = .01 after Holm's correction."""
    peers = peer_scores(args, tokenizer)
    ours = normtune_scores(args.runs, args.methods)
    theirs = {method: [peers[method, seed] for seed in range(1, args.seeds + 1)] for method in args.methods}
    p_values = {method: stats.ttest_ind(ours[method], theirs[method], equal_var=False).pvalue
                for method in args.methods}
    adjusted = holm(p_values)
    for method in args.methods:
        print(f"{method}: normtune {statistics.mean(ours[method]):.4f} +- {statistics.stdev(ours[method]):.4f} "
              f"(n {len(ours[method])}), transformers {statistics.mean(theirs[method]):.4f} +- "
              f"{statistics.stdev(theirs[method]):.4f} (n {len(theirs[method])}), Welch p {p_values[method]:.3f}, "
              f"after Holm {adjusted[method]:.3f}")
    return not any(not p > 0.01 for p in adjusted.values())


def learning_rate(text):
    method, _, rate = text.partition("=")
    return method, float(rate)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("losses", "scores"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--glue_dir", required=True)
    parser.add_argument("--normtune", default="build/tools/normtune")
    parser.add_argument("--runs", help="scores: the folder runs/ of a comparison")
    parser.add_argument("--output", default="transformers_scores.csv", help="scores: one line per run")
    parser.add_argument("--learning_rates", nargs="+", type=learning_rate, metavar="METHOD=RATE", required=True,
                        help="the methods to compare, with their learning rates")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--max_steps", type=int, default=-1)
    parser.add_argument("--train_pooler", action="store_true")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--warmup_ratio", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    args.learning_rates = dict(args.learning_rates)
    args.methods = list(args.learning_rates)
    if args.what == "losses" and args.max_steps < 1:
        args.max_steps = 100
    if args.what == "scores" and not args.runs:
        parser.error("scores needs --runs")
    return args


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    passed = compare_losses(args, tokenizer) if args.what == "losses" else compare_scores(args, tokenizer)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
