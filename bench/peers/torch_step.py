"""Times one eager PyTorch + PEFT train step, the peer of our train.onnx: MiniLM-size BERT, r 8, alpha 16 on every Linear,
AdamW, gradient norm clipped at 1, batch 16 x 64. Prints one JSON document.

Needs: torch==2.13.0 transformers peft==0.21.* numpy.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from pathlib import Path

import peft
import torch
import transformers
from peft import LoraConfig, get_peft_model
from torch import nn

from minilm_export import SIZE, build, make_batch


def measure(threads: int, warmup: int, steps: int, attention: str, save_init: Path | None) -> dict:
    torch.set_num_threads(threads)
    model = build(**SIZE)
    model.set_attn_implementation(attention)
    # By name: "all-linear" leaves the head out, and the task type SEQ_CLS would train the head in full.
    targets = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=targets)).train()
    if save_init:
        model.save_pretrained(save_init)
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0)
    batch = {k: torch.from_numpy(v) for k, v in make_batch().items()}
    labels = batch.pop("labels")

    times, cpu, losses = [], [], []
    for _ in range(warmup + steps):
        start, used = time.perf_counter(), time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(**batch)[0], labels)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        losses.append(loss.item())
        times.append((time.perf_counter() - start) * 1000)
        cpu.append((time.process_time() - used) * 1000)
    times = times[warmup:]
    return {
        "peer": "pytorch-eager", "model": "minilm", "batch": list(batch["input_ids"].shape), "threads": threads, "attention": attention,
        "layers": len(targets), "trainable": sum(p.numel() for p in params), "steps": steps,
        "median_ms": round(statistics.median(times), 2), "min_ms": round(min(times), 2), "max_ms": round(max(times), 2),
        "cpu_ms": round(statistics.median(cpu[warmup:]), 2),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 * 1024 if sys.platform == "darwin" else 1024),
        "losses": losses,  # untimed steps first
        "versions": {"torch": torch.__version__, "peft": peft.__version__, "transformers": transformers.__version__},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=5, help="untimed steps first")
    parser.add_argument("--steps", type=int, default=20, help="timed steps")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa",
                        help="sdpa is the default of transformers; on few CPU threads eager is the faster one: take the better as the peer")
    parser.add_argument("--save-init", type=Path, metavar="DIR", help="write the adapter before step 0, to start another peer from it")
    print(json.dumps(measure(**vars(parser.parse_args()))))
