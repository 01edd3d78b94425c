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
_NO_TRUST = -80.0
_COUNTED = ("total", "distinct", "tokens")
"""Blocks of which the logarithm is taken, for all of them at once."""


def write_graph(base: Base, fitted: Fitted, path: Path) -> None:
    """Inputs ids [n], counts [k, n], opening [k, n], structure [k, ...]; outputs have a row for each of the k.

    A node costs more than its arithmetic: what can be, is folded into weights, and all that is linear is one product.
    """
    build = _Build()
    for name in NAMES:
        build.hold(name, getattr(base, name))
    one = build.number(1.0)
    rows = build("Gather", "rows", "ids", axis=0)
    pull = build("Gather", "pull", rows, axis=0)
    every = build("ReduceSum", "counts", build.integers([1]), keepdims=1)
    at_least_one = build("Max", every, one)
    meaning = _meaning(build, rows, pull)
    build("Div", build("MatMul", "counts", build("Sign", pull)), at_least_one, output="read")
    features = _features(build, every, at_least_one)
    build.hold("least", fitted.feature_mean - CAP * fitted.feature_scale)
    build.hold("most", fitted.feature_mean + CAP * fitted.feature_scale)
    capped = build("Min", build("Max", features, "least"), "most")
    sizes = _heads(build, build("Concat", meaning, capped, axis=1), fitted)
    _need(build, fitted)
    _levels(build, fitted)

    floats, width = TensorProto.FLOAT, base.table.shape[1]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        build.nodes,
        "weighbridge scorer",
        [
            value("ids", TensorProto.INT32, ["n"]),
            value("counts", floats, ["k", "n"]),
            value("opening", floats, ["k", "n"]),
            value("structure", floats, ["k", len(dict(BLOCKS)["structure"])]),
        ],
        [
            value("need", floats, ["k"]),
            value("levels", floats, ["k", fitted.levels.shape[1]]),
            value("mix", floats, ["k", sizes["mix"]]),
            value("kinds", floats, ["k", sizes["kinds"]]),
            value("read", floats, ["k", 1]),
            value("meaning", floats, ["k", width]),
            value("features", floats, ["k", len(PICKED)]),
        ],
        build.held,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _meaning(build: "_Build", rows: str, pull: str) -> str:
    """The weighted mean of the vectors, of length one. A token's pull stands in its own row, [n, 1]."""
    vectors = build("Cast", build("Gather", "table", rows, axis=0), to=TensorProto.FLOAT)
    repeated = build("Log", build("Add", "counts", build.number(1.0)))
    summed = build("MatMul", repeated, build("Mul", vectors, pull))
    length = build("ReduceL2", summed, axes=[1], keepdims=1)
    return build("Div", summed, build("Max", length, build.number(_TINY)), output="meaning")


def _features(build: "_Build", every: str, at_least_one: str) -> str:
    which = build("Gather", "combination", "ids", axis=0)
    classes = build("Gather", "classes", which, axis=0)
    once = build("Min", "counts", build.number(1.0))
    different = build("ReduceSum", once, build.integers([1]), keepdims=1)
    total = build("MatMul", "counts", classes)
    counted = build("Concat", total, build("MatMul", once, classes), every, different, axis=1)
    blocks = {
        _COUNTED: build("Log", build("Add", counted, build.number(1.0))),
        ("share",): build("Div", total, at_least_one),
        ("opening",): build("Min", build("MatMul", "opening", classes), build.number(2.0)),
        ("structure",): "structure",
    }
    joined = build("Concat", *blocks.values(), axis=1)
    names = dict(BLOCKS)
    order = [(block, name) for those in blocks for block in those for name in names[block]]
    asked = [(block, name) for block, those in BLOCKS for name in those]
    picked = [order.index(asked[place]) for place in PICKED]
    return build("Gather", joined, build.integers(picked), axis=1, output="features")


def _heads(build: "_Build", x: str, fitted: Fitted) -> dict[str, int]:
    """All weights side by side, over meanings and features as they come: means and scales are folded in."""
    trusted = fitted.gate.astype(np.float64)
    with np.errstate(divide="ignore"):
        trusted[:, -1] += np.maximum(np.log(fitted.trust), _NO_TRUST)
    blocks: dict[str, npt.NDArray[Any]] = {
        "gates": fitted.gate,
        "trusted": trusted,
        "needs": fitted.need,
        "each": fitted.levels.reshape(-1, fitted.levels.shape[-1]),
        "kind": fitted.kind,
    }
    weights = np.concatenate(list(blocks.values())).astype(np.float64)
    middle = np.concatenate([fitted.meaning_mean, fitted.feature_mean])
    scale = np.concatenate([np.full(len(fitted.meaning_mean), fitted.meaning_scale), fitted.feature_scale])
    slopes = weights[:, :-1] / scale
    build.hold("weights", np.ascontiguousarray(slopes.T))
    build.hold("constants", weights[:, -1] - slopes @ middle)
    build.split(
        build("Gemm", x, "weights", "constants"), {name: len(block) for name, block in blocks.items()}
    )
    build("Softmax", "gates", axis=1, output="mix")
    build("Softmax", "kind", axis=1, output="kinds")
    return {"mix": len(fitted.gate), "kinds": len(fitted.kind)}


def _need(build: "_Build", fitted: Fitted) -> None:
    build.hold("by_hand", fitted.by_hand[:, None])
    axis = build.integers([1])
    mixed = build("ReduceSum", build("Mul", "mix", "needs"), axis, keepdims=1)
    build("Squeeze", build("Add", build("MatMul", "structure", "by_hand"), mixed), axis, output="need")


def _levels(build: "_Build", fitted: Fitted) -> None:
    """The mix of what each source says, which counts for as much as it is trusted."""
    sources, levels, _ = fitted.levels.shape
    each = build("Clip", "each", build.number(0.02), build.number(0.98))
    shaped = build("Reshape", each, build.integers([-1, sources, levels]))
    shares = build("Unsqueeze", build("Softmax", "trusted", axis=1), build.integers([2]))
    build("ReduceSum", build("Mul", shaped, shares), build.integers([1]), keepdims=0, output="levels")


class _Build:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.held: list[onnx.TensorProto] = []
        self._constants: dict[str, str] = {}

    def __call__(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def split(self, value: str, sizes: dict[str, int]) -> None:
        """Along the columns, into values of these names."""
        self.nodes.append(
            helper.make_node("Split", [value, self.integers(list(sizes.values()))], list(sizes), axis=1)
        )

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
