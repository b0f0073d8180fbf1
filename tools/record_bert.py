"""Records what transformers computes for random BERT models of odd shapes, in float64: hidden states, logits, loss
and the gradient of every parameter. Layout of the files: tests/files/bert/README.md.

    python tools/record_bert.py [--output_dir tests/files/bert]
"""

import argparse

import numpy as np
import torch
from transformers import BertForPreTraining, BertForSequenceClassification

import oracle

CLASSIFICATION_CASES = {
    "hidden60_heads5": dict(
        sizes=dict(vocab_size=23, hidden_size=60, num_hidden_layers=2, num_attention_heads=5, intermediate_size=40,
                   max_position_embeddings=11, num_labels=2),
        lengths=[7, 1, 11, 2, 5]),
    "head_size33": dict(
        sizes=dict(vocab_size=19, hidden_size=66, num_hidden_layers=1, num_attention_heads=2, intermediate_size=50,
                   max_position_embeddings=13, type_vocab_size=3, num_labels=3, hidden_act="gelu_new",
                   layer_norm_eps=1e-5),
        lengths=[13, 4, 1, 9]),
    "layers3_relu": dict(
        sizes=dict(vocab_size=31, hidden_size=20, num_hidden_layers=3, num_attention_heads=4, intermediate_size=36,
                   max_position_embeddings=17, type_vocab_size=1, num_labels=3, hidden_act="relu"),
        lengths=[1, 17, 3, 8, 2, 12]),
    "layers13": dict(
        sizes=dict(vocab_size=29, hidden_size=12, num_hidden_layers=13, num_attention_heads=3, intermediate_size=17,
                   max_position_embeddings=9, num_labels=2),
        lengths=[5, 9, 1, 3]),
    "regression": dict(
        sizes=dict(vocab_size=37, hidden_size=33, num_hidden_layers=2, num_attention_heads=1, intermediate_size=65,
                   max_position_embeddings=15, num_labels=1, hidden_act="gelu_pytorch_tanh", layer_norm_eps=1e-7),
        lengths=[6, 15, 2, 1, 10]),
    "single": dict(
        sizes=dict(vocab_size=17, hidden_size=18, num_hidden_layers=2, num_attention_heads=9, intermediate_size=7,
                   max_position_embeddings=40, type_vocab_size=3, num_labels=4),
        lengths=[40]),
}

PRETRAINING_CASES = {
    "pretraining": dict(
        sizes=dict(vocab_size=41, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=33,
                   max_position_embeddings=14),
        lengths=[14, 3, 9, 1, 6]),
    "pretraining_relu": dict(
        sizes=dict(vocab_size=53, hidden_size=15, num_hidden_layers=1, num_attention_heads=5, intermediate_size=22,
                   max_position_embeddings=12, type_vocab_size=1, hidden_act="relu", layer_norm_eps=1e-6),
        lengths=[12, 7, 2]),
}


def gradients(model):
    return {"grad." + name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def check_alone_equals_padded(model, batch, outputs):
    """Padding must not matter: every example alone gives what it gave in the padded batch."""
    for row in range(len(batch)):
        example = batch.select([row])
        begin, end = batch.begins[row], batch.begins[row] + batch.lengths[row]
        with torch.no_grad():
            alone = model(**example.padded(), output_hidden_states=True)
        error = (alone.hidden_states[-1][0] - outputs["hidden_states"][begin:end]).abs().max()
        assert error <= 1e-12, f"example {row}: alone and padded hidden states differ by {error}"


def classification_labels(name, batch, num_labels):
    fractions = (oracle.generated_uniform(name + ".labels", len(batch)) + 1) / 2
    if num_labels == 1:
        return (5 * fractions).astype(np.float32).astype(np.float64)
    return (fractions * num_labels).astype(np.int64)


def record_classification(name, case, folder):
    config = oracle.bert_config(**case["sizes"])
    model = oracle.build_model(BertForSequenceClassification, config)
    batch = oracle.random_batch(name, case["lengths"], config)
    labels = classification_labels(name, batch, len(config["id2label"]))

    output = model(**batch.padded(), labels=torch.from_numpy(labels), output_hidden_states=True)
    output.loss.backward()
    with torch.no_grad():
        pooled_output = model.bert(**batch.padded()).pooler_output
    recorded = {"hidden_states": batch.pack(output.hidden_states[-1]).detach(), "pooled_output": pooled_output,
                "logits": output.logits.detach(), "loss": output.loss.detach()}
    check_alone_equals_padded(model, batch, recorded)
    oracle.save(folder, name, config, {"kind": "classification"},
                {**batch.tensors(), "labels": labels, **{k: v.numpy() for k, v in recorded.items()},
                 **gradients(model)})


def masked_lm_labels(name, batch):
    """-100 but at about a third of the tokens; an example without any masked token is among them."""
    chosen = oracle.generated_uniform(name + ".masked", len(batch.input_ids)) < -0.3
    chosen[batch.begins[1] : batch.begins[1] + batch.lengths[1]] = False
    return np.where(chosen, batch.input_ids[::-1], -100)


def record_pretraining(name, case, folder):
    config = oracle.bert_config(**case["sizes"])
    model = oracle.build_model(BertForPreTraining, config)
    batch = oracle.random_batch(name, case["lengths"], config)
    mlm_labels = masked_lm_labels(name, batch)
    nsp_labels = np.arange(len(batch), dtype=np.int64) % 2

    output = model(**batch.padded(), output_hidden_states=True)
    scores = batch.pack(output.prediction_logits)
    mlm_loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(mlm_labels))
    nsp_loss = torch.nn.functional.cross_entropy(output.seq_relationship_logits, torch.from_numpy(nsp_labels))
    own = model(**batch.padded(), labels=batch.pad(mlm_labels, -100), next_sentence_label=torch.from_numpy(nsp_labels))
    assert abs((mlm_loss + nsp_loss - own.loss).item()) <= 1e-13
    own.loss.backward()
    recorded = {"hidden_states": batch.pack(output.hidden_states[-1]),
                "prediction_logits": scores[torch.from_numpy(mlm_labels != -100)],
                "seq_relationship_logits": output.seq_relationship_logits,
                "mlm_loss": mlm_loss, "nsp_loss": nsp_loss, "loss": own.loss}
    check_alone_equals_padded(model, batch, recorded)
    oracle.save(folder, name, config, {"kind": "pretraining"},
                {**batch.tensors(), "mlm_labels": mlm_labels, "nsp_labels": nsp_labels,
                 **{k: v.detach().numpy() for k, v in recorded.items()}, **gradients(model)})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="tests/files/bert")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, case in CLASSIFICATION_CASES.items():
        record_classification(name, case, args.output_dir)
    for name, case in PRETRAINING_CASES.items():
        record_pretraining(name, case, args.output_dir)


if __name__ == "__main__":
    main()
