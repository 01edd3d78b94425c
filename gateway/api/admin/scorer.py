"""The scorer, for admins: what is loaded, what it says of prompts, and why."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from gateway.api.bodies import invalid, json_body, read_object
from gateway.catalogue import is_auto
from gateway.errors import ConfigError, InvalidRequestError, NotFoundError, UnavailableError
from gateway.ledger.views import iso
from gateway.scoring.contract import Calibration, Prompt, Scorable, Scorer
from gateway.scoring.deep import Deep
from gateway.scoring.prompt import prompt_of
from gateway.values import Score
from policies.cascade import Cascade
from policies.registry import Registry

if TYPE_CHECKING:  # it needs numpy, which a gateway that serves by words and length may lack
    from gateway.scoring.explain import Explainer

MOST_PROMPTS = 256
BODY_BYTES = 1_048_576

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class _About(msgspec.Struct, kw_only=True):
    """Whatever else a chat request holds may stay in; of it `tools` and `response_format` count."""

    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)] | None = None
    """A conversation, as in a chat request."""
    model: Name | None = None
    """Only of this model; left out, or `auto`: of all that answer chats."""
    tenant: Name | None = None
    """Whose outcomes adjust the predictions; left out: nobody's."""


class ScoreBody(_About, kw_only=True):
    prompts: Annotated[list[str], msgspec.Meta(min_length=1, max_length=MOST_PROMPTS)] | None = None
    """Instead of `messages`: single user turns, for one number each."""


class ExplainBody(_About, kw_only=True):
    prompt: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """Instead of `messages`: a single user turn."""


_B = TypeVar("_B", bound=_About)


class Learnt(Calibration, Protocol):
    refreshed_ms: int | None
    """When outcomes were last read."""
    outcomes: int
    """How many."""


