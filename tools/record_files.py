"""Records model files as PyTorch, safetensors, peft and adapters write them, for the tests of our readers and writers,
and the seeds of the fuzz targets.

    python tools/record_files.py [--output_dir tests/files/formats] [--seed_dir tests/fuzz/seeds]

Files in the output folder:
    zip.bin, legacy.bin      one state dict with every kind of tensor, in both containers of torch.save
    expected.safetensors     its values: contiguous, halves as float32, small integers as int32
    tiny_zip.bin, tiny_legacy.bin    one tensor each, for flipping every bit
    nested.bin               {"epoch": 3, "model": state dict}
    views_legacy.bin         a storage that is a view of another one, as versions before 0.4 wrote it
    compressed.bin, big_endian.bin, two_tops.bin, crc_zero.bin    variants of the zip container
    global.bin               asks for a function outside the list when it is loaded
    all_types.safetensors    every dtype that safetensors knows
    ours.safetensors         what our writer must write, byte for byte
    lora_all                 a folder of peft with all biases and the pooler, its base model, and the logits of both
    lora, ln_tuning          folders of peft; adapterhub_seq (.bin), adapterhub_double (safetensors) of adapters
"""

import argparse
import collections
import os
import pathlib
import pickle
import shutil
import struct
import warnings
import zipfile

os.environ["HF_HUB_OFFLINE"] = "1"  # "base" is no model of the hub: do not look for it

import torch
from safetensors.torch import save_file

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


def all_kinds():
    """A state dict with views, shared storages and every dtype that a checkpoint may hold."""
    torch.manual_seed(1)
    base = torch.randn(4, 6)
    state = collections.OrderedDict()
    state["matrix"] = torch.randn(2, 3)
    state["transposed"] = torch.randn(3, 5).t()
    state["tied_a"] = base
    state["tied_b"] = base
    state["rows"] = base[1:3]
    state["columns"] = base[:, 2:5]
    state["steps"] = torch.arange(10.0)[1::3]
    state["permuted"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    state["parameter"] = torch.nn.Parameter(torch.randn(3))
    state["half"] = torch.tensor([1.0, -2.5, 65504.0, 6e-8, float("inf"), -0.0]).half()
    state["bfloat16"] = torch.tensor([1.0, -3.140625, 1e30, float("-inf")]).bfloat16()
    state["double"] = torch.randn(3, dtype=torch.float64)
    state["long"] = torch.tensor([[0, -1, 2**40]])
    state["int"] = torch.tensor([1, -2**31], dtype=torch.int32)
    state["short"] = torch.tensor([-300, 300], dtype=torch.int16)
    state["char"] = torch.tensor([-128, 127], dtype=torch.int8)
    state["byte"] = torch.tensor([0, 255], dtype=torch.uint8)
    state["bool"] = torch.tensor([True, False])
    return state


def expected_values(state):
    """What our reader must give: float32 for halves, int32 for narrow integers, contiguous copies."""
    widened = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.int16: torch.int32,
               torch.int8: torch.int32, torch.uint8: torch.int32, torch.bool: torch.int32}
    return {name: value.detach().to(widened.get(value.dtype, value.dtype)).contiguous().clone()
            for name, value in state.items()}


def save_legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def save_legacy_views(path):
    """Tensor [2, 2] over elements 2..6 of a root storage of 7: the persistent id's sixth item says so."""
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, str) and value == "the storage":
                return ("storage", torch.FloatStorage, "11", "cpu", 7, ("12", 2, 4))
            return None

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor, ("the storage", 0, (2, 2), (2, 1))

    with open(path, "wb") as file:
        for value in (LEGACY_MAGIC, 1001, dict(protocol_version=1001, little_endian=True, type_sizes=dict(int=4))):
            pickle.dump(value, file, protocol=2)
        Pickler(file, protocol=2).dump(collections.OrderedDict(view=Tensor()))
        pickle.dump(["11"], file, protocol=2)
        file.write(struct.pack("<q7f", 7, *range(7)))


