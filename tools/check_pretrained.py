"""Checks the folder of `normtune pretrain` with transformers: it loads without a missing or surplus tensor, its
tokenizer gives equal ids, and the losses on the held-out examples (held_out.jsonl) are those that the run reported
in eval_results.json.

    python3 tools/check_pretrained.py RUN [TEXT_FILE]
"""

import json
import os
import subprocess
import sys

import torch
import transformers

TOLERANCE = 1e-4  # of a mean loss in float32


def load_model(folder):
    model, report = transformers.BertForPreTraining.from_pretrained(
        folder, output_loading_info=True, attn_implementation="eager")
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not report[kind], f"{kind}: {report[kind]}"
    return model.eval()


def sums(model, example):
    """The masked-token loss summed, its count, right answers; and the pair's loss (None without a pair)."""
    ids = torch.tensor([example["input_ids"]])
    types = torch.tensor([example["token_type_ids"]])
    with torch.no_grad():
        output = model(input_ids=ids, token_type_ids=types)
    logits = output.prediction_logits[0, example["masked_positions"]].double()
    labels = torch.tensor(example["masked_labels"])
    loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
    right = (logits.argmax(dim=1) == labels).sum().item()
    label = example["next_sentence_label"]
    if label < 0:
        return loss, len(labels), right, None, None
    pair_logits = output.seq_relationship_logits.double()
    pair_loss = torch.nn.functional.cross_entropy(pair_logits, torch.tensor([label])).item()
    return loss, len(labels), right, pair_loss, int(pair_logits.argmax().item() == label)


def check_losses(folder, model):
    with open(os.path.join(folder, "held_out.jsonl")) as file:
        results = [sums(model, json.loads(line)) for line in file]
    with open(os.path.join(folder, "eval_results.json")) as file:
        reported = json.load(file)
    count = sum(r[1] for r in results)
    found = {"eval_mlm_loss": sum(r[0] for r in results) / count,
             "eval_mlm_accuracy": sum(r[2] for r in results) / count}
    pairs = [r for r in results if r[3] is not None]
    if pairs:
        found["eval_nsp_loss"] = sum(r[3] for r in pairs) / len(pairs)
        found["eval_nsp_accuracy"] = sum(r[4] for r in pairs) / len(pairs)
    for key, value in found.items():
        # An answer may turn where two logits are as good as equal.
        tolerance = TOLERANCE if key.endswith("loss") else 2 / count if "mlm" in key else 1 / len(pairs)
        print(f"{key}: reported {reported[key]:.6f}, transformers {value:.6f}")
        assert abs(reported[key] - value) <= tolerance, key


def check_tokenizer(folder, text_file, program):
    with open(text_file, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line, _ in zip(file, range(2000))]
    ours = subprocess.run([program, "tokenize", folder], input="\n".join(lines) + "\n", text=True, check=True,
                          capture_output=True).stdout.splitlines()
    for name in ("vocab.txt", "tokenizer.json"):
        path = os.path.join(folder, name)
        tokenizer = (transformers.BertTokenizerFast(vocab_file=path, do_lower_case=lower_case(folder))
                     if name == "vocab.txt" else transformers.PreTrainedTokenizerFast(tokenizer_file=path))
        for line, row in zip(lines, ours, strict=True):
            assert tokenizer(line)["input_ids"] == json.loads(row)["input_ids"], (name, line)
    print(f"tokenizer: equal ids on {len(lines)} lines, from vocab.txt and from tokenizer.json")


def lower_case(folder):
    with open(os.path.join(folder, "tokenizer_config.json")) as file:
        return json.load(file)["do_lower_case"]


def main():
    folder = sys.argv[1]
    check_losses(folder, load_model(folder))
    if len(sys.argv) > 2:
        check_tokenizer(folder, sys.argv[2], os.environ.get("NORMTUNE", "build/tools/normtune"))


if __name__ == "__main__":
    main()
