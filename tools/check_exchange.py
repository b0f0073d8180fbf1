"""Checks that the public libraries load folders that normtune wrote, with equal tensors.

    python tools/check_exchange.py FOLDER... [--base BASE]

A folder is a model (config.json, model.safetensors: transformers), a PEFT folder (peft) or an AdapterHub folder
(adapters); the kind is found out. A model's sub-folders adapterhub/ and peft/ are checked over that model. Deltas given
by themselves need --base, the model folder that they belong to. Prints one line for each folder; the exit code is 1 if
any of them failed.
"""

import argparse
import json
import os
import pathlib
import sys
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from safetensors.torch import load_file


class Mismatch(Exception):
    """What a library made of a folder differs from what the folder holds."""


def compare(stored, loaded):
    """Every stored tensor must have been loaded bit for bit."""
    for name, tensor in stored.items():
        if name not in loaded:
            raise Mismatch(f"{name} was not loaded")
        if not torch.equal(tensor, loaded[name].detach()):
            raise Mismatch(f"{name} has other values after loading")
    return f"{len(stored)} tensors equal"


def load_model(folder):
    config = json.loads((folder / "config.json").read_text())
    model_class = getattr(transformers, (config.get("architectures") or ["BertModel"])[0])
    return model_class.from_pretrained(folder, output_loading_info=True)


def check_model(folder):
    model, info = load_model(folder)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info[problem]:
            raise Mismatch(f"{problem}: {sorted(info[problem])}")
    return compare(load_file(folder / "model.safetensors"), model.state_dict())


def check_peft(folder, base):
    import peft
    model = peft.PeftModel.from_pretrained(load_model(base)[0], folder)
    return compare(load_file(folder / "adapter_model.safetensors"), peft.get_peft_model_state_dict(model))


def check_adapterhub(folder, base):
    import adapters
    model = load_model(base)[0]
    adapters.init(model)
    model.load_adapter(str(folder), use_safetensors=True, set_active=True)
    stored = load_file(folder / "adapter.safetensors")
    if (folder / "model_head.safetensors").exists():
        stored |= load_file(folder / "model_head.safetensors")
    return compare(stored, model.state_dict())


def checks_of(folder, base):
    """Pairs of a folder and the check that it must pass."""
    config = folder / "adapter_config.json"
    if config.exists():
        if base is None:
            raise Mismatch("a delta: name its model with --base")
        check = check_peft if "peft_type" in json.loads(config.read_text()) else check_adapterhub
        return [(folder, lambda: check(folder, base))]
    if not (folder / "config.json").exists():
        raise Mismatch("neither config.json nor adapter_config.json is there")
    checks = [(folder, lambda: check_model(folder))]
    for part in ("adapterhub", "peft"):
        if (folder / part).is_dir():
            checks += checks_of(folder / part, folder)
    return checks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--base", type=pathlib.Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.utils.logging.set_verbosity_error()

    failed = False
    for folder in args.folders:
        try:
            for part, check in checks_of(folder, args.base):
                print(f"ok      {part}: {check()}")
        except Exception as error:  # whatever a library raises is a finding
            failed = True
            print(f"FAILED  {folder}: {type(error).__name__}: {error}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
