"""The PyTorch side of `normtune bench`: whole training steps of BERT shapes, methods and settings on the CPU.

    python tools/bench_pytorch.py --shapes tiny,minilm --methods full,layernorm --settings default,malloc

prints one JSON object per case, with the keys of `normtune bench --json`: ms_per_step (median over the steps),
tokens_per_second (real tokens, not padding; by the median pass over all batches), peak_rss_bytes. Every case runs in a
process of its own; its first pass is discarded.

A step is forward, loss, backward, clipping, AdamW, on random tokens. Batches are padded to their longest sequence:
one batch of `--batch` sequences of `--seq` tokens, or the lengths in `--lengths FILE` (one per line), `--batch` of them
at a time in file order; `--pad_to N` pads every batch to N instead, as many scripts do. With `--precision bf16`
forward and loss run under autocast.

Settings: default (eager attention), sdpa (scaled_dot_product_attention), malloc and sdpa-malloc (the same with glibc
told to keep freed memory: MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ of 8 GiB).
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

SHAPES = {  # layers, hidden, heads, intermediate
    "tiny": (2, 128, 2, 512),
    "minilm": (6, 384, 12, 1536),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}
METHODS = ("full", "head", "layernorm", "layernorm-all", "bitfit", "lora", "houlsby", "pfeiffer")
MALLOC_TUNING = {"MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_MMAP_THRESHOLD_": str(8 << 30)}
SETTINGS = {"default": ("eager", {}), "sdpa": ("sdpa", {}), "malloc": ("eager", MALLOC_TUNING),
            "sdpa-malloc": ("sdpa", MALLOC_TUNING)}
VOCAB_SIZE = 30522


def is_selected(name, method):
    """Whether a parameter of the plain model moves; the classifier always does."""
    if name.startswith("classifier."):
        return True
    return {
        "full": True,
        "head": False,
        "layernorm": re.fullmatch(r"bert\.encoder\.layer\.\d+\.output\.LayerNorm\.(weight|bias)", name) is not None,
        "layernorm-all": ".LayerNorm." in name,
        "bitfit": name.endswith(".bias"),
    }[method]


def adapter_config(method, hidden_size):
    """Houlsby: two bottlenecks of 64 with GELU per block; Pfeiffer: one of hidden / 16 with ReLU."""
    import adapters

    if method == "houlsby":
        return adapters.DoubleSeqBnConfig(reduction_factor=hidden_size / 64, non_linearity="gelu")
    return adapters.SeqBnConfig(reduction_factor=16)


def prepare(model, method):
    """Freezes and transforms the model as the method says."""
    if method == "lora":
        import peft

        return peft.get_peft_model(model, peft.LoraConfig(
            task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["query", "value"]))
    if method in ("houlsby", "pfeiffer"):
        import adapters

        adapters.init(model)
        model.add_adapter(method, config=adapter_config(method, model.config.hidden_size))
        model.train_adapter(method)
        for name, parameter in model.named_parameters():
            if name.startswith("classifier.") or (method == "houlsby" and ".LayerNorm." in name):
                parameter.requires_grad_(True)
        return model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_selected(name, method))
    return model


def build_model(shape, method, attention, dropout):
    import transformers

    layers, hidden, heads, intermediate = SHAPES[shape]
    config = transformers.BertConfig(
        vocab_size=VOCAB_SIZE, num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        intermediate_size=intermediate, max_position_embeddings=512, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, num_labels=2)
    config._attn_implementation = attention
    return prepare(transformers.BertForSequenceClassification(config), method).train()


def make_batch(lengths, pad_to):
    import torch

    longest = pad_to or max(lengths)
    ids = torch.randint(1, VOCAB_SIZE, (len(lengths), longest))
    mask = (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids),
            "labels": torch.arange(len(lengths)) % 2}


def length_batches(args):
    if not args.lengths:
        return [[args.seq] * args.batch]
    with open(args.lengths) as file:
        lengths = [int(line) for line in file]
    return [lengths[i : i + args.batch] for i in range(0, len(lengths), args.batch)]


def timed_step(model, optimizer, parameters, batch, precision):
    """Seconds of one training step."""
    import torch

    begin = time.perf_counter()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - begin


def peak_rss_bytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def measure(args, case):
    """One case, in this process."""
    import torch

    torch.manual_seed(42)
    torch.set_num_threads(args.num_threads)
    rss_of_imports = peak_rss_bytes()
    model = build_model(case["shape"], case["method"], SETTINGS[case["setting"]][0], args.dropout)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, weight_decay=0.01)
    all_lengths = length_batches(args)
    batches = [make_batch(lengths, args.pad_to) for lengths in all_lengths]

    passes = []  # seconds of each step
    for _ in range(1 + args.repeats):
        passes.append([timed_step(model, optimizer, parameters, batch, args.precision) for batch in batches])
    passes = passes[1:]
    return {**case, "batch": args.batch, "seq": None if args.lengths else args.seq, "lengths": args.lengths,
            "pad_to": args.pad_to, "precision": args.precision, "dropout": args.dropout, "num_threads": args.num_threads, "repeats": args.repeats,
            "trainable_parameters": sum(p.numel() for p in parameters),
            "ms_per_step": statistics.median(sum(passes, [])) * 1e3,
            "tokens_per_second": sum(sum(all_lengths, [])) / statistics.median(map(sum, passes)),
            "peak_rss_bytes": peak_rss_bytes(), "import_rss_bytes": rss_of_imports, "torch": torch.__version__}


def run_in_own_process(args, case):
    command = [sys.executable, os.path.abspath(__file__), "--one_case", json.dumps(case)]
    for option in ("batch", "seq", "lengths", "pad_to", "precision", "repeats", "dropout", "num_threads"):
        if getattr(args, option) is not None:
            command += [f"--{option}", str(getattr(args, option))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.num_threads), "TOKENIZERS_PARALLELISM": "false",
                   **SETTINGS[case["setting"]][1]}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def names(text, known, what):
    chosen = text.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        sys.exit(f"unknown {what} {unknown[0]}: expected some of {', '.join(known)}")
    return chosen


def add_options(parser):
    parser.add_argument("--shapes", default="tiny,minilm", help=f"some of {','.join(SHAPES)}")
    parser.add_argument("--methods", default="full,layernorm,layernorm-all,bitfit,lora",
                        help=f"some of {','.join(METHODS)}")
    parser.add_argument("--settings", default="default,malloc", help=f"some of {','.join(SETTINGS)}")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--lengths", help="file of sequence lengths instead of --seq")
    parser.add_argument("--pad_to", type=int, help="pad every batch to this length, not to its longest sequence")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"), help="bf16: autocast")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes over the batches, after one before")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--num_threads", type=int, default=os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--one_case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one_case:
        print(json.dumps(measure(args, json.loads(args.one_case))))
        return
    for shape in names(args.shapes, SHAPES, "shape"):
        for method in names(args.methods, METHODS, "method"):
            for setting in names(args.settings, SETTINGS, "setting"):
                case = {"shape": shape, "method": method, "setting": setting}
                print(json.dumps(run_in_own_process(args, case)), flush=True)


if __name__ == "__main__":
    main()