class ScorerDesk:
    """What the handlers need."""

    def __init__(
        self,
        scorer: Scorer,
        version: str,
        candidates: Sequence[Scorable],
        *,
        explainer: "Explainer | None",
        learnt: Learnt | None,
        deep: Deep | None,
        check_tenant: Callable[[str], object],
    ) -> None:
        """`explainer` is there when the model serves; `check_tenant` blocks, and raises AccountError for an unknown."""
        self._scorer = scorer
        self._version = version
        self._candidates = candidates
        self._explainer = explainer
        self._learnt = learnt
        self._deep = deep
        self._check_tenant = check_tenant

    async def scores(self, prompts: Sequence[str]) -> dict[str, Any]:
        return await asyncio.to_thread(self._scores, [_user_turn(text) for text in prompts])

    async def score(self, prompt: Prompt, about: _About) -> dict[str, Any]:
        """As routing sees it: looked at again if it is near, and adjusted to the tenant."""
        candidates = self._named(about.model)
        need, score = await asyncio.to_thread(self._one, prompt, candidates, about.tenant)
        is_near = self._deep is not None and self._deep.is_near(score)
        if self._deep is not None and is_near:
            score = await self._deep.refine(prompt, score)
        adjusted = self._adjusted(about.tenant, score)
        return {
            "version": self._version,
            "need": need,
            "complexity": score.complexity,
            "category": score.category,
            "is_partial": score.is_partial,
            "looked_again": is_near,
            "tenant": about.tenant,
            "p_good": adjusted.p_good,
            "raw": score.p_good,
        }

    async def explanation(self, prompt: Prompt, about: _About) -> dict[str, Any]:
        candidates = self._named(about.model)
        if self._explainer is None:
            raise _unavailable(
                "This gateway scores by words and length alone, and has nothing to explain. Install weighbridge[onnx-cpu], "
                "and leave `scoring.engine` at `auto`."
            )
        try:
            return await asyncio.to_thread(self._explained, self._explainer, prompt, candidates, about.tenant)
        except ConfigError as exc:
            raise _unavailable(
                "What explains the scorer (heads.npz, neighbours.npz in its folder) is missing or damaged: install or train "
                "it again."
            ) from exc

    def loaded(self) -> dict[str, Any]:
        return {
            "version": self._version,
            "engine": "lexical" if self._explainer is None else "model",
            **({} if self._explainer is None else _model(self._explainer)),
            "candidates": [
                {"id": one.id, "model": one.model, "size": one.size, "known_by": self._known_by(one)}
                for one in self._candidates
            ],
            "deep": self._deep is not None,
            "learning": None
            if self._learnt is None
            else {
                "refreshed_at": None if self._learnt.refreshed_ms is None else iso(self._learnt.refreshed_ms),
                "outcomes": self._learnt.outcomes,
            },
        }

    def _scores(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        if self._explainer is None:
            complexity = [score.complexity for score in self._scorer.score(prompts, ())]
            return {"scores": complexity, "complexity": complexity, "version": self._version}
        views = [self._explainer.scorer.view(prompt) for prompt in prompts]
        return {
            "scores": [view.need for view in views],
            "complexity": [view.complexity for view in views],
            "version": self._version,
        }

    def _one(self, prompt: Prompt, candidates: Sequence[Scorable], tenant: str | None) -> tuple[float, Score]:
        if tenant is not None:
            self._check_tenant(tenant)
        [score] = self._scorer.score([prompt], candidates)
        return self._scores([prompt])["scores"][0], score

    def _explained(
        self, explainer: "Explainer", prompt: Prompt, candidates: Sequence[Scorable], tenant: str | None
    ) -> dict[str, Any]:
        if tenant is not None:
            self._check_tenant(tenant)
        found = explainer.explain(prompt, candidates)
        raw = Score(
            complexity=found.complexity,
            p_good={one.id: one.p_good for one in found.candidates},
            category=found.category,
            is_partial=found.is_partial,
        )
        told: dict[str, Any] = msgspec.to_builtins(found)
        return {**told, "tenant": tenant, "p_good": self._adjusted(tenant, raw).p_good}

    def _adjusted(self, tenant: str | None, score: Score) -> Score:
        return score if tenant is None or self._learnt is None else self._learnt.adjust(tenant, score)

    def _named(self, model: str | None) -> Sequence[Scorable]:
        if model is None or is_auto(model):
            return self._candidates
        found = [one for one in self._candidates if model in (one.model, one.id)]
        if not found:
            raise NotFoundError(
                f"No model that answers chats is called {model!r} here. GET /admin/scorer lists them.",
                code="model_not_found",
                param="model",
            )
        return found

    def _known_by(self, candidate: Scorable) -> str:
        if self._explainer is not None:
            return self._explainer.known_by(candidate)
        return "size" if candidate.p_good is None else "configured"


def scorer_handlers(desk: ScorerDesk, registry: Registry) -> list[HTTPRouteHandler]:
    @get("/admin/scorer")
    async def show_scorer() -> dict[str, Any]:
        """What is loaded, by what each configured model is known, and when outcomes were last read. `cascades` are the
        policies that look at a cheap answer before they ask a dearer model."""
        return {**desk.loaded(), "cascades": _cascades(registry)}

    @post("/admin/scorer/explain", status_code=200, request_max_body_size=BODY_BYTES)
    async def explain(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Why a prompt gets its score. `need` is `spread` times the sum of `base`, `meaning` and all contributions of
        `features` and `by_hand`, less `taken_off`. `low` and `high` are the 90 % interval of how often such prompts are
        answered well, as far as the training prompts tell it; `p_good` is adjusted to the tenant. Nothing is kept."""
        raw = await json_body(request)
        body, about = _read(raw, ExplainBody)
        if about.prompt is not None:
            _not_both(about, "prompt")
            return await desk.explanation(_user_turn(about.prompt), about)
        return await desk.explanation(_conversation(about, body, "prompt"), about)

    @post("/v1/weighbridge/score", status_code=200, request_max_body_size=BODY_BYTES)
    async def score(request: Request[Any, Any, Any]) -> dict[str, Any]:
        """Of up to 256 `prompts`: `scores`, higher for those that gain more from a strong model, and `complexity`, the
        share of ordinary traffic that needs less. Of one conversation: P(good) for each model too, as predicted (`raw`)
        and as adjusted to the tenant (`p_good`). Nothing is asked of any model, nothing billed, nothing kept."""
        raw = await json_body(request)
        body, about = _read(raw, ScoreBody)
        if about.prompts is not None:
            _not_both(about, "prompts")
            return await desk.scores(about.prompts)
        return await desk.score(_conversation(about, body, "prompts"), about)

    return [show_scorer, explain, score]


def _read(raw: bytes, kind: type[_B]) -> tuple[dict[str, Any], _B]:
    body = read_object(raw)
    try:
        return body, msgspec.convert(body, kind)
    except msgspec.ValidationError as exc:
        raise invalid(str(exc)) from exc


def _not_both(about: _About, given: str) -> None:
    if about.messages is not None:
        raise InvalidRequestError(f"Send either `{given}` or `messages`.", param="messages")


def _conversation(about: _About, body: dict[str, Any], instead: str) -> Prompt:
    if about.messages is None:
        raise InvalidRequestError(
            f"Send `{instead}` or `messages`.", code="missing_required_parameter", param=instead
        )
    return prompt_of(body)


def _user_turn(text: str) -> Prompt:
    return prompt_of({"messages": [{"role": "user", "content": text}]})


def _model(explainer: "Explainer") -> dict[str, Any]:
    manifest = explainer.artefact.manifest
    return {
        "created": manifest.created,
        "providers": explainer.artefact.session.get_providers(),
        "kinds": manifest.kinds,
        "sources": manifest.sources,
        "models": [{"name": name, **msgspec.structs.asdict(head)} for name, head in manifest.models.items()],
    }


def _cascades(registry: Registry) -> list[str]:
    return [
        name for name in registry.names if isinstance(getattr(registry.get(name), "objective", None), Cascade)
    ]


def _unavailable(message: str) -> UnavailableError:
    return UnavailableError(message, code="scorer_unavailable", should_retry=False)
