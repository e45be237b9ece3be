"""Proves that PEFT finds the modules that `loraify export --format peft` names.

    python families.py FOLDER [--exporter ts|dynamo|builder] [--only bert,llama,…] [--loraify 'node dist/bin/loraify.js']

A tiny random model of each family is exported with its config.json beside it and compiled; the adapter is filled with
random numbers, exported for PEFT and as a model, and loaded with PeftModel on the original. A line is right if PEFT uses
every tensor, the export warns about nothing, and its outputs equal those of the ONNX model within 1e-5.
Needs what make.py needs; run `npm run build` first.
"""

import argparse
import copy
import json
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from make import EXAMPLE, OTHER, distance, export, output_of, run  # noqa: E402
from zoo import ZOO  # noqa: E402

FAMILIES = """
bert bert_token bert_base roberta distilbert electra albert deberta_v2 mpnet modernbert gpt2 gpt_neo gpt_neox gptj bloom
falcon mpt opt llama llama_cls mistral qwen2 qwen3 gemma gemma2 phi phi3 glm lfm2 mamba t5 bart vit swin whisper wav2vec2
""".split()
# PEFT refuses out_proj, and the model reads the weight of dt_proj without calling it.
OPTIONS = {"mamba": ("--exclude", "out_proj,dt_proj")}
TOLERANCE = 1e-5


def command(loraify: str, *arguments: object) -> str:
    done = subprocess.run([*shlex.split(loraify), *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[0])
    return done.stderr


def randomized(adapter: Path, out: Path) -> None:
    """A copy of a PEFT directory with random B."""
    out.mkdir()
    (out / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    torch.manual_seed(5)
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({k: torch.randn_like(t) * 0.2 if "lora_B" in k else t for k, t in tensors.items()}, out / "adapter_model.safetensors")


def prove(name: str, exporter: str, folder: Path, loraify: str) -> str:
    from peft import PeftModel

    torch.manual_seed(0)
    subject = ZOO[name]()
    model = subject.model.eval()
    export(model, subject, exporter, folder / "model.onnx")
    model.config.architectures = [type(model).__name__]
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    command(loraify, folder / "model.onnx", "-r", 4, "-a", 8, "-o", folder / "p", "--emit", "model", *OPTIONS.get(name, ()))
    randomized(folder / "p/adapter", folder / "random")
    given = ("--adapter", folder / "random")
    said = command(loraify, "export", folder / "p", *given, "--format", "peft", "-o", folder / "peft")
    command(loraify, "export", folder / "p", *given, "--format", "onnx", "-o", folder / "served.onnx")
    for size in (OTHER, (OTHER[0], EXAMPLE[1]), EXAMPLE):
        torch.manual_seed(2)
        inputs = subject.inputs(*size)
        try:
            ours = run(folder / "served.onnx", inputs)[0][subject.output]
        except Exception as error:  # noqa: BLE001: the file fixes a length
            reason = error
        else:
            break
    else:
        raise reason
    tuned = PeftModel.from_pretrained(copy.deepcopy(model), folder / "peft").eval()
    written = load_file(folder / "peft/adapter_model.safetensors")
    loaded = {k.replace(".default", "") for k in tuned.state_dict() if "lora_" in k}
    ignored = [k for k in written if k not in loaded]
    with torch.no_grad():
        theirs = output_of(tuned(**inputs), subject).numpy()
        base = output_of(model(**inputs), subject).numpy()
    far, moved = distance(ours, theirs), distance(theirs, base)
    wrong = [f"PEFT ignores {ignored[0]} and {len(ignored) - 1} more"] if ignored else []
    wrong += [f"outputs differ by {far:.1e}"] if not far <= TOLERANCE else []
    wrong += ["the adapter changes nothing"] if not moved > 1e-2 else []
    wrong += [said.strip().replace("\n", " | ")] if said.strip() else []
    return f"{'; '.join(wrong) if wrong else 'right'} ({len(written) // 2} modules, {far:.1e}, moved {moved:.1e})"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--exporter", default="dynamo", choices=["ts", "dynamo", "builder"])
    parser.add_argument("--only", default=",".join(FAMILIES))
    parser.add_argument("--loraify", default="node dist/bin/loraify.js")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.backends.mha.set_fastpath_enabled(False)
    if args.exporter == "builder":
        os.environ["WIDE"] = "1"
    failed = 0
    for name in args.only.split(","):
        folder = Path(args.folder, f"{name}.{args.exporter}")
        folder.mkdir(parents=True)
        try:
            result = prove(name, args.exporter, folder, args.loraify)
        except Exception as error:  # noqa: BLE001
            result = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        failed += not result.startswith("right")
        print(f"{folder.name}: {result}", flush=True)
    sys.exit(1 if failed else 0)
