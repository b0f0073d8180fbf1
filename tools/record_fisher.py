"""Records the diagonal Fisher information of small random BERT models in float64, computed by PyTorch with one
backward pass for each example and class: tests/files/bert/fisher_*.

    python tools/record_fisher.py [--output_dir tests/files/bert]

    fisher.PARAMETER            mean over the examples of (d log p(label | x) / d w)^2
    expected_fisher.PARAMETER   mean over the examples of sum over classes c of p(c | x) (d log p(c | x) / d w)^2

A regression has log p(y | x) = -(y - f(x))^2 / 2 (a normal distribution with variance 1), so that its expected form is
the mean of (d f / d w)^2.
"""

import argparse

import torch
from transformers import BertForSequenceClassification

import oracle
from record_bert import classification_labels

CASES = {
    "fisher_classes": dict(
        sizes=dict(vocab_size=19, hidden_size=20, num_hidden_layers=2, num_attention_heads=4, intermediate_size=23,
                   max_position_embeddings=11, num_labels=3),
        lengths=[7, 1, 11, 2, 5, 3]),
    "fisher_two_classes": dict(
        sizes=dict(vocab_size=13, hidden_size=14, num_hidden_layers=1, num_attention_heads=2, intermediate_size=17,
                   max_position_embeddings=9, type_vocab_size=1, num_labels=2, hidden_act="relu"),
        lengths=[4, 9, 1]),
    "fisher_regression": dict(
        sizes=dict(vocab_size=17, hidden_size=18, num_hidden_layers=2, num_attention_heads=3, intermediate_size=13,
                   max_position_embeddings=8, num_labels=1),
        lengths=[6, 8, 2, 1, 3]),
}


def add_squared_gradient(total, model, log_probability, weight):
    model.zero_grad()
    log_probability.backward(retain_graph=True)
    for name, parameter in model.named_parameters():
        total[name] += weight * parameter.grad**2


def fisher(model, batch, labels, num_labels):
    """Both forms, as two dictionaries."""
    observed = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    expected = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for row in range(len(batch)):
        logits = model(**batch.select([row]).padded()).logits[0]
        if num_labels == 1:
            add_squared_gradient(observed, model, -((float(labels[row]) - logits[0]) ** 2) / 2, 1 / len(batch))
            add_squared_gradient(expected, model, logits[0], 1 / len(batch))
            continue
        log_probabilities = torch.log_softmax(logits, dim=0)
        add_squared_gradient(observed, model, log_probabilities[labels[row]], 1 / len(batch))
        for log_probability in log_probabilities:
            add_squared_gradient(expected, model, log_probability, log_probability.exp().item() / len(batch))
    return observed, expected


def record(name, case, folder):
    config = oracle.bert_config(**case["sizes"])
    model = oracle.build_model(BertForSequenceClassification, config)
    batch = oracle.random_batch(name, case["lengths"], config)
    num_labels = len(config["id2label"])
    labels = classification_labels(name, batch, num_labels)
    observed, expected = fisher(model, batch, labels, num_labels)
    oracle.save(folder, name, config, {"kind": "fisher"},
                {**batch.tensors(), "labels": labels,
                 **{"fisher." + key: value.numpy() for key, value in observed.items()},
                 **{"expected_fisher." + key: value.numpy() for key, value in expected.items()}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="tests/files/bert")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, case in CASES.items():
        record(name, case, args.output_dir)


if __name__ == "__main__":
    main()
