"""Who may use LiteLLM's proxy: its hook for keys of one's own, since without a database it knows only its master key."""

import os

from fastapi import Request
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


async def check(request: Request, api_key: str) -> UserAPIKeyAuth:
    if api_key == os.environ["LITELLM_MASTER_KEY"]:  # noqa: TID251 - a program of its own, which is told this way
        return UserAPIKeyAuth(api_key=api_key)
    if api_key == os.environ["LIMITED_KEY"]:  # noqa: TID251 - likewise
        return UserAPIKeyAuth(api_key=api_key, rpm_limit=1)
    raise ProxyException("Incorrect API key provided.", type="auth_error", param="api_key", code=401)
