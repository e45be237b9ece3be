"""Makes a BERT-base-size classifier in one ONNX file of about 440 MB (random seeded weights, float32, opset 17): the load for
compile time and memory.

Needs: torch==2.13.0 transformers onnx.
"""

import argparse
from pathlib import Path

from minilm_export import build, export

SIZE = dict(num_hidden_layers=12, hidden_size=768, num_attention_heads=12, intermediate_size=3072)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="where to write the ONNX file")
    export(build(**SIZE), parser.parse_args().path)
