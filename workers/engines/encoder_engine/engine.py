"""Models of a folder that make vectors: tokens in, and a batch of like lengths through transformers at a time.

torch and sentence-transformers are imported when the model is loaded, not before.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from workers.embeddings.contract import EncoderCard, EncoderLostError, StepTooLargeError, Tokens
from workers.embeddings.request import Input
from workers.engines.encoder_engine import loading
from workers.engines.encoder_engine.passes import passes_of
from workers.engines.transformers_engine.loading import PRECISIONS, go_offline, pick_device
from workers.errors import ConfigError, EngineError, InvalidRequestError
from workers.models import ModelFile

if TYPE_CHECKING:
    from workers.embeddings.contract import Vector

DEFAULT_BATCH = {"cpu": 256, "cuda": 16_384}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    threads: int
    context: int | None = None
    """Tokens of a text. None: as many as the model takes."""
    batch: int | None = None
    """Tokens of one step."""
    precision: str = "auto"
    device: str = "auto"
    matryoshka: bool = False
    """Whether it was trained for shorter vectors, if its config.json does not say so."""


class EncoderEngine:
    def __init__(self, model: ModelFile, options: Options) -> None:
        self._model = model
        self._options = options
        self._loaded: loading.Loaded | None = None
        self._card: EncoderCard | None = None
        self._device = "cpu"

    @property
    def card(self) -> EncoderCard:
        if self._card is None:
            raise EngineError
        return self._card

    @property
    def step_tokens(self) -> int:
        return self._options.batch or DEFAULT_BATCH[self._device.partition(":")[0]]

    def load(self) -> None:
        go_offline()
        try:
            import sentence_transformers  # noqa: F401 - whether it is there
            import torch
        except ImportError as exc:
            raise ConfigError(
                f"the encoder engine is not installed ({exc}); run `pip install weighbridge[worker]`"
            ) from exc
        options = self._options
        torch.set_num_threads(options.threads)
        self._device = pick_device(options.device)
        precision = loading.pick_precision(options.precision, self._device)
        loading.check_fits(self._model.path, precision, self._device)
        self._loaded = loading.load(
            self._model.path,
            precision=precision,
            device=self._device,
            context=options.context,
            is_matryoshka=options.matryoshka,
        )
        self._card = self._card_of(self._loaded, precision)

    def read(self, inputs: Sequence[Input], prompt_name: str | None) -> list[Tokens]:
        texts = [one for one in inputs if isinstance(one, str)]
        read = self._tokens(texts, prompt_name) if texts else self._checked(inputs)
        for index, tokens in enumerate(read):
            if not tokens:
                raise InvalidRequestError(f"`input[{index}]` has nothing to read.", param="input")
            if len(tokens) > self.card.context_window:
                text = (
                    f"This model's context window is {self.card.context_window} tokens and `input[{index}]` has "
                    f"{len(tokens)}. Send less."
                )
                raise InvalidRequestError(text, code="context_length_exceeded", param="input")
        return read

    def embed(self, texts: Sequence[Tokens]) -> "list[Vector | None]":
        import numpy as np
        import torch

        try:
            with torch.inference_mode():
                order, vectors = self._vectors(texts)
        except torch.OutOfMemoryError as exc:
            torch.cuda.empty_cache()  # what a smaller step needs may lie in pieces of the large one
            raise StepTooLargeError from exc
        except torch.AcceleratorError as exc:
            raise EncoderLostError from exc
        is_finite = np.isfinite(vectors).all(axis=1)
        found: list[Vector | None] = [None] * len(texts)
        for row, index in enumerate(order):
            found[index] = vectors[row] if is_finite[row] else None
        return found

    def _vectors(self, texts: Sequence[Tokens]) -> tuple[list[int], Any]:
        """All passes before the first look at a result: a GPU need not wait for us in between."""
        import torch

        passes = passes_of([len(tokens) for tokens in texts])
        vectors = [self._pass([texts[index] for index in indexes]) for indexes in passes]
        order = [index for indexes in passes for index in indexes]
        found = torch.cat(vectors).float()
        if self._parts().is_normalised:  # again: lengths of 16-bit vectors are off by a thousandth
            found = torch.nn.functional.normalize(found, dim=-1)
        return order, found.cpu().numpy()

    def _pass(self, texts: Sequence[Tokens]) -> Any:
        import torch

        loaded = self._parts()
        longest = max(map(len, texts))
        ids = torch.tensor([[*tokens, *[loaded.pad] * (longest - len(tokens))] for tokens in texts])
        lengths = torch.tensor([len(tokens) for tokens in texts])
        mask = (torch.arange(longest) < lengths[:, None]).long()
        features = {"input_ids": ids.to(self._device), "attention_mask": mask.to(self._device)}
        return loaded.model(features)["sentence_embedding"]

    def _tokens(self, texts: list[str], prompt_name: str | None) -> list[Tokens]:
        loaded = self._parts()
        if prompt_name is not None and prompt_name not in loaded.prompts:
            known = ", ".join(loaded.prompts) or "none"
            text = f"This model has no prompt '{prompt_name}'. Known: {known}."
            raise InvalidRequestError(text, param="prompt_name")
        prompt = loaded.default_prompt if prompt_name is None else loaded.prompts[prompt_name]
        return [read.ids for read in loaded.tokenizer.encode_batch_fast([prompt + text for text in texts])]

    def _checked(self, inputs: Sequence[Any]) -> list[Tokens]:
        size = self._parts().vocabulary
        for index, tokens in enumerate(inputs):
            if max(tokens) >= size:
                text = f"`input[{index}]` has a token that is not one of the model's {size}."
                raise InvalidRequestError(text, param="input")
        return list(inputs)

    def _parts(self) -> loading.Loaded:
        if self._loaded is None:
            raise EngineError
        return self._loaded

    def _card_of(self, loaded: loading.Loaded, precision: str) -> EncoderCard:
        return EncoderCard(
            model=self._model.name,
            engine="encoder",
            quantisation=PRECISIONS[precision].quantisation,
            dtype="float32" if precision == "int8" else PRECISIONS[precision].dtype,
            parameters=loaded.parameters,
            context_window=loaded.window,
            abilities=("embeddings",),
            dimensions=loaded.dimensions,
            shorter=loaded.shorter,
            pooling=loaded.pooling,
            normalised=loaded.is_normalised,
            prompts=tuple(loaded.prompts),
        )
