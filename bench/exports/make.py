"""Exports the models of zoo.py and records what PyTorch + PEFT compute on them.

    python make.py FOLDER [--exporter ts,dynamo,optimum,optimum-past,builder] [--only 'bert,timm_*'] [--jobs 2]

Each model and exporter gets a folder FOLDER/<name>.<exporter>/ (an export pack):

    model.onnx          the exported model without an adapter
    adapter/            a PEFT adapter on every nn.Linear that is called, B random
    batch.npz           inputs and labels, of another batch size and length than the example of the export where it allows it
    grads.safetensors   the gradients of A and B by PEFT's keys
    expected.json       loss, layer paths, the loss that `auto` should choose, versions; `unusable` where the file is not
                        what PyTorch computes (the exporter failed, or ONNX Runtime differs)

Needs: torch, transformers, peft, timm, torchvision, onnx, onnxscript, onnxruntime, safetensors, numpy; for Optimum's
exports optimum-onnx and the transformers that it asks for (4.57).
"""

import argparse
import copy
import fnmatch
import json
import logging
import multiprocessing
import shutil
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from zoo import ZOO, Subject  # noqa: E402

import more  # noqa: E402, F401: adds to ZOO
import builder_files  # noqa: E402
import optimum_files  # noqa: E402

EXAMPLE, OTHER = (2, 8), (3, 11)
LABELS = {
    "cross-entropy": lambda y: torch.randint(0, y.shape[-1], y.shape[:-1]),
    "causal-lm": lambda y: torch.randint(0, y.shape[-1], y.shape[:-1]),
    "segmentation": lambda y: torch.randint(0, y.shape[1], (y.shape[0], *y.shape[2:])),
    "mse": torch.randn_like,
    "bce": lambda y: torch.randint(0, 2, y.shape).float(),
}


def loss_of(kind: str, y: Tensor, labels: Tensor) -> Tensor:
    if kind == "causal-lm":
        return F.cross_entropy(y[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    if kind == "cross-entropy":
        return F.cross_entropy(y.reshape(-1, y.shape[-1]), labels.flatten())
    if kind == "segmentation":
        return F.cross_entropy(y, labels)
    return F.mse_loss(y, labels) if kind == "mse" else F.binary_cross_entropy_with_logits(y, labels)


def is_layer(m: nn.Module, convolutions: bool) -> bool:
    return isinstance(m, nn.Linear) or type(m).__name__ == "Conv1D" or (convolutions and isinstance(m, nn.Conv2d) and m.groups == 1)


def called_layers(model: nn.Module, inputs: dict[str, Tensor], outputs: list[str], convolutions: bool) -> list[str]:
    """The paths of the nn.Linear modules whose forward runs for one of the outputs: PEFT's branch acts in no other."""
    seen: list[str] = []
    hooks = [
        m.register_forward_hook(lambda *_, path=path: seen.append(path))
        for path, m in model.named_modules()
        if is_layer(m, convolutions)
    ]
    result = model(**inputs)
    for h in hooks:
        h.remove()
    values = [result[o] for o in outputs] if hasattr(result, "keys") else tensors_of(result)[: len(outputs)]
    sum(v.float().sum() for v in values).backward()
    modules = dict(model.named_modules())
    reached = [path for path in dict.fromkeys(seen) if modules[path].weight.grad is not None]
    model.zero_grad()
    return reached


def tensors_of(result: object) -> list[Tensor]:
    values = result.to_tuple() if hasattr(result, "to_tuple") else result if isinstance(result, (tuple, list)) else [result]
    flat: list[Tensor] = []
    for v in values:
        flat += [v] if isinstance(v, Tensor) else tensors_of(v) if isinstance(v, (tuple, list)) else []
    return flat


def output_of(result: object, subject: Subject) -> Tensor:
    if hasattr(result, "keys"):
        return result[subject.output]
    return tensors_of(result)[subject.outputs.index(subject.output)]


def flat_outputs(model: nn.Module, names: list[str], outputs: list[str]) -> None:
    """Gives the model a forward of these inputs that returns the tensors of these names, without a module around it: a
    wrapper would be part of all module paths in the file."""
    original = type(model).forward

    def values(result: object) -> tuple[Tensor, ...]:
        if hasattr(result, "keys"):
            return tuple(result[o] for o in outputs)
        return tuple(tensors_of(result)[: len(outputs)])

    arguments = ", ".join(names)
    passed = ", ".join(f"{n}={n}" for n in names) if hasattr(model, "config") else arguments
    scope = {"original": original, "values": values}
    exec(f"def forward(self, {arguments}):\n    return values(original(self, {passed}))", scope)  # noqa: S102
    model.__class__ = type(type(model).__name__, (type(model),), {"forward": scope["forward"]})


def export(model: nn.Module, subject: Subject, exporter: str, file: Path) -> None:
    torch.manual_seed(1)
    if exporter.startswith("optimum"):
        optimum_files.export(copy.deepcopy(model), exporter == "optimum-past", file.parent)
        return
    if exporter == "builder":
        builder_files.export(copy.deepcopy(model), file)
        return
    inputs = subject.inputs(*EXAMPLE)
    names = list(inputs)
    model = copy.deepcopy(model)
    flat_outputs(model, names, subject.outputs)
    if exporter == "ts":
        axes = {k: {0: "batch", **{a: f"{'decoder_' if k.startswith('decoder') else ''}seq" for a in subject.lengths.get(k, [])}} for k in names}
        torch.onnx.export(
            model, (), str(file), kwargs=inputs, dynamo=False, opset_version=17, input_names=names,
            output_names=subject.outputs, dynamic_axes={**axes, **{o: {0: "batch"} for o in subject.outputs}},
        )
    else:
        batch = torch.export.Dim("batch", min=1, max=64)
        shapes = {}
        dims = {name: torch.export.Dim(name, min=4, max=60) for name in ("seq", "decoder_seq")}
        for k in names:
            axes = subject.lengths.get(k, [])
            dynamic = "input_values" != k
            shapes[k] = {0: batch, **{a: dims["decoder_seq" if k.startswith("decoder") else "seq"] if dynamic else torch.export.Dim.AUTO for a in axes}}
        torch.onnx.export(
            model, (), str(file), kwargs=inputs, dynamo=True, input_names=names, output_names=subject.outputs,
            dynamic_shapes=shapes, external_data=False, verbose=False,
        )


def strip_traces(file: Path) -> None:
    """Removes the stack traces, half of a small file, which nothing reads."""
    model = onnx.load(file)
    for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:
        kept = [p for p in node.metadata_props if p.key != "pkg.torch.onnx.stack_trace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, file)


def run(file: Path, inputs: dict[str, Tensor]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The outputs of a file, and what it was fed."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    feeds = optimum_files.completed({k: v.numpy() for k, v in inputs.items()}, session.get_inputs())
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds))), feeds


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) + 1e-12)) if a.shape == b.shape else float("inf")


