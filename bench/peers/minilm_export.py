"""Makes a MiniLM-size BERT classifier as ONNX (random seeded weights, float32, opset 17): the model of the training benchmarks.
Beside it, batch.npz: input_ids, attention_mask [16, 64] and labels [16].

Needs: torch==2.13.0 transformers onnx numpy.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

SIZE = dict(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536)
BATCH, LENGTH = 16, 64


def build(**size: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
                        return_dict=False, **size)  # a tuple: the exporter then needs no wrapper, which would prefix every module path
    config._attn_implementation = "eager"  # plain MatMul and Softmax in the export; the peer's own choice is torch_step.py's
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():  # fresh biases and norms are all equal: the exporter would share them behind Identity nodes
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.02)
    return model


def make_batch(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "input_ids": rng.integers(1000, 30522, (BATCH, LENGTH)),
        "attention_mask": np.ones((BATCH, LENGTH), np.int64),  # full length: no peer gains by skipping padding
        "labels": rng.integers(0, 2, BATCH),
    }


def export(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = make_batch()
    inputs = tuple(torch.from_numpy(batch[k]) for k in ("input_ids", "attention_mask"))
    axes = {"input_ids": {0: "batch", 1: "seq"}, "attention_mask": {0: "batch", 1: "seq"}, "logits": {0: "batch"}}
    torch.onnx.export(model, inputs, path, dynamo=False, opset_version=17, input_names=["input_ids", "attention_mask"],
                      output_names=["logits"], dynamic_axes=axes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="where to write the ONNX file")
    path = parser.parse_args().path
    export(build(**SIZE), path)
    np.savez(path.parent / "batch.npz", **make_batch())
