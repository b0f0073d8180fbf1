"""What the scripts that record reference data share: a weight generator that C++ repeats bit for bit, packed
batches, and the writing of the files.

Weights are generated, not stored, so that the files hold only what has to be compared (tests/nn/oracle.h has the
same generator):

    hash      = FNV-1a, 64 bits, of the tensor's name
    bits(i)   = SplitMix64 of hash + (i + 1) * 0x9E3779B97F4A7C15        (i: flat, row-major index)
    uniform_i = 2 * ((bits(i) >> 11) * 2^-53) - 1                        in [-1, 1)
    value_i   = 1 + 0.25 * uniform_i            LayerNorm.weight
                0.25 * uniform_i                other tensors of one dimension
                2 / sqrt(columns) * uniform_i   query.weight and key.weight, so that attention is not flat
                1 / sqrt(columns) * uniform_i   other matrices
                0                               lora_B.weight
    rounded to float32, so that a float32 and a float64 model start from the same weights.
"""

import json
import os
import platform

import numpy as np
import safetensors.numpy
import torch
import transformers

GOLDEN_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def fnv1a_64(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def splitmix64(state):
    """The output function of SplitMix64 (Steele, Lea and Flood 2014) on an array of states."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def generated_uniform(name, count):
    """`count` float64 values in [-1, 1) that depend on the name alone."""
    counters = np.arange(1, count + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(fnv1a_64(name)) + counters * GOLDEN_GAMMA)
    return 2.0 * ((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53) - 1.0


def generated_weight(name, shape):
    """The initial value of a parameter, as float64 numbers that float32 can hold."""
    if name.endswith("lora_B.weight"):
        return np.zeros(shape)
    values = generated_uniform(name, int(np.prod(shape)))
    if name.endswith("LayerNorm.weight"):
        values = 1.0 + 0.25 * values
    elif len(shape) == 1:
        values = 0.25 * values
    else:
        gain = 2.0 if name.endswith(("query.weight", "key.weight")) else 1.0
        values = gain / np.sqrt(np.float64(shape[-1])) * values
    return values.astype(np.float32).astype(np.float64).reshape(shape)


def fill_with_generated_weights(model):
    """Overwrites every parameter; tied parameters have one name and are filled once."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(generated_weight(name, tuple(parameter.shape))))


def bert_config(**sizes):
    """A config.json with every key that changes numbers; dropout is off."""
    config = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
    }
    num_labels = sizes.pop("num_labels", 2)
    config.update(sizes)
    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(num_labels)}
    config["label2id"] = {f"LABEL_{i}": i for i in range(num_labels)}
    if num_labels == 1:
        config["problem_type"] = "regression"
    return config


def build_model(model_class, config, dtype=torch.float64):
    """A model with generated weights, eager attention, in evaluation mode."""
    hf_config = transformers.BertConfig.from_dict(dict(config))
    hf_config._attn_implementation = "eager"
    model = model_class(hf_config).to(dtype)
    fill_with_generated_weights(model)
    return model.eval()


class PackedBatch:
    """Sequences one after another, without padding; `padded()` is the same batch as transformers takes it."""

    def __init__(self, input_ids, token_type_ids, lengths):
        self.input_ids = np.asarray(input_ids, dtype=np.int64)
        self.token_type_ids = np.asarray(token_type_ids, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.begins = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    def __len__(self):
        return len(self.lengths)

    def select(self, examples):
        """The batch of some examples, in the given order."""
        rows = np.concatenate([np.arange(b, b + n) for b, n in
                               zip(self.begins[examples], self.lengths[examples])])
        return PackedBatch(self.input_ids[rows], self.token_type_ids[rows], self.lengths[examples])

    def pad(self, packed_values, padding):
        padded = np.full((len(self), self.lengths.max()), padding, dtype=packed_values.dtype)
        for row, (begin, length) in enumerate(zip(self.begins, self.lengths)):
            padded[row, :length] = packed_values[begin : begin + length]
        return torch.from_numpy(padded)

    def mask(self):
        return self.pad(np.ones(len(self.input_ids), dtype=np.int64), 0)

    def padded(self):
        return {"input_ids": self.pad(self.input_ids, 0), "token_type_ids": self.pad(self.token_type_ids, 0),
                "attention_mask": self.mask()}

    def pack(self, padded_values):
        """[batch, longest, ...] -> [total_tokens, ...]"""
        return padded_values[self.mask().bool()]

    def tensors(self):
        return {"input_ids": self.input_ids, "token_type_ids": self.token_type_ids, "lengths": self.lengths}


def random_batch(name, lengths, config, with_pairs=True):
    """Deterministic ids: any but the padding id at the ends, the padding id as an ordinary token inside once in a
    while (its embedding row must get no gradient), a second text from a generated position on."""
    total = int(np.sum(lengths))
    fractions = (generated_uniform(name + ".input_ids", total) + 1) / 2
    ids = (fractions * config["vocab_size"]).astype(np.int64)
    types = np.zeros(total, dtype=np.int64)
    splits = (generated_uniform(name + ".split", len(lengths)) + 1) / 2
    begin = 0
    for length, split in zip(lengths, splits):
        ids[begin] = max(ids[begin], 1)
        if with_pairs and config["type_vocab_size"] > 1 and length > 2:
            second = begin + 1 + int(split * (length - 1))
            types[second : begin + length] = 1
            if config["type_vocab_size"] > 2:
                types[begin + length - 1] = 2
        begin += length
    return PackedBatch(ids, types, lengths)


def save(folder, name, config, description, tensors):
    """Writes NAME.safetensors and NAME.json, a config.json with the description under the key "recorded"."""
    os.makedirs(folder, exist_ok=True)
    arrays = {key: np.asarray(value, order="C") for key, value in tensors.items()}
    path = os.path.join(folder, name + ".safetensors")
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt"})
    document = {**config, "recorded": {"versions": versions(), **description}}
    with open(os.path.join(folder, name + ".json"), "w") as file:
        json.dump(document, file, indent=1, sort_keys=True)
        file.write("\n")
    print(f"{path}: {os.path.getsize(path):,} bytes")


def versions():
    return {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
            "python": platform.python_version()}
