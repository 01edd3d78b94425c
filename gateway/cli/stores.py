"""Where the stores are: as configured, or embedded ones in the data folder, started here if nobody has."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.app import StoreUrls
from gateway.config import Config, read_secret
from gateway.limits.embedded import EmbeddedStore, Purpose


@contextmanager
def opened_stores(config: Config) -> Iterator[StoreUrls]:
    """Stops on leaving what it started. Raises ConfigError."""
    urls = configured_stores(config)
    started: list[EmbeddedStore] = []
    try:
        for store, url in (
            (embedded(config, "limits"), urls.limits),
            (embedded(config, "cache"), urls.cache),
        ):
            if url == store.url:
                started.append(store)
                store.start()
        yield urls
    finally:
        for store in reversed(started):
            store.stop()


def configured_stores(config: Config) -> StoreUrls:
    return StoreUrls(
        limits=_url(config, "limits", config.limits.url, config.limits.url_env),
        cache=_url(config, "cache", config.cache.url, config.cache.url_env),
    )


def embedded(config: Config, purpose: Purpose) -> EmbeddedStore:
    return EmbeddedStore(
        config.data_path / "stores" / purpose, purpose=purpose, max_mib=config.cache.embedded_max_mib
    )


def _url(config: Config, purpose: Purpose, url: str, url_env: str) -> str:
    named = read_secret(env=url_env, where=purpose)
    if named:
        return named
    return embedded(config, purpose).url if url == "embedded" else url
