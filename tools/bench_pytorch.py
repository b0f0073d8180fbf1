"""The PyTorch side of `normtune bench`: whole training steps of BERT shapes, methods and settings.

    python tools/bench_pytorch.py --shapes tiny,minilm --methods full,layernorm --settings default,malloc
    python tools/bench_pytorch.py --device cuda --precision bf16 --shapes base --settings sdpa-fused,compile

prints one JSON object per case, with the keys of `normtune bench --json`: ms_per_step (median over the steps),
tokens_per_second (real tokens, not padding; by the median pass over all batches), peak_rss_bytes. Every case runs in a
process of its own (on a GPU: all cases of a setting, as starting takes longer than measuring); its first pass is discarded.

A step is forward, loss, backward, clipping, AdamW, on random tokens. Batches are padded to their longest sequence:
one batch of `--batch` sequences of `--seq` tokens, or the lengths in `--lengths FILE` (one per line), `--batch` of them
at a time in file order; `--pad_to N` pads every batch to N instead, as many scripts do. With `--precision bf16`
forward and loss run under autocast; `tf32` allows TF32 in products of float32.

On a GPU the host waits for it at the ends of a pass alone, and a pass has at least ten steps. Peak memory is PyTorch's own
count: peak_device_bytes for tensors (max_memory_allocated), peak_reserved_bytes with what its allocator keeps. A batch without
padding has no attention mask, so that the fastest attention can be chosen.

Settings: default (eager attention), sdpa (scaled_dot_product_attention), malloc and sdpa-malloc (the same with glibc
told to keep freed memory: MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ of 8 GiB), sdpa-fused (with AdamW(fused=True)),
compile (sdpa-fused under torch.compile in its default mode), peft (sdpa-fused with LayerNorms trained through peft's
LNTuningConfig, whose wrappers cost some percent; in the other settings the model's own are trained). LoRA is always peft's.

The model is transformers', or with `--bert plain` that of tools/pytorch_bert.py, which stands in where transformers (for LoRA:
or peft) is not installed.
"""

import argparse
import gc
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import time
import traceback
from typing import NamedTuple

SHAPES = {  # layers, hidden, heads, intermediate
    "tiny": (2, 128, 2, 512),
    "minilm": (6, 384, 12, 1536),
    "base": (12, 768, 12, 3072),
    "large": (24, 1024, 16, 4096),
}
METHODS = ("full", "head", "layernorm", "layernorm-all", "bitfit", "lora", "houlsby", "pfeiffer")
MALLOC_TUNING = {"MALLOC_TRIM_THRESHOLD_": str(8 << 30), "MALLOC_MMAP_THRESHOLD_": str(8 << 30)}
VOCAB_SIZE = 30522
MIN_STEPS_OF_A_GPU_PASS = 10


class Setting(NamedTuple):
    attention: str = "eager"
    environment: dict = {}
    fused: bool = False  # AdamW as one kernel
    compiled: bool = False
    peft: bool = False  # LayerNorms through its wrappers


SETTINGS = {"default": Setting(), "sdpa": Setting("sdpa"), "malloc": Setting(environment=MALLOC_TUNING),
            "sdpa-malloc": Setting("sdpa", MALLOC_TUNING), "sdpa-fused": Setting("sdpa", fused=True),
            "compile": Setting("sdpa", fused=True, compiled=True), "peft": Setting("sdpa", fused=True, peft=True)}
LAYER_NORMS = {"layernorm": r"bert\.encoder\.layer\.\d+\.output\.LayerNorm", "layernorm-all": r"bert\..*\.LayerNorm"}


def is_selected(name, method):
    """Whether a parameter of the plain model moves; the classifier always does."""
    if name.startswith("classifier."):
        return True
    if method in LAYER_NORMS:
        return re.fullmatch(LAYER_NORMS[method] + r"\.(weight|bias)", name) is not None
    return {"full": True, "head": False, "bitfit": name.endswith(".bias")}[method]


def adapter_config(method, hidden_size):
    """Houlsby: two bottlenecks of 64 with GELU per block; Pfeiffer: one of hidden / 16 with ReLU."""
    import adapters

    if method == "houlsby":
        return adapters.DoubleSeqBnConfig(reduction_factor=hidden_size / 64, non_linearity="gelu")
    return adapters.SeqBnConfig(reduction_factor=16)


