"""Runs what people run on exported files over export packs of make.py: simplifiers, optimizers, quantizers.

    python tools.py PACKS OUT [--tools onnxsim,onnxslim,…] [--only 'bert.*']

Each pack and tool gets a pack of its own, which check.mjs reads: the same adapter, batch and gradients, and the file that
the tool wrote. Gradients of quantized files are compared with those of the unquantized model, so their tolerance is wide.
Needs onnx, onnxruntime; onnxsim and onnxslim for these tools.
"""

import argparse
import fnmatch
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx


def onnxsim(source: Path, target: Path, _: str) -> None:
    import onnxsim as tool

    model, right = tool.simplify(onnx.load(source))
    if not right:
        raise ValueError("onnxsim's own check failed")
    onnx.save(model, target)


def onnxslim(source: Path, target: Path, _: str) -> None:
    import onnxslim as tool

    onnx.save(tool.slim(onnx.load(source)), target)


def load(file: Path, optimized: Path | None = None) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if optimized is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(optimized)
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def basic(source: Path, target: Path, _: str) -> None:
    """What ONNX Runtime itself writes with optimized_model_filepath."""
    load(source, target)


def transformers(source: Path, target: Path, name: str) -> None:
    from onnxruntime.transformers.optimizer import optimize_model

    kinds = {"gpt2": "gpt2", "t5": "t5", "bart": "bart", "vit": "vit", "swin": "swin", "phi": "phi", "whisper": "bart"}
    # No kind for llama and its like: theirs has the same fusions.
    kind = next((k for n, k in kinds.items() if name.startswith(n)), "bert")
    optimize_model(str(source), kind, num_heads=0, hidden_size=0, opt_level=0, use_gpu=False).save_model_to_file(str(target))


def quantize_dynamic(source: Path, target: Path, _: str) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic as tool

    tool(str(source), str(target), weight_type=QuantType.QInt8, per_channel=True)


def nbits(source: Path, target: Path, _: str) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(onnx.load(source), bits=8, block_size=16, is_symmetric=True)
    quantizer.process()
    onnx.save(quantizer.model.model if hasattr(quantizer.model, "model") else quantizer.model, target)


def qdq(source: Path, target: Path, _: str) -> None:
    """Weights alone behind DequantizeLinear."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer, QuantFormat

    # This form has 4 bits only.
    quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=16, is_symmetric=True, quant_format=QuantFormat.QDQ)
    quantizer.process()
    onnx.save(quantizer.model.model if hasattr(quantizer.model, "model") else quantizer.model, target)


def float16(source: Path, target: Path, _: str) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True, disable_shape_infer=True), target)


# The tolerance of gradients, where a tool rounds weights or activations.
TOOLS: dict[str, tuple[Callable[[Path, Path, str], None], float | None]] = {
    "onnxsim": (onnxsim, None),
    "onnxslim": (onnxslim, None),
    "ort": (basic, 1e-3),
    "transformers": (transformers, 1e-3),
    "dynamic": (quantize_dynamic, 0.5),
    "nbits": (nbits, 0.1),
    "qdq": (qdq, 0.7),
    "float16": (float16, 5e-2),
}


def derive(pack: Path, tool: str, out: Path) -> str:
    expected = json.loads((pack / "expected.json").read_text())
    run, tolerance = TOOLS[tool]
    folder = out / f"{pack.name}.{tool}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pack, folder, ignore=shutil.ignore_patterns("model.onnx*"))
    try:
        run(pack / "model.onnx", folder / "model.onnx", pack.name)
        load(folder / "model.onnx")
    except Exception as error:  # noqa: BLE001: whatever a tool raises makes the file unusable
        expected["unusable"] = f"{tool}: {type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''}"
    if tolerance is not None:
        expected["tolerance"] = tolerance
    # Modules packed into one Attention are adapted where a target names them.
    expected["packed"] = tool in ("ort", "transformers")
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    return f"{folder.name}: {expected.get('unusable', 'made')}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packs")
    parser.add_argument("out")
    parser.add_argument("--tools", default=",".join(TOOLS))
    parser.add_argument("--only", default="*")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    for pack in sorted(Path(args.packs).iterdir()):
        if not any(fnmatch.fnmatch(pack.name, o) for o in args.only.split(",")):
            continue
        if "unusable" in json.loads((pack / "expected.json").read_text()):
            continue
        for tool in args.tools.split(","):
            print(derive(pack, tool, Path(args.out)), flush=True)
