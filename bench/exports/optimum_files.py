"""Exports a model of zoo.py as Optimum's command line does: `main_export` on a folder that transformers saved.

Needs optimum-onnx, whose transformers is older than that of the other exporters: an environment of its own.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from zoo import WIDE

# What Optimum calls the head of a class, by the end of the class's name.
TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForImageClassification": "image-classification",
    "ForSemanticSegmentation": "semantic-segmentation",
    "ForCTC": "automatic-speech-recognition",
    "ForAudioClassification": "audio-classification",
    "Model": "feature-extraction",
}
CACHES = "-with-past"
# The width of a head, which the model builder leaves open.
HEAD = WIDE["head_dim"]


def task_of(model: nn.Module, caches: bool) -> str:
    name = type(model).__name__
    task = next((t for end, t in TASKS.items() if name.endswith(end)), None)
    if task == "text-classification" and model.main_input_name == "input_values":
        task = "audio-classification"
    if task is None:
        raise ValueError(f"{name} is none of Optimum's tasks here")
    if caches and task != "text-generation":
        raise ValueError(f"{name} has no caches")
    return task + CACHES if caches else task


def export(model: nn.Module, caches: bool, folder: Path) -> None:
    """Writes model.onnx and config.json."""
    from optimum.exporters.onnx import main_export

    task = task_of(model, caches)
    with tempfile.TemporaryDirectory() as scratch:
        saved, made = Path(scratch, "model"), Path(scratch, "onnx")
        if getattr(model, "generation_config", None) is not None:
            model.config.use_cache = caches
            model.generation_config.use_cache = caches
        model.save_pretrained(saved)
        # Sequences longer than the table of positions would be an error of the model.
        shapes = {} if hasattr(model.config, "image_size") else {"sequence_length": 8, "batch_size": 2}
        main_export(str(saved), str(made), task=task, do_validation=False, no_post_process=True, device="cpu", **shapes)
        model.config.use_cache = False
        for name in ("model.onnx", "config.json"):
            shutil.copy(made / name, folder / name)


def completed(inputs: dict[str, np.ndarray], wanted: list) -> dict[str, np.ndarray]:
    """The inputs of a file beside the model's own: positions that count up, and caches of length 0."""
    made = {k.name: inputs[k.name] for k in wanted if k.name in inputs}
    rows, length = next(iter(inputs.values())).shape[:2]
    for value in wanted:
        if value.name == "position_ids":
            made["position_ids"] = np.tile(np.arange(length, dtype=np.int64), (rows, 1))
        elif value.name.startswith("past_key_values"):
            sizes = {"batch_size": rows, "kv_cache_dim": HEAD}
            shape = [d if isinstance(d, int) else sizes.get(d, 0) for d in value.shape]
            made[value.name] = np.zeros(shape, np.float32)
    return made
