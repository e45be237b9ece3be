"""Times one PyTorch + PEFT train step of a workload, the peer of our training graphs: r 8, alpha 16 on every Linear, AdamW, gradient norm
clipped at 1. Prints one JSON document.

Needs: torch transformers peft numpy.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from workloads import WORKLOADS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def loss_of(kind: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if kind == "causal-lm":
        logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return nn.functional.cross_entropy(logits.float(), labels)


def measure(name: str, device: str, threads: int, warmup: int, steps: int, attention: str, mode: str, dtype: str, rate: float,
            save_init: Path | None) -> dict:
    workload = WORKLOADS[name]
    if device == "cpu":
        torch.set_num_threads(threads)
    else:
        torch.backends.cuda.matmul.allow_tf32 = True  # as ONNX Runtime does
        torch.backends.cudnn.allow_tf32 = True
    model = workload.build()
    if hasattr(model, "set_attn_implementation"):
        model.set_attn_implementation(attention)
    model = model.to(DTYPES[dtype])
    # By name: "all-linear" leaves the head out, and the task type SEQ_CLS would train the head in full.
    targets = [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D)) and n not in workload.exclude]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets)).train().to(device)
    if save_init:
        model.save_pretrained(save_init)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=rate, weight_decay=0.0, fused=device == "cuda")
    batch = {k: torch.from_numpy(v).to(device) for k, v in workload.batch().items()}
    labels = batch.pop("labels")
    inputs = [v.to(DTYPES[dtype]) if v.is_floating_point() else v for v in batch.values()]

    def forward() -> torch.Tensor:
        out = model(**dict(zip(batch, inputs))) if len(batch) > 1 or "input_ids" in batch else model(*inputs)
        return loss_of(workload.loss, out if isinstance(out, torch.Tensor) else out[0], labels)

    run = forward if mode == "eager" else torch.compile(forward, mode=None if mode == "compile" else "reduce-overhead")
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times, cpu, losses = [], [], []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(warmup + steps):
        wait()
        start, used = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = run()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        losses.append(loss.item())
        wait()
        times.append((time.perf_counter() - start) * 1000)
        cpu.append((time.process_time() - used) * 1000)
    times = times[warmup:]
    memory = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "workload": name, "mode": mode, "dtype": dtype, "threads": threads, "attention": attention, "layers": len(targets),
        "trainable": sum(p.numel() for p in params), "steps": steps,
        "median_ms": round(statistics.median(times), 2), "min_ms": round(min(times), 2),
        "cpu_ms": round(statistics.median(cpu[warmup:]), 2), "peak_mib": round(memory), "losses": losses,  # untimed steps first
        "versions": {"torch": torch.__version__, "peft": peft.__version__, "transformers": transformers.__version__},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=WORKLOADS)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=5, help="untimed steps first")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa",
                        help="sdpa is the default of transformers; on few CPU threads eager is the faster one: take the better as the peer")
    parser.add_argument("--mode", choices=["eager", "compile", "reduce-overhead"], default="eager")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the frozen base; the adapter is float32")
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate")
    parser.add_argument("--save-init", type=Path, metavar="DIR", help="write the adapter before step 0, to start another peer from it")
    print(json.dumps(measure(**vars(parser.parse_args()))))
