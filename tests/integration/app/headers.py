"""A checkpoint as the API looks at it before a worker loads anything."""

import json
import math
import os

SHAPES = {
    "model.language_model.layers.0.self_attn.q_proj.weight": [8, 8],
    "model.vision_tower.encoder.layers.0.mlp.fc1.weight": [16, 8],
    "model.multi_modal_projector.0.weight": [8, 8],
    "model.language_model.layers.0.input_layernorm.weight": [8],
    "lm_head.weight": [100, 8],
}


def write_header(file, shapes):
    """Tensors of these shapes, all of them zeros."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    content = json.dumps(header).encode()
    file.write_bytes(len(content).to_bytes(8, "little") + content)
    os.truncate(file, 8 + len(content) + end)
