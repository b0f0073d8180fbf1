"""Records short fine-tuning runs of PyTorch in float64 without dropout: the loss, learning rate and gradient norm of
every update, and the trained weights at the end. Layout of the files: tests/files/bert/README.md.

    python tools/record_training.py [--output_dir tests/files/bert]
"""

import argparse
import math
import re

import adapters
import numpy as np
import peft
import torch
from transformers import BertForSequenceClassification, get_scheduler

import oracle

SIZES = dict(vocab_size=40, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32,
             max_position_embeddings=16, num_labels=3)
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# Words of the first and of the second text of each of 22 examples.
WORDS = [(2, 1), (4, 2), (1, 0), (5, 4), (3, 1), (6, 7), (1, 1), (2, 3), (4, 4), (1, 2), (2, 1), (7, 0), (1, 1),
         (5, 5), (3, 2), (2, 4), (8, 5), (1, 3), (4, 1), (2, 2), (6, 5), (3, 3)]
ADAPTER_NAME = "normtune"

COMMON = dict(method="full", optim="adamw_torch", learning_rate=1e-3, weight_decay=0.01, adam_beta1=0.9,
              adam_beta2=0.999, adam_epsilon=1e-8, max_grad_norm=1.0, lr_scheduler_type="linear",
              per_device_train_batch_size=4, gradient_accumulation_steps=1, max_steps=20, warmup_steps=2)
RUNS = {
    "train_full": {},
    "train_layernorm": dict(method="layernorm"),
    "train_bitfit": dict(method="bitfit"),
    "train_lora": dict(method="lora", lora_r=4, lora_alpha=8, lora_target_modules="query,value"),
    "train_houlsby": dict(method="houlsby", adapter_size=6, max_steps=10),
    "train_pfeiffer": dict(method="pfeiffer", adapter_size=3),
    "train_adamw_hf": dict(optim="adamw_hf", adam_epsilon=1e-6, max_steps=6, warmup_steps=1),
    "train_adamw_bert": dict(optim="adamw_bert", adam_epsilon=1e-6, max_steps=6, warmup_steps=0,
                             learning_rate=2e-4, lr_scheduler_type="constant"),
    "train_sgd": dict(optim="sgd", learning_rate=0.05, max_steps=6, lr_scheduler_type="cosine"),
    # 22 examples in batches of 4, 4, 4, 4, 4, 2: the third update of an epoch is the mean over 4 + 2 examples.
    "train_accumulation": dict(gradient_accumulation_steps=2, max_steps=6),
    # 22 examples in batches of 8, 8, 6: the second update of an epoch has the 6 alone.
    "train_accumulation_ragged": dict(per_device_train_batch_size=8, gradient_accumulation_steps=2, max_steps=5),
}


