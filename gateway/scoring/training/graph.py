"""Writes the whole scorer, from token ids to probabilities, as one ONNX graph. Needs `onnx`."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from gateway.scoring.training.base import NAMES, Base
from gateway.scoring.training.design import BLOCKS, PICKED
from gateway.scoring.training.fit import CAP, Fitted

_OPSET = 17
_IR = 9  # what onnxruntime 1.17 and later read
_TINY = 1e-6


def write_graph(base: Base, fitted: Fitted, path: Path) -> None:
    """Inputs ids [n], counts [k, n], opening [k, n], structure [k, ...]; outputs have a row for each of the k."""
    structure = len(dict(BLOCKS)["structure"])
    build = _Build()
    for name in NAMES:
        build.hold(name, getattr(base, name))
    meaning = _meaning(build)
    features = _features(build)
    build.hold("meaning_mean", fitted.meaning_mean)
    build.hold("meaning_scale", np.float32(fitted.meaning_scale))
    build.hold("feature_mean", fitted.feature_mean)
    build.hold("feature_scale", fitted.feature_scale)
    centred = build("Div", build("Sub", meaning, "meaning_mean"), "meaning_scale")
    level = build("Div", build("Sub", features, "feature_mean"), "feature_scale")
    capped = build("Clip", level, build.number(-CAP), build.number(CAP))
    x = build("Concat", centred, capped, axis=1)

    mix = build("Softmax", _linear(build, x, "gate", fitted.gate), axis=1, output="mix")
    needs = _linear(build, x, "need", fitted.need)
    build.hold("by_hand", fitted.by_hand[:, None])
    axis = build.integers([1])
    need = build("ReduceSum", build("Mul", mix, needs), axis, keepdims=1)
    build("Squeeze", build("Add", need, build("MatMul", "structure", "by_hand")), axis, output="need")
    sources, levels, _ = fitted.levels.shape
    flat = _linear(build, x, "levels", fitted.levels.reshape(sources * levels, -1))
    each = build("Clip", flat, build.number(0.02), build.number(0.98))
    shaped = build("Reshape", each, build.integers([-1, sources, levels]))
    build.hold("trust", fitted.trust)
    trusted = build("Mul", mix, "trust")
    shares = build("Div", trusted, build("ReduceSum", trusted, axis, keepdims=1))
    weighed = build("Mul", shaped, build("Unsqueeze", shares, build.integers([2])))
    build("ReduceSum", weighed, axis, keepdims=0, output="levels")
    build("Softmax", _linear(build, x, "kind", fitted.kind), axis=1, output="kinds")

    floats, width = TensorProto.FLOAT, base.table.shape[1]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        build.nodes,
        "weighbridge scorer",
        [
            value("ids", TensorProto.INT32, ["n"]),
            value("counts", floats, ["k", "n"]),
            value("opening", floats, ["k", "n"]),
            value("structure", floats, ["k", structure]),
        ],
        [
            value("need", floats, ["k"]),
            value("levels", floats, ["k", levels]),
            value("mix", floats, ["k", sources]),
            value("kinds", floats, ["k", len(fitted.kinds)]),
            value("read", floats, ["k", 1]),
            value("meaning", floats, ["k", width]),
            value("features", floats, ["k", len(PICKED)]),
        ],
        build.held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _meaning(build: "_Build") -> str:
    """The weighted mean of the vectors, of length one; and which share of the tokens had any, as the output `read`."""
    rows = build("Cast", build("Gather", "rows", "ids", axis=0), to=TensorProto.INT32)
    vectors = build("Cast", build("Gather", "table", rows, axis=0), to=TensorProto.FLOAT)
    weight = build("Gather", "weight", rows, axis=0)
    repeated = build("Log", build("Add", "counts", build.number(1.0)))
    scaled = build("Mul", repeated, build("Mul", weight, build("Gather", "scale", rows, axis=0)))
    summed = build("MatMul", scaled, vectors)
    length = build("ReduceL2", summed, axes=[1], keepdims=1)
    meaning = build("Div", summed, build("Max", length, build.number(_TINY)), output="meaning")
    is_read = build("Cast", build("Greater", weight, build.number(0.0)), to=TensorProto.FLOAT)
    known = build("ReduceSum", build("Mul", "counts", is_read), build.integers([1]), keepdims=1)
    every = build("ReduceSum", "counts", build.integers([1]), keepdims=1)
    build("Div", known, build("Max", every, build.number(1.0)), output="read")
    return meaning


def _features(build: "_Build") -> str:
    axis = build.integers([1])
    one = build.number(1.0)
    which = build("Cast", build("Gather", "combination", "ids", axis=0), to=TensorProto.INT32)
    classes = build("Gather", "classes", which, axis=0)
    once = build("Min", "counts", one)
    every = build("ReduceSum", "counts", axis, keepdims=1)
    different = build("ReduceSum", once, axis, keepdims=1)
    total = build("MatMul", "counts", classes)
    blocks = {
        "total": build("Log", build("Add", total, one)),
        "distinct": build("Log", build("Add", build("MatMul", once, classes), one)),
        "share": build("Div", total, build("Max", every, one)),
        "opening": build("Min", build("MatMul", "opening", classes), build.number(2.0)),
        "tokens": build("Log", build("Add", build("Concat", every, different, axis=1), one)),
        "structure": "structure",
    }
    joined = build("Concat", *(blocks[name] for name, _ in BLOCKS), axis=1)
    return build("Gather", joined, build.integers(PICKED), axis=1, output="features")


def _linear(build: "_Build", x: str, name: str, weights: npt.NDArray[np.float32]) -> str:
    build.hold(f"{name}_weights", np.ascontiguousarray(weights[:, :-1].T))
    build.hold(f"{name}_constant", weights[:, -1])
    return build("Gemm", x, f"{name}_weights", f"{name}_constant")


class _Build:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self._constants: dict[str, str] = {}

    def __call__(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def hold(self, name: str, value: npt.ArrayLike) -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        self.held.append(numpy_helper.from_array(array, name))
        return name

    def number(self, value: float) -> str:
        return self._constant(f"number_{value}", np.array(value, np.float32))

    def integers(self, values: list[int]) -> str:
        return self._constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def _constant(self, name: str, value: npt.ArrayLike) -> str:
        if name not in self._constants:
            self._constants[name] = self.hold(name, value)
        return self._constants[name]
