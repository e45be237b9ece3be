"""The models that are measured: random seeded weights, one fixed batch each. `python workloads.py NAME FOLDER` writes model.onnx (float32,
opset 17, dynamic batch and sequence) and batch.npz; torch_step.py builds the very same weights and batch.

Needs: torch transformers onnx numpy.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import transformers
from torch import nn


@dataclass(frozen=True)
class Workload:
    build: Callable[[], nn.Module]
    batch: Callable[[], dict[str, np.ndarray]]  # the model's inputs in order, then labels
    loss: str  # as loraify --loss says
    exclude: tuple[str, ...] = ()  # Linear layers that stay as they are


def seeded(model: nn.Module) -> nn.Module:
    with torch.no_grad():  # fresh biases and norms are all equal: the exporter would share them behind Identity nodes
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.02)
    return model.eval()


def bert(**size: int) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=30522, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                                     return_dict=False, **size)  # a tuple: the exporter then needs no wrapper, which would prefix every module path
    config._attn_implementation = "eager"  # plain MatMul and Softmax in the export; the peer's own choice is torch_step.py's
    return seeded(transformers.BertForSequenceClassification(config))


def gpt2(**size: int) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, **size)
    config._attn_implementation = "eager"
    return seeded(transformers.GPT2LMHeadModel(config))


def llama(**size: int) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(use_cache=False, tie_word_embeddings=False, **size)
    config._attn_implementation = "eager"
    return seeded(transformers.LlamaForCausalLM(config))


def mlp(*widths: int) -> nn.Module:
    torch.manual_seed(0)
    layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).eval()


def text(rows: int, length: int, vocabulary: int, classes: int | None) -> Callable[[], dict[str, np.ndarray]]:
    def make() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        ids = rng.integers(1000, vocabulary, (rows, length))
        labels = ids if classes is None else rng.integers(0, classes, rows)
        # Full length: no peer gains by skipping padding.
        return {"input_ids": ids, "attention_mask": np.ones((rows, length), np.int64), "labels": labels}

    return make


def vectors(rows: int, width: int, classes: int) -> Callable[[], dict[str, np.ndarray]]:
    def make() -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        return {"x": rng.standard_normal((rows, width), dtype=np.float32), "labels": rng.integers(0, classes, rows)}

    return make


BASE = dict(num_hidden_layers=12, hidden_size=768, num_attention_heads=12, intermediate_size=3072)
WORKLOADS = {
    "minilm": Workload(lambda: bert(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536),
                       text(16, 64, 30522, 2), "cross-entropy"),
    "bert-base": Workload(lambda: bert(**BASE), text(32, 128, 30522, 2), "cross-entropy"),
    "gpt2-mini": Workload(lambda: gpt2(n_layer=4, n_embd=512, n_head=8, vocab_size=5000, n_positions=256),
                          text(4, 128, 5000, None), "causal-lm", ("lm_head",)),
    "gpt2": Workload(lambda: gpt2(), text(8, 512, 50257, None), "causal-lm", ("lm_head",)),
    "llama-1b": Workload(lambda: llama(num_hidden_layers=22, hidden_size=2048, intermediate_size=5632, num_attention_heads=32,
                                       num_key_value_heads=4, vocab_size=32000), text(4, 512, 32000, None), "causal-lm", ("lm_head",)),
    "mlp": Workload(lambda: mlp(784, 1024, 1024, 10), vectors(64, 784, 10), "cross-entropy"),
    "mlp-wide": Workload(lambda: mlp(*[2048] * 9), vectors(512, 2048, 2048), "cross-entropy"),
    # Large graphs of small weights.
    **{f"deep-{n}": Workload(lambda n=n: bert(num_hidden_layers=n, hidden_size=32, num_attention_heads=2, intermediate_size=64),
                             text(2, 8, 30522, 2), "cross-entropy") for n in (12, 24, 48, 96)},
}


def export(workload: Workload, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = workload.batch()
    names = [n for n in batch if n != "labels"]
    axes = {n: {0: "batch", 1: "seq"} if batch[n].dtype == np.int64 else {0: "batch"} for n in names}
    axes["logits"] = {0: "batch", 1: "seq"} if workload.loss == "causal-lm" else {0: "batch"}
    model = workload.build()
    whole = model.forward
    if len(names) == 2:  # nothing but these is an input of the graph, and a wrapper around the model would prefix every module path
        model.forward = lambda input_ids, attention_mask: whole(input_ids=input_ids, attention_mask=attention_mask)[0]
    inputs = tuple(torch.from_numpy(batch[n]) for n in names)
    torch.onnx.export(model, inputs, str(folder / "model.onnx"), dynamo=False, opset_version=17, input_names=names,
                      output_names=["logits"], dynamic_axes=axes)
    np.savez(folder / "batch.npz", **batch)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=WORKLOADS)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    export(WORKLOADS[args.name], args.folder)
