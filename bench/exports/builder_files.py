"""Exports a decoder of zoo.py with onnxruntime-genai's model builder, in float32. Needs onnxruntime-genai."""

import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import transformers
from tokenizers import Tokenizer, models
from torch import nn


def export(model: nn.Module, file: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        saved, made = Path(scratch, "model"), Path(scratch, "onnx")
        if hasattr(model.config, "original_max_position_embeddings"):
            # Otherwise it writes the tables of two lengths, which need LongRoPE's factors.
            model.config.original_max_position_embeddings = model.config.max_position_embeddings
        model.save_pretrained(saved)
        # The builder asks for a tokenizer.
        words = {f"t{i}": i for i in range(model.config.vocab_size)}
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="t0")), unk_token="t0", eos_token="t2"
        ).save_pretrained(saved)
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", saved, "-o", made, "-p", "fp32"]
        done = subprocess.run([*command, "-e", "cpu", "-c", Path(scratch, "cache")], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        onnx.save(onnx.load(made / "model.onnx"), file)
