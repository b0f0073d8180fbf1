"""Records what PyTorch computes, in float64, of the change between two versions of a small BERT: for each tensor,
component and layer the measures of `normtune drift`. The weights are generated (tools/oracle.py), not stored.

    python tools/record_drift.py [--output tests/files/drift.json]

Before: generated_weight(name). After: before + generated_uniform("after." + name) / 100, but
- tensors of layer 1 whose names end in "value.weight" or "value.bias" stay (frozen),
- of the word embeddings only the rows 0, 3, 6, ... move,
- of intermediate.dense.weight only every seventh element moves.
"""

import argparse
import json
import re

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

import oracle

CONFIG = {"vocab_size": 19, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
          "intermediate_size": 12, "max_position_embeddings": 10, "type_vocab_size": 2}


def moved_weight(name, before):
    change = torch.from_numpy(oracle.generated_uniform("after." + name, before.numel()) / 100).reshape(before.shape)
    if re.search(r"layer\.1\..*value\.(weight|bias)$", name):
        change = torch.zeros_like(change)
    if "word_embeddings" in name:
        change[torch.arange(len(change)) % 3 != 0] = 0
    if name.endswith("intermediate.dense.weight"):
        change.view(-1)[torch.arange(change.numel()) % 7 != 0] = 0
    return before + change


def measures(before, after):
    change = (after - before).abs()
    return {"elements": change.numel(),
            "mean_abs": change.mean().item(),
            "rel_l2": (torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before)).item(),
            "cosine": torch.nn.functional.cosine_similarity(before, after, dim=0, eps=0).item(),
            "max_abs": change.max().item(),
            "changed": (change > 0).double().mean().item(),
            "quantiles": torch.quantile(change, torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95],
                                                             dtype=torch.float64)).tolist()}


def labels(name):
    """Component, layer and part in a tensor's name."""
    match = re.fullmatch(r"(?:bert\.)?(?:encoder\.layer\.(\d+)\.)?(.*)\.(weight|bias)", name)
    return match[2], None if match[1] is None else int(match[1]), match[3]


def pooled(tensors, key_of):
    """Measures over all tensors with one key, as a list of rows with that key."""
    groups = {}
    for name, pair in tensors.items():
        groups.setdefault(key_of(name), []).append(pair)
    return [{"key": key, **measures(*(torch.cat([pair[i].ravel() for pair in pairs]) for i in (0, 1)))}
            for key, pairs in groups.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="tests/files/drift.json")
    arguments = parser.parse_args()
    names = BertForSequenceClassification(BertConfig(**CONFIG)).state_dict()
    tensors = {}
    for name, tensor in names.items():
        before = torch.from_numpy(np.asarray(oracle.generated_weight(name, tuple(tensor.shape)), dtype=np.float64))
        tensors[name] = (before, moved_weight(name, before))
    record = {"config": CONFIG,
              "versions": {"torch": torch.__version__.split("+")[0]},
              "shapes": {name: list(before.shape) for name, (before, _) in tensors.items()},
              "components": pooled(tensors, lambda name: labels(name)[0]),
              "component_parts": pooled(tensors, lambda name: labels(name)[0] + "." + labels(name)[2]),
              "component_layers": pooled(tensors, lambda name: f"{labels(name)[1]} {labels(name)[0]}"),
              "tensors": pooled(tensors, lambda name: name)}
    with open(arguments.output, "w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