def peft_config(method):
    import peft

    if method == "lora":
        return peft.LoraConfig(
            task_type="SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["query", "value"])
    if method not in LAYER_NORMS:
        raise ValueError(f"the setting peft has no {method}: expected {', '.join(LAYER_NORMS)} or lora")
    return peft.LNTuningConfig(task_type="SEQ_CLS", target_modules=LAYER_NORMS[method])


def prepare(model, method, by_peft=False):
    """Freezes and transforms the model as the method says."""
    if by_peft or method == "lora":
        import peft

        return peft.get_peft_model(model, peft_config(method))
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


def needs_peft(case):
    return case["method"] == "lora" or SETTINGS[case["setting"]].peft


def chosen_bert(args, case):
    """"transformers" or "plain"; the latter where the libraries that a case needs are not there."""
    if args.bert != "auto":
        return args.bert
    needed = ["transformers"] + (["peft"] if needs_peft(case) else [])
    return "transformers" if all(importlib.util.find_spec(name) for name in needed) else "plain"


def build_transformers_model(case, dropout):
    import transformers

    setting = SETTINGS[case["setting"]]
    layers, hidden, heads, intermediate = SHAPES[case["shape"]]
    config = transformers.BertConfig(
        vocab_size=VOCAB_SIZE, num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        intermediate_size=intermediate, max_position_embeddings=512, hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout, num_labels=2)
    config._attn_implementation = setting.attention
    return prepare(transformers.BertForSequenceClassification(config), case["method"], by_peft=setting.peft)


def build_plain_model(case, dropout):
    import pytorch_bert

    method, setting = case["method"], SETTINGS[case["setting"]]
    if method in ("houlsby", "pfeiffer"):
        raise ValueError(f"{method} needs transformers and adapters")
    if setting.peft:
        raise ValueError(f"the setting {case['setting']} needs transformers and peft")
    layers, hidden, heads, intermediate = SHAPES[case["shape"]]
    model = pytorch_bert.Classifier(layers, hidden, heads, intermediate, VOCAB_SIZE, dropout, setting.attention)
    return pytorch_bert.add_lora(model) if method == "lora" else prepare(model, method)


def build_model(args, case):
    import torch

    build = {"transformers": build_transformers_model, "plain": build_plain_model}[chosen_bert(args, case)]
    with torch.device(args.device):  # weights are drawn where they will live
        model = build(case, args.dropout)
    return model.to(args.device).train()


def make_batch(args, lengths):
    import torch

    longest = args.pad_to or max(lengths)
    ids = torch.randint(1, VOCAB_SIZE, (len(lengths), longest))
    mask = (torch.arange(longest)[None, :] < torch.tensor(lengths)[:, None]).long()
    batch = {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids),
             "labels": torch.arange(len(lengths)) % 2}
    if args.device == "cuda" and min(lengths) == longest:
        del batch["attention_mask"]
    return {name: tensor.to(args.device) for name, tensor in batch.items()}


def length_batches(args):
    if not args.lengths:
        return [[args.seq] * args.batch]
    with open(args.lengths) as file:
        lengths = [int(line) for line in file]
    return [lengths[i : i + args.batch] for i in range(0, len(lengths), args.batch)]


def batches_of_a_pass(args):
    """The lengths of each batch, in turn; on a GPU several times over if there are few."""
    batches = length_batches(args)
    if args.device == "cuda":
        batches *= -(-MIN_STEPS_OF_A_GPU_PASS // len(batches))
    return batches


class Trainer:
    """A model, its optimiser and one training step."""

    def __init__(self, args, case):
        import torch

        setting = SETTINGS[case["setting"]]
        model = build_model(args, case)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-5, weight_decay=0.01,
                                           **({"fused": True} if setting.fused else {}))
        self.model = torch.compile(model) if setting.compiled else model
        self.autocast = torch.autocast(args.device, dtype=torch.bfloat16, enabled=args.precision == "bf16")

    def step(self, batch):
        import torch

        with self.autocast:
            loss = self.model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def timed_pass(args, trainer, batches):
    """Seconds of each step; on a GPU their mean, as nothing waits between steps."""
    if args.device == "cuda":
        return [seconds_on_gpu(lambda: [trainer.step(batch) for batch in batches]) / len(batches)] * len(batches)
    seconds = []
    for batch in batches:
        begin = time.perf_counter()
        trainer.step(batch)
        seconds.append(time.perf_counter() - begin)
    return seconds


def seconds_on_gpu(work):
    import torch

    torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def peak_rss_bytes():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def gpu_memory():
    import torch

    return {"peak_device_bytes": torch.cuda.max_memory_allocated(),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved()}


