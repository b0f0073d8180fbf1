"""Compares `normtune fisher` in float64 with PyTorch, element by element, on a fine-tuned model and rows of one's own.

    python3 tools/check_fisher.py MODEL ROWS.jsonl

MODEL has a classifier; a row is {"sentence1": ..., "label": INTEGER} with or without "sentence2". Both forms are
computed by one backward pass for each row and class, and every tensor must agree to a relative L2 distance of 1e-6.
"""

import json
import os
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers

TOLERANCE = 1e-6


def normtune_fisher(model_folder, rows_file, expected):
    with tempfile.TemporaryDirectory() as folder:
        command = [os.environ.get("NORMTUNE", "build/tools/normtune"), "fisher", model_folder, "--train_file", rows_file,
                   "--precision", "fp64", "--output_dir", folder, "--quiet"] + ["--expected"] * expected
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return safetensors.torch.load_file(os.path.join(folder, "fisher.safetensors"))


def add_squares(total, model, value, weight):
    model.zero_grad()
    value.backward(retain_graph=True)
    for name, parameter in model.named_parameters():
        total[name] += weight * parameter.grad**2


def pytorch_fisher(model, tokenizer, rows, expected):
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for row in rows:
        texts = [row[key] for key in ("sentence1", "sentence2") if key in row]
        logits = model(**tokenizer(*texts, truncation=True, max_length=128, return_tensors="pt")).logits[0]
        log_probabilities = torch.log_softmax(logits, dim=0)
        classes = range(len(logits)) if expected else [row["label"]]
        for label in classes:
            weight = log_probabilities[label].exp().item() if expected else 1.0
            add_squares(total, model, log_probabilities[label], weight / len(rows))
    return total


def check(form, found, reference):
    assert found.keys() == reference.keys(), found.keys() ^ reference.keys()
    worst = ("", 0.0)
    for name, expected in reference.items():
        if name.endswith("attention.self.key.bias"):
            continue  # rounding noise on either side
        error = ((found[name] - expected).norm() / expected.norm()).item()
        worst = max(worst, (name, error), key=lambda pair: pair[1])
        assert error <= TOLERANCE, f"{form}: {name}: relative L2 distance {error:.2e}"
    print(f"{form}: {len(reference)} tensors agree; the largest relative L2 distance is {worst[1]:.1e}, {worst[0]}")


def main():
    model_folder, rows_file = sys.argv[1:]
    with open(rows_file, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    model = transformers.BertForSequenceClassification.from_pretrained(model_folder, attn_implementation="eager")
    model = model.double().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    for form, expected in (("empirical", False), ("expected", True)):
        check(form, normtune_fisher(model_folder, rows_file, expected),
              pytorch_fisher(model, tokenizer, rows, expected))


if __name__ == "__main__":
    main()