class AdamWHF(torch.optim.Optimizer):
    """The AdamW that transformers had until 2023: eps is added to the uncorrected sqrt(v), decay comes last.

    p -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps);   p -= lr * weight_decay * p
    Without `correct_bias` the factor of the bias corrections is 1 (the optimizer of the original BERT).
    """

    def __init__(self, groups, lr, betas, eps, correct_bias):
        super().__init__(groups, dict(lr=lr, betas=betas, eps=eps, weight_decay=0.0, correct_bias=correct_bias))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                self.update(parameter, group)

    def update(self, parameter, group):
        state = self.state[parameter]
        if not state:
            state.update(step=0, m=torch.zeros_like(parameter), v=torch.zeros_like(parameter))
        state["step"] += 1
        beta1, beta2 = group["betas"]
        state["m"].mul_(beta1).add_(parameter.grad, alpha=1 - beta1)
        state["v"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
        step_size = group["lr"]
        if group["correct_bias"]:
            step_size *= math.sqrt(1 - beta2 ** state["step"]) / (1 - beta1 ** state["step"])
        parameter.addcdiv_(state["m"], state["v"].sqrt().add_(group["eps"]), value=-step_size)
        if group["weight_decay"] > 0:
            parameter.add_(parameter, alpha=-group["lr"] * group["weight_decay"])


def vocabulary():
    """Token of each id: the special ones, then the words w5, w6, ..."""
    return SPECIAL_TOKENS + [f"w{i}" for i in range(len(SPECIAL_TOKENS), SIZES["vocab_size"])]


def make_texts():
    """Pairs of random words, with a literal [PAD] once in a while, which stays an ordinary token of the sequence."""
    count = sum(first + second for first, second in WORDS)
    fractions = iter((oracle.generated_uniform("training.words", count) + 1) / 2)

    def text(num_words):
        ids = [int(next(fractions) * SIZES["vocab_size"]) for _ in range(num_words)]
        return " ".join(f"w{i}" if i >= len(SPECIAL_TOKENS) else "[PAD]" for i in ids)

    labels = np.floor((oracle.generated_uniform("training.labels", len(WORDS)) + 1) / 2 * SIZES["num_labels"])
    return [{"sentence1": text(first), "sentence2": text(second), "label": int(label)}
            for (first, second), label in zip(WORDS, labels)]


def tokenize(texts):
    """[CLS] A [SEP] B [SEP], types 0 up to the first [SEP]."""
    ids, types, lengths = [], [], []
    index = {token: i for i, token in enumerate(vocabulary())}
    for example in texts:
        first = ["[CLS]", *example["sentence1"].split(), "[SEP]"]
        second = [*example["sentence2"].split(), "[SEP]"]
        ids += [index[token] for token in first + second]
        types += [0] * len(first) + [1] * len(second)
        lengths.append(len(first + second))
    return oracle.PackedBatch(ids, types, lengths)


def is_trainable(name, method):
    """Selections on plain names; the classifier is always trained, the pooler as the method says."""
    if name.startswith("classifier."):
        return True
    if method == "full":
        return True
    if method == "layernorm":
        return re.fullmatch(r"bert\.encoder\.layer\.\d+\.output\.LayerNorm\.(weight|bias)", name) is not None
    if method == "bitfit":
        return name.endswith(".bias")
    if method == "lora":
        return ".lora_" in name
    if method == "houlsby":
        return ".adapters." in name or ".LayerNorm." in name
    if method == "pfeiffer":
        return ".adapters." in name
    raise ValueError(method)


def plain_name(name):
    """peft's names -> those of our files: `...query.lora_A.weight`."""
    for old, new in (("base_model.model.", ""), ("modules_to_save.default.", ""), (".default.", "."),
                     ("base_layer.", "")):
        name = name.replace(old, new)
    return name


def transform(model, options, dtype):
    """Inserts low-rank updates or adapters."""
    method = options["method"]
    if method == "lora":
        config = peft.LoraConfig(task_type="SEQ_CLS", r=options["lora_r"], lora_alpha=options["lora_alpha"],
                                 lora_dropout=0.0, target_modules=options["lora_target_modules"].split(","))
        return peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    if method in ("houlsby", "pfeiffer"):
        factor = SIZES["hidden_size"] / options["adapter_size"]
        adapters.init(model)
        model.add_adapter(ADAPTER_NAME, config=(
            adapters.DoubleSeqBnConfig(reduction_factor=factor, non_linearity="gelu") if method == "houlsby"
            else adapters.SeqBnConfig(reduction_factor=factor)))
        model.train_adapter(ADAPTER_NAME)
        return model.to(dtype)
    return model


def build(options, dtype=torch.float64):
    """The transformed model and its trainable parameters by plain name."""
    model = oracle.build_model(BertForSequenceClassification, oracle.bert_config(**SIZES), dtype)
    model = transform(model, options, dtype)
    trainable = {}
    for full_name, parameter in model.named_parameters():
        if "original_module" in full_name:  # peft's copy of the classifier as it was
            continue
        name = plain_name(full_name)
        if ".lora_" in name or ".adapters." in name:
            weight = oracle.generated_weight(name, tuple(parameter.shape))
            parameter.data.copy_(torch.from_numpy(weight))
        assert parameter.dtype == dtype
        parameter.requires_grad_(is_trainable(name, options["method"]))
        if parameter.requires_grad:
            trainable[name] = parameter
    return model, trainable


def build_optimizer(parameters, options):
    no_decay = [p for n, p in parameters.items() if n.endswith("bias") or "LayerNorm" in n]
    decay = [p for n, p in parameters.items() if not (n.endswith("bias") or "LayerNorm" in n)]
    groups = [dict(params=decay, weight_decay=options["weight_decay"]), dict(params=no_decay, weight_decay=0.0)]
    lr, optim = options["learning_rate"], options["optim"]
    betas, eps = (options["adam_beta1"], options["adam_beta2"]), options["adam_epsilon"]
    if optim == "adamw_torch":
        return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=eps)
    if optim == "sgd":
        return torch.optim.SGD(groups, lr=lr)
    return AdamWHF(groups, lr=lr, betas=betas, eps=eps, correct_bias=optim == "adamw_hf")


def updates(num_examples, options):
    """Endless: for each update its micro-batches; the last of an epoch may be smaller or fewer."""
    size, accumulation = options["per_device_train_batch_size"], options["gradient_accumulation_steps"]
    while True:
        batches = [list(range(b, min(b + size, num_examples))) for b in range(0, num_examples, size)]
        for begin in range(0, len(batches), accumulation):
            yield batches[begin : begin + accumulation]


def train(name, batch, labels, options, dtype=torch.float64):
    model, parameters = build(options, dtype)
    model.train()
    optimizer = build_optimizer(parameters, options)
    scheduler = get_scheduler(options["lr_scheduler_type"], optimizer, options["warmup_steps"],
                              options["max_steps"])
    log = {"losses": [], "learning_rates": [], "grad_norms": []}
    schedule = updates(len(batch), options)
    for _ in range(options["max_steps"]):
        micro_batches = next(schedule)
        num_examples = sum(len(rows) for rows in micro_batches)
        loss = 0.0
        for rows in micro_batches:
            part = model(**batch.select(rows).padded(), labels=torch.from_numpy(labels[rows])).loss
            part = part * (len(rows) / num_examples)  # so that the sum is the mean over the update's examples
            part.backward()
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), options["max_grad_norm"])
        log["losses"].append(loss)
        log["learning_rates"].append(optimizer.param_groups[0]["lr"])
        log["grad_norms"].append(norm.item())
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    weights = {n: p.detach().to(torch.float64).numpy() for n, p in parameters.items()}
    return weights, {key: np.array(values) for key, values in log.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="tests/files/bert")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = oracle.bert_config(**SIZES)
    texts = make_texts()
    batch = tokenize(texts)
    labels = np.array([example["label"] for example in texts], dtype=np.int64)
    for name, changes in RUNS.items():
        options = {**COMMON, **changes}
        weights, log = train(name, batch, labels, options)
        description = {"kind": "training", "options": options, "texts": texts, "vocabulary": vocabulary()}
        oracle.save(args.output_dir, name, config, description,
                    {**batch.tensors(), "labels": labels, **log,
                     **{"weight." + n: w for n, w in weights.items()}})


if __name__ == "__main__":
    main()
