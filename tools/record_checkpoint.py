"""Records what transformers computes for a public checkpoint in float64, on eight pairs of sentences: outputs, loss,
and of every gradient its norm and a projection. Layout of the file: tests/files/bert/README.md.

    python tools/record_checkpoint.py --model .../all-MiniLM-L6-v2 [--output_dir tests/files/bert]
"""

import argparse
import json
import os

import numpy as np
import torch
from transformers import AutoTokenizer, BertForSequenceClassification

import oracle

PAIRS = [
    ("The river rose overnight.", "Water levels were higher in the morning."),
    ("She sold 1,200 tickets in two days, said the manager.", "Nobody bought a ticket."),
    ("A man is playing the cello on a crowded street corner while people walk past without looking up.",
     "Someone makes music outdoors."),
    ("Yes.", "No!"),
    ("Which glands produce saliva?", "Saliva comes from the parotid, submandibular and sublingual glands."),
    ("Prices fell by 3.5% in March (after rising in February).", "In March, prices went down."),
    ("Zürich's old bridge won't be rebuilt.", "The bridge in Zurich will be rebuilt next year."),
    ("Unaffable, taciturn and sesquipedalian: that is how they described the lexicographer.", ""),
]
SMALL = 2000  # gradients with fewer elements are stored whole


def tokenize(model_path):
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    encoded = [tokenizer(first, second, truncation=False) for first, second in PAIRS]
    return oracle.PackedBatch(sum((e["input_ids"] for e in encoded), []),
                              sum((e["token_type_ids"] for e in encoded), []),
                              [len(e["input_ids"]) for e in encoded])


def gradient_summary(model):
    tensors = {}
    for name, parameter in model.named_parameters():
        gradient = parameter.grad.numpy()
        tensors["grad_norm." + name] = np.linalg.norm(gradient)
        tensors["grad_projection." + name] = gradient.ravel() @ oracle.generated_uniform("projection." + name,
                                                                                          gradient.size)
        if gradient.size < SMALL:
            tensors["grad." + name] = gradient
    return tensors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the checkpoint")
    parser.add_argument("--output_dir", default="tests/files/bert")
    args = parser.parse_args()
    torch.set_num_threads(1)

    model = BertForSequenceClassification.from_pretrained(
        args.model, num_labels=2, attn_implementation="eager", hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, dtype=torch.float64).eval()
    with torch.no_grad():
        for name, parameter in model.classifier.named_parameters(prefix="classifier"):
            parameter.copy_(torch.from_numpy(oracle.generated_weight(name, tuple(parameter.shape))))
    batch = tokenize(args.model)
    labels = np.arange(len(batch), dtype=np.int64) % 2
    output = model(**batch.padded(), labels=torch.from_numpy(labels), output_hidden_states=True)
    output.loss.backward()

    with torch.no_grad():
        pooled_output = model.bert(**batch.padded()).pooler_output.numpy()
    hidden_states = batch.pack(output.hidden_states[-1]).detach().numpy()
    projection = oracle.generated_uniform("projection.hidden_states", hidden_states.shape[1])
    with open(os.path.join(args.model, "config.json")) as file:
        config = json.load(file)
    oracle.save(args.output_dir, "checkpoint_minilm", config, {"kind": "checkpoint", "pairs": PAIRS}, {
        **batch.tensors(), "labels": labels,
        "hidden_states.first": hidden_states[batch.begins],
        "hidden_states.last": hidden_states[batch.begins + batch.lengths - 1],
        "hidden_states.projection": hidden_states @ projection,
        "pooled_output": pooled_output, "logits": output.logits.detach().numpy(),
        "loss": output.loss.detach().numpy(), **gradient_summary(model)})


if __name__ == "__main__":
    main()
