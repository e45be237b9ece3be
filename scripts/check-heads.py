"""Loads the heads of `loraify export --format peft` in transformers' classes and prints how far their logits are from the merged model.

    python scripts/check-heads.py DIST_BIN WORK_FOLDER

Each family's body is a small random model, exported with its config.json, compiled with --head, trained for some steps and
exported. Where the class of the family has another head, the adapter is loaded on the body with this head beside it, as the
warning of the export says. Needs node, torch, transformers, peft, onnxruntime.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers as t
from peft import PeftModel
from torch import nn

binary, work = sys.argv[1], Path(sys.argv[2])
SIZE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, attn_implementation="eager")
LLAMA = dict(SIZE, vocab_size=32, num_key_value_heads=1, max_position_embeddings=16, pad_token_id=0)
BERT = dict(SIZE, vocab_size=32, max_position_embeddings=16, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
GPT2 = dict(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0.0, attn_pdrop=0.0, embd_pdrop=0.0,
            pad_token_id=0, attn_implementation="eager")
VIT = dict(SIZE, image_size=8, patch_size=4, num_channels=1)
ROBERTA = dict(BERT, max_position_embeddings=20, pad_token_id=0)
TEXT, IMAGES = ["input_ids", "attention_mask"], ["pixel_values"]
PEFT_OF = {"classification": t.AutoModelForSequenceClassification, "token-classification": t.AutoModelForTokenClassification}

# body, head, inputs
CASES = [
    (t.LlamaModel, t.LlamaConfig(**LLAMA), "classification", TEXT),
    (t.LlamaForCausalLM, t.LlamaConfig(**LLAMA), "classification", TEXT),
    (t.LlamaModel, t.LlamaConfig(**LLAMA), "token-classification", TEXT),
    (t.Qwen2Model, t.Qwen2Config(**LLAMA), "classification", TEXT),
    (t.Qwen3ForCausalLM, t.Qwen3Config(**LLAMA, head_dim=8), "classification", TEXT),
    (t.GPT2Model, t.GPT2Config(**GPT2), "classification", TEXT),
    (t.GPT2LMHeadModel, t.GPT2Config(**GPT2), "token-classification", TEXT),
    (t.BertModel, t.BertConfig(**BERT), "token-classification", TEXT),
    (t.RobertaModel, t.RobertaConfig(**ROBERTA), "token-classification", TEXT),
    (t.BertModel, t.BertConfig(**BERT), "classification", TEXT),
    (t.ViTModel, t.ViTConfig(**VIT), "classification", IMAGES),
]


class Exported(nn.Module):
    def __init__(self, model, inputs):
        super().__init__()
        for name, child in model.named_children():
            setattr(self, name, child)
        self.model_, self.inputs = [model], inputs

    def forward(self, *values):
        cache = {} if self.inputs == IMAGES or "bert" in self.model_[0].config.model_type else {"use_cache": False}
        return self.model_[0](**dict(zip(self.inputs, values)), **cache)[0]


class BodyAndHead(nn.Module):
    """The module that an adapter is loaded on whose head is not that of the family's class."""

    def __init__(self, body, classes):
        super().__init__()
        for name, child in body.named_children():
            setattr(self, name, child)
        self.body = [body]
        self.classifier = nn.Linear(body.config.hidden_size, classes)

    def forward(self, **inputs):
        return self.classifier(self.body[0](**inputs)[0][:, 0])


def cli(*args):
    done = subprocess.run(["node", binary, *map(str, args)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return done.stderr


for body, config, head, inputs in CASES:
    torch.manual_seed(0)
    name = f"{body.__name__}-{head}"
    folder = work / name
    folder.mkdir(parents=True)
    model = body(config, **({"add_pooling_layer": False} if body in [t.BertModel, t.ViTModel, t.RobertaModel] else {})).eval()
    model.save_pretrained(folder / "base")
    (folder / "config.json").write_text((folder / "base/config.json").read_text())
    rng = np.random.default_rng(0)
    if inputs == TEXT:
        mask = (np.arange(6) < np.array([[6], [4], [2], [5]])).astype(np.int64)
        values = {"input_ids": rng.integers(1, 32, (4, 6)) * mask, "attention_mask": mask}
    else:
        values = {"pixel_values": rng.normal(size=(4, 1, 8, 8)).astype(np.float32)}
    output = "logits" if "For" in body.__name__ or "LMHead" in body.__name__ else "last_hidden_state"
    axes = {n: {0: "batch", 1: "seq"} if inputs == TEXT else {0: "batch"} for n in [*inputs, output]}
    torch.onnx.export(Exported(model, inputs), tuple(torch.tensor(v) for v in values.values()), folder / "model.onnx",
                      input_names=inputs, output_names=[output], dynamic_axes=axes, dynamo=False, opset_version=17)
    labels = rng.integers(0, 3, (4, 6) if head == "token-classification" else (4,))
    np.savez(folder / "data.npz", **values, labels=labels)
    cli(folder / "model.onnx", "--head", head, "--labels", "a,b,c", "-o", folder / "x.lora")
    cli("train", folder / "x.lora", "--data", folder / "data.npz", "--steps", 20, "--lr", 0.02, "-o", folder / "run")
    said = cli("export", folder / "x.lora", "--adapter", folder / "run/adapter", "--format", "peft", "-o", folder / "peft")
    (folder / "merged").mkdir()
    cli("merge", folder / "x.lora", "--adapter", folder / "run/adapter", "-o", folder / "merged/model.onnx")
    names = json.loads((folder / "merged/config.json").read_text())["id2label"]
    assert names == {"0": "a", "1": "b", "2": "c"}, names
    expected = onnxruntime.InferenceSession(folder / "merged/model.onnx").run(["logits"], values)[0]
    if "beside it" in said:
        base = BodyAndHead(model, 3)
    else:
        auto = t.AutoModelForImageClassification if inputs == IMAGES else PEFT_OF[head]
        base = auto.from_pretrained(folder / "base", num_labels=3, attn_implementation="eager")
    loaded = PeftModel.from_pretrained(base, folder / "peft").eval()
    with torch.no_grad():
        got = loaded(**{k: torch.tensor(v) for k, v in values.items()})
    got = (got if torch.is_tensor(got) else got.logits).numpy()
    counted = values["attention_mask"].astype(bool) if head == "token-classification" else np.ones(len(got), bool)
    error = np.linalg.norm((got - expected)[counted]) / np.linalg.norm(expected[counted])
    print(f"{name}: {type(base).__name__}, {error:.1e}", flush=True)
    assert error < 1e-5, name