def measure(args, case):
    """One case, in this process."""
    import torch

    torch.manual_seed(42)
    rss_of_imports = peak_rss_bytes()
    trainer = Trainer(args, case)
    all_lengths = batches_of_a_pass(args)
    batches = [make_batch(args, lengths) for lengths in all_lengths]
    passes = [timed_pass(args, trainer, batches) for _ in range(1 + args.repeats)][1:]
    return {**case, "device": args.device, "bert": chosen_bert(args, case), "batch": args.batch,
            "seq": None if args.lengths else args.seq, "lengths": args.lengths,
            "pad_to": args.pad_to, "precision": args.precision, "dropout": args.dropout,
            "num_threads": args.num_threads, "repeats": args.repeats,
            "trainable_parameters": sum(p.numel() for p in trainer.parameters),
            "ms_per_step": statistics.median(sum(passes, [])) * 1e3,
            "tokens_per_second": sum(sum(all_lengths, [])) / statistics.median(map(sum, passes)),
            "peak_rss_bytes": peak_rss_bytes(), "import_rss_bytes": rss_of_imports,
            **(gpu_memory() if args.device == "cuda" else {}), **circumstances(args)}


def circumstances(args):
    """Versions, and the card."""
    import torch

    libraries = [sys.modules[name] for name in ("transformers", "peft") if name in sys.modules]
    return {"torch": torch.__version__, **{library.__name__: library.__version__ for library in libraries},
            **({"card": torch.cuda.get_device_name()} if args.device == "cuda" else {})}


def measure_peak(args):
    """The rate of a large product of random matrices in the precision asked for."""
    import torch

    size = 8192 if args.device == "cuda" else 1024
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    a, b = (torch.randn(size, size, device=args.device).to(dtype) for _ in range(2))

    def products():
        for _ in range(10):
            torch.mm(a, b)

    seconds = []
    for _ in range(4):
        if args.device == "cuda":
            seconds.append(seconds_on_gpu(products))
        else:
            begin = time.perf_counter()
            products()
            seconds.append(time.perf_counter() - begin)
    return {"peak_gflops": 10 * 2 * size**3 / min(seconds[1:]) / 1e9, "precision": args.precision,
            **circumstances(args)}


def set_up_process(args):
    import torch

    torch.set_num_threads(args.num_threads)
    if args.device == "cuda":
        if not torch.cuda.is_available():
            sys.exit("--device cuda: PyTorch sees no CUDA device here")
        torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")


def measure_or_explain(args, case):
    """A case's result, or its "error"."""
    forget_last_case(args)
    try:
        return measure_peak(args) if case.get("peak") else measure(args, case)
    except Exception as error:  # also what CUDA and compilers throw: the other cases shall be measured
        traceback.print_exc()
        return {**case, "error": f"{type(error).__name__}: {error}"}


def forget_last_case(args):
    """What it compiled, and its memory."""
    import torch

    if args.device == "cuda":
        torch.compiler.reset()
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def run_in_own_process(args, cases):
    """The results of cases of one setting, measured one after another in a new process."""
    command = [sys.executable, os.path.abspath(__file__), "--cases", json.dumps(cases)]
    for option in ("device", "bert", "batch", "seq", "lengths", "pad_to", "precision", "repeats", "dropout", "num_threads"):
        if getattr(args, option) is not None:
            command += [f"--{option}", str(getattr(args, option))]
    setting = SETTINGS[cases[0].get("setting", "default")]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.num_threads), "TOKENIZERS_PARALLELISM": "false",
                   **setting.environment}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    results = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
    return results + [{**case, "error": f"exit code {process.returncode}"} for case in cases[len(results) :]]


def cases_of_processes(args):
    """Lists of cases, each for one process: single ones, or on a GPU all that share a setting."""
    shapes, methods = names(args.shapes, SHAPES, "shape"), names(args.methods, METHODS, "method")
    settings = names(args.settings, SETTINGS, "setting")
    if args.device == "cuda":
        return [[{"shape": shape, "method": method, "setting": setting} for shape in shapes for method in methods]
                for setting in settings]
    return [[{"shape": shape, "method": method, "setting": setting}]
            for shape in shapes for method in methods for setting in settings]


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
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bert", default="auto", choices=("auto", "transformers", "plain"), help="whose model")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--lengths", help="file of sequence lengths instead of --seq")
    parser.add_argument("--pad_to", type=int, help="pad every batch to this length, not to its longest sequence")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"),
                        help="bf16: autocast; tf32 on a GPU alone")
    parser.add_argument("--repeats", type=int, default=5, help="timed passes over the batches, after one before")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--num_threads", type=int, default=os.cpu_count())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--cases", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cases:
        set_up_process(args)
        for case in json.loads(args.cases):
            print(json.dumps(measure_or_explain(args, case)), flush=True)
        return
    failed = False
    for cases in cases_of_processes(args):
        for result in run_in_own_process(args, cases):
            print(json.dumps(result), flush=True)
            failed |= "error" in result
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