def save_zip_variants(folder):
    """The zip container of tiny_zip.bin, repacked in ways that a reader must refuse or accept."""
    source = zipfile.ZipFile(folder / "tiny_zip.bin")
    records = {name: source.read(name) for name in source.namelist()}

    def repack(name, records, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(folder / name, "w", compression) as target:
            for record, data in records.items():
                target.writestr(zipfile.ZipInfo(record), data, compression)

    repack("compressed.bin", records, zipfile.ZIP_DEFLATED)
    repack("big_endian.bin", {name: b"big" if name.endswith("byteorder") else data for name, data in records.items()})
    repack("two_tops.bin", records | {"other/data.pkl": b"x"})

    repack("crc_zero.bin", records)
    data = bytearray((folder / "crc_zero.bin").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        position = data.find(signature)
        while position >= 0:
            data[position + offset:position + offset + 4] = bytes(4)
            position = data.find(signature, position + 4)
    (folder / "crc_zero.bin").write_bytes(data)


class Attack:
    def __reduce__(self):
        return os.system, ("false",)


def save_safetensors(folder):
    types = dict(BOOL=torch.bool, U8=torch.uint8, I8=torch.int8, I16=torch.int16, U16=torch.uint16, I32=torch.int32,
                 U32=torch.uint32, I64=torch.int64, U64=torch.uint64, F16=torch.float16, BF16=torch.bfloat16,
                 F32=torch.float32, F64=torch.float64)
    save_file({name: torch.tensor([[0, 1, 1]]).to(dtype) for name, dtype in types.items()},
              folder / "all_types.safetensors")
    ours = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(1.5), "e\u00e9\"\\\n\x01": torch.zeros(0, 2),
            "double": torch.tensor([1e300, -2.0], dtype=torch.float64), "ids": torch.tensor([[5, -6]]),
            "int": torch.tensor([7, 8, 9], dtype=torch.int32)}
    save_file(ours, folder / "ours.safetensors", metadata={"format": "pt"})


def tiny_model():
    from transformers import BertConfig, BertForSequenceClassification
    torch.manual_seed(2)
    config = BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=6,
                        max_position_embeddings=5, num_labels=3)
    return BertForSequenceClassification(config)


def randomize(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)


def save_peft(folder):
    from peft import LNTuningConfig, LoraConfig, get_peft_model
    configs = dict(
        lora=LoraConfig(r=2, lora_alpha=6, lora_dropout=0.25, target_modules=["query", "value"], task_type="SEQ_CLS",
                        bias="lora_only"),
        ln_tuning=LNTuningConfig(target_modules=r"bert\.encoder\.layer\.\d+\.output\.LayerNorm", task_type="SEQ_CLS"))
    for name, config in configs.items():
        model = get_peft_model(tiny_model(), config)
        model.peft_config["default"].base_model_name_or_path = "base"
        randomize(model)
        model.save_pretrained(folder / name)
        (folder / name / "README.md").unlink()


def save_peft_model(folder):
    """LoRA with every bias and a whole pooler over a base of its own, and what peft computes with it."""
    from peft import LoraConfig, get_peft_model
    model = tiny_model()
    randomize(model)
    model.save_pretrained(folder / "base")
    (folder / "base" / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdef"]) + "\n")
    config = LoraConfig(r=2, lora_alpha=3, target_modules=["query", "output.dense"], task_type="SEQ_CLS", bias="all",
                        modules_to_save=["pooler"])
    model = get_peft_model(model, config).eval()
    model.peft_config["default"].base_model_name_or_path = "base"
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    with torch.no_grad():
        logits = model(torch.tensor([[2, 5, 9, 3]])).logits
    save_file({"logits": logits}, folder / "expected.safetensors")


def save_adapterhub(folder):
    import adapters
    for name, config, safe in (("seq", adapters.SeqBnConfig(reduction_factor=3), False),
                               ("double", adapters.DoubleSeqBnConfig(reduction_factor=4), True)):
        model = tiny_model()
        adapters.init(model)
        model.add_adapter("rte", config=config)
        randomize(model)
        model.save_adapter(str(folder / f"adapterhub_{name}"), "rte", use_safetensors=safe)


def copy_seeds(folder, seeds):
    """One folder for each fuzz target. Seeds are kept small: mutations of them are what is read."""
    groups = dict(
        safetensors=["all_types.safetensors", "ours.safetensors"],
        pytorch_bin=["tiny_zip.bin", "tiny_legacy.bin", "nested.bin", "views_legacy.bin", "crc_zero.bin", "global.bin",
                     "zip.bin", "legacy.bin"],
        config=["lora/adapter_config.json", "ln_tuning/adapter_config.json", "adapterhub_seq/adapter_config.json",
                "adapterhub_seq/head_config.json"])
    for target, files in groups.items():
        (seeds / target).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(folder / file, seeds / target / file.replace("/", "_"))
    tiny_model().config.save_pretrained(folder)
    (folder / "config.json").rename(seeds / "config" / "bert_config.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=pathlib.Path, default="tests/files/formats")
    parser.add_argument("--seed_dir", type=pathlib.Path, default="tests/fuzz/seeds")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    folder = args.output_dir
    folder.mkdir(parents=True, exist_ok=True)

    state = all_kinds()
    torch.save(state, folder / "zip.bin")
    save_legacy(state, folder / "legacy.bin")
    save_file(expected_values(state), folder / "expected.safetensors")
    tiny = {"w": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}
    torch.save(tiny, folder / "tiny_zip.bin")
    save_legacy(tiny, folder / "tiny_legacy.bin")
    torch.save({"epoch": 3, "lr": 0.5, "name": "x", "model": collections.OrderedDict(tiny)}, folder / "nested.bin")
    save_legacy_views(folder / "views_legacy.bin")
    save_zip_variants(folder)
    torch.save({"w": Attack()}, folder / "global.bin")
    save_safetensors(folder)
    save_peft(folder)
    save_peft_model(folder / "lora_all")
    save_adapterhub(folder)
    copy_seeds(folder, args.seed_dir)


if __name__ == "__main__":
    main()
