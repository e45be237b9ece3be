"""Runs what `loraify export` wrote with ONNX Runtime's adapter API and prints the largest relative difference to merged models.

    python scripts/check-adapter.py OPTIONAL.onnx BASE.onnx ADAPTER.onnx_adapter=MERGED.onnx ...

OPTIONAL.onnx is from --format onnx --inputs optional; one session serves all adapters. Needs onnxruntime and numpy.
"""

import sys

import numpy as np
import onnxruntime

optional, base, *pairs = sys.argv[1:]
onnxruntime.set_default_logger_severity(3)
served = onnxruntime.InferenceSession(optional)
random = np.random.default_rng(0)
types = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": bool}


def made_up(value):
    shape = [d if isinstance(d, int) else 4 for d in value.shape]
    if types[value.type] == np.float32:
        return random.normal(size=shape).astype(np.float32)
    return random.integers(0, 2, size=shape).astype(types[value.type])


feeds = {value.name: made_up(value) for value in served.get_inputs()}


def difference(file, options):
    """||a - b|| / ||b|| of the output that differs most."""
    expected = onnxruntime.InferenceSession(file).run(None, feeds)
    got = served.run(None, feeds, options)
    return max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(got, expected) if b.dtype == np.float32)


print(f"no adapter: {difference(base, None):.1e} to {base}")
for pair in pairs:
    file, merged = pair.split("=")
    adapter = onnxruntime.LoraAdapter()
    adapter.Load(file)
    options = onnxruntime.RunOptions()
    options.add_active_adapter(adapter)
    print(f"{file}: {difference(merged, options):.1e} to {merged}; {difference(base, options):.1e} to {base}")