def make(name: str, exporter: str, folder: Path) -> dict[str, object]:
    import peft
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import save_file

    torch.manual_seed(0)
    subject = ZOO[name]()
    model = subject.model.eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.05)
    shared = {"name": name, "exporter": exporter, "loss": subject.loss, "output": subject.output, "auto": subject.auto or subject.loss,
              "tolerance": subject.tolerance, "convolutions": subject.convolutions, "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}}
    try:
        export(model, subject, exporter, folder / "model.onnx")
    except Exception as error:  # noqa: BLE001: whatever an exporter raises makes the file unusable
        return {**shared, "unusable": f"export: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}"}
    strip_traces(folder / "model.onnx")
    for size in (OTHER, (OTHER[0], EXAMPLE[1]), EXAMPLE):
        torch.manual_seed(2)
        inputs = subject.inputs(*size)
        with torch.no_grad():
            want = output_of(model(**inputs), subject)
        try:
            computed, feeds = run(folder / "model.onnx", inputs)
            far = distance(computed[subject.output], want.numpy())
        except Exception as error:  # noqa: BLE001
            far, reason = float("inf"), str(error)
        else:
            reason = f"ONNX Runtime differs from PyTorch by {far:.1e}"
        if far < 1e-4:
            break
    else:
        return {**shared, "unusable": reason[:300]}
    paths = called_layers(model, inputs, [o for o in subject.outputs if o in computed], subject.convolutions)
    if getattr(getattr(model, "config", None), "model_type", "") in ("mamba", "falcon_mamba"):
        # PEFT refuses this module: its weight is read by a kernel.
        paths = [p for p in paths if not p.endswith("out_proj")]
    if not paths:
        return {**shared, "unusable": "no nn.Linear is called"}
    tuned = get_peft_model(copy.deepcopy(model), LoraConfig(r=4, lora_alpha=8, target_modules=paths, lora_dropout=0.0))
    torch.manual_seed(3)
    for key, p in tuned.named_parameters():
        if "lora_B" in key:
            p.data = torch.randn_like(p) * 0.1
    tuned.eval()
    y = output_of(tuned(**inputs), subject)
    torch.manual_seed(4)
    labels = LABELS[subject.loss](y.detach())
    mask = inputs.get("attention_mask")
    if mask is not None and labels.shape == mask.shape and not labels.is_floating_point():
        # What a file computes at padding depends on the positions that it gives it.
        labels = labels.masked_fill(mask == 0, -100)
    loss = loss_of(subject.loss, y, labels)
    loss.backward()
    grads = {k.replace(".default", ""): p.grad for k, p in tuned.named_parameters() if "lora_" in k and p.grad is not None}
    save_file({k: v.contiguous() for k, v in grads.items()}, folder / "grads.safetensors")
    try:
        tuned.save_pretrained(folder / "adapter")
    except NotImplementedError:  # Models without token embeddings.
        tuned.save_pretrained(folder / "adapter", save_embedding_layers=False)
    for extra in ("README.md",):
        (folder / "adapter" / extra).unlink(missing_ok=True)
    np.savez(folder / "batch.npz", labels=labels.numpy(), **{k: v for k, v in feeds.items() if not k.startswith("past_key_values")})
    return {**shared, "value": loss.item(), "paths": paths, "shape": list(size)}


def task(arguments: tuple[str, str, str]) -> str:
    name, exporter, root = arguments
    folder = Path(root) / f"{name}.{exporter}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    # The fast path of nn.MultiheadAttention and nn.TransformerEncoder reads weights past PEFT's branches.
    torch.backends.mha.set_fastpath_enabled(False)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        result = make(name, exporter, folder)
    except Exception as error:  # noqa: BLE001
        traceback.print_exc()
        result = {"name": name, "exporter": exporter, "unusable": f"{type(error).__name__}: {str(error)[:200]}"}
    (folder / "expected.json").write_text(json.dumps(result, indent=1) + "\n")
    return f"{folder.name}: {result.get('unusable', 'made')}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--exporter", default="ts,dynamo")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    only = [n for n in args.only.split(",") if n]
    tasks = [(n, e, args.folder) for n in ZOO for e in args.exporter.split(",") if not only or any(fnmatch.fnmatch(n, o) for o in only)]
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=20) as pool:
        for line in pool.imap_unordered(task, tasks):
            print(line, flush=True)
