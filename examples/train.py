"""Trains a package from Python: no loraify here, only ONNX Runtime. Usage: python train.py PACKAGE digits.csv"""
import json, sys
import numpy as np, onnxruntime
from safetensors.numpy import load_file

package, data = sys.argv[1:]
layers = json.load(open(f"{package}/loraify.json"))["layers"]
start = load_file(f"{package}/adapter/adapter_model.safetensors")  # PEFT stores A and B transposed
params = np.concatenate([start[f"base_model.model.{l['path']}.lora_{k}.weight"].T.ravel() for l in layers for k in "AB"])
state = {"lora_params": params, "lora_m": 0 * params, "lora_v": 0 * params, "lora_step": np.array(0, np.float32)}
rows = np.loadtxt(data, delimiter=",", skiprows=1, dtype=np.int64)
session = onnxruntime.InferenceSession(f"{package}/train.onnx")
names = [output.name for output in session.get_outputs()]
for step in range(200):
    batch = rows[np.random.default_rng(step).integers(len(rows), size=32)]
    images = np.rot90(batch[:, :64].reshape(-1, 8, 8), -1, (1, 2)).reshape(-1, 64).astype(np.float32) / 16
    feeds = {"image": images, "labels": batch[:, 64], "lora_lr": np.array(0.01, np.float32), **state}
    out = dict(zip(names, session.run(None, feeds)))
    state = {name: out[f"{name}_next"] for name in state}
    if step % 50 == 49: print(f"step {step + 1}: loss {out['loss']:.4f}, gradient norm {out['grad_norm']:.3f}")
