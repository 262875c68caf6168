"""Writes ggml_blocks.json: random blocks of every ggml layout that the engine decodes, with the values that the
Python package `gguf` (numpy only, no ggml) makes of them.

    python3 -m venv venv && venv/bin/pip install gguf==0.19.0 numpy
    venv/bin/python ggml_blocks.py > ggml_blocks.json
"""

import json

import gguf
import numpy as np

# Byte offsets of the half-precision numbers in a block: random bits there would be infinite or not a number.
HALVES = {"F16": [0], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}

random = np.random.default_rng(20240811)
cases = []
for name in ["F32", "F16", "BF16", *list(HALVES)[1:]]:
    kind = gguf.GGMLQuantizationType[name]
    values_per_block, bytes_per_block = gguf.GGML_QUANT_SIZES[kind]
    n_blocks = 8 if values_per_block == 1 else 2
    if name in ("F32", "BF16"):
        numbers = random.normal(size=n_blocks).astype(np.float32)
        data = numbers.view(np.uint8) if name == "F32" else (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    else:
        blocks = random.integers(0, 256, size=(n_blocks, bytes_per_block), dtype=np.uint8)
        for offset in HALVES[name]:
            blocks[:, offset:offset + 2] = random.normal(scale=0.05, size=(n_blocks, 1)).astype(np.float16).view(np.uint8)
        data = blocks.reshape(-1)
    values = gguf.dequantize(data, kind).reshape(-1)
    cases.append({"storage": name, "bytes": data.tobytes().hex(), "values": [float(f"{v:.8g}") for v in values]})
print("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "]")
