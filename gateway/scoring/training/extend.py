"""Adds sources to a fitted scorer whose own prompts are gone: more experts beside those it has, which stay as they are.

A new expert begins as what the others together say of its prompts and departs from it as far as its measurements carry
it. So a few hundred prompts cannot make worse what is known, and thousands can replace it.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.scoring.training.design import Matrix
from gateway.scoring.training.fit import SPREAD, Fitted, Source, Vector, all_levels
from gateway.scoring.training.store import Memory

_CLOSE = 30.0
"""Ridge by which an expert follows the others' prediction: it has no noise, so it may be followed closely."""
_VOTE = 300.0
"""What each source weighs in fitting the mix, against a normal prior of 1 on its weights. From 30 to 3,000 it makes a
difference of 0.01 to APGR at most."""


def extend(fitted: Fitted, memory: Memory, sources: Sequence[Source]) -> Fitted:
    """Needs scipy."""
    rows = [fitted.standardised(one.meanings, one.features) for one in sources]
    experts = [_expert(fitted, one, x) for one, x in zip(sources, rows, strict=True)]
    return msgspec.structs.replace(
        fitted,
        need=np.concatenate([fitted.need, np.array([need for need, _ in experts], np.float32)]),
        levels=np.concatenate([fitted.levels, np.array([levels for _, levels in experts], np.float32)]),
        gate=np.concatenate([fitted.gate, _gates(fitted, memory, rows)]),
        trust=np.concatenate([fitted.trust, np.array([one.trust for one in sources], np.float32)]),
        sources=(*fitted.sources, *(one.name for one in sources)),
    )


def _expert(fitted: Fitted, source: Source, x: Matrix) -> tuple[Vector, list[Vector]]:
    known, levels, _ = fitted.predict(source.meanings, source.features)
    target = source.target()
    offset = (float(source.gain().mean()) + source.bonus) / 2
    need = _departed(x, known, SPREAD * (target - target.mean()) / target.std() + offset, source.alpha)
    return need, [
        _departed(x, levels[:, at], p, source.alpha) for at, p in enumerate(all_levels(source.levels))
    ]


def _departed(x: Matrix, known: npt.ArrayLike, measured: Vector, alpha: float) -> Vector:
    """What is known, as a line, and what the measurements are off it."""
    start = _ridge(x, np.asarray(known, np.float64), _CLOSE)
    return start + _ridge(x, measured - x @ start, alpha)


def _ridge(x: Matrix, y: Vector, alpha: float) -> Vector:
    """The constant goes free."""
    wide = x[:, :-1].astype(np.float64)
    middle = wide.mean(axis=0)
    centred = wide - middle
    weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(wide.shape[1]), centred.T @ (y - y.mean()))
    return np.append(weights, y.mean() - middle @ weights)


def _gates(fitted: Fitted, memory: Memory, rows: Sequence[Matrix]) -> Matrix:
    """Multinomial logistic regression of the new sources against all older ones together, whose shares among each other
    stay what they are. [new, d + 1]"""
    from scipy.optimize import minimize
    from scipy.special import log_softmax, logsumexp

    old = [memory.sample(name) for name in fitted.sources]
    x = np.concatenate([*old, *rows]).astype(np.float64)
    together = logsumexp(x @ fitted.gate.T.astype(np.float64), axis=1)
    which = np.concatenate(
        [np.zeros(len(one), np.int64) for one in old]
        + [np.full(len(one), at + 1) for at, one in enumerate(rows)]
    )
    votes = np.concatenate([np.full(len(one), _VOTE / len(one)) for one in (*old, *rows)])
    truth = np.eye(len(rows) + 1)[which]
    penalised = np.append(np.ones(x.shape[1] - 1), 0.0)

    def loss(flat: Vector) -> tuple[float, Vector]:
        weights = flat.reshape(len(rows), -1)
        logs = log_softmax(np.column_stack([together, x @ weights.T]), axis=1)
        off = ((np.exp(logs) - truth) * votes[:, None])[:, 1:]
        value = -float((votes * (logs * truth).sum(axis=1)).sum())
        held = weights * penalised
        return value + float((held**2).sum()) / 2, (off.T @ x + held).ravel()

    found = minimize(loss, np.zeros(len(rows) * x.shape[1]), jac=True, method="L-BFGS-B")
    gates: Matrix = found.x.reshape(len(rows), -1).astype(np.float32)
    return gates
