"""The models of a configuration as the scorer knows them."""

from gateway.config import Config
from gateway.scoring.contract import Scorable


def chat_candidates(config: Config) -> tuple[Scorable, ...]:
    """All that answer chats, whoever may ask for them."""
    return tuple(
        Scorable(
            id=f"{upstream_name}/{name}",
            size=model.size,
            model=name,
            upstream_model=model.upstream_model or name,
            p_good=model.p_good,
        )
        for upstream_name, upstream in config.upstreams.items()
        for name, model in upstream.models.items()
        if model.kind == "chat"
    )
