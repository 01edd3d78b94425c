"""What a worker can refuse, in OpenAI's shape.

WorkerError
├── InvalidRequestError   400  (401, 404, 405, 408, 413, 415 with their own codes)
├── BusyError             503  loading, draining or full: come back, or go elsewhere
├── DeadlineError         503  the time that the caller had for it is over
└── EngineError           500  the engine failed; the log knows why
"""

from typing import Any


class ConfigError(Exception):
    """The worker cannot start as it was asked to. One line: what is wrong and what to do."""


class WorkerError(Exception):
    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.code = code or self.code
        self.status = status or self.status

    @property
    def should_retry(self) -> bool:
        return self.status == 503

    def body(self) -> dict[str, Any]:
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


class InvalidRequestError(WorkerError):
    status = 400
    type = "invalid_request_error"
    code = "invalid_value"


class BusyError(WorkerError):
    status = 503
    type = "service_unavailable_error"
    code = "server_is_overloaded"


class DeadlineError(BusyError):
    code = "deadline"
    should_retry = False

    def __init__(self) -> None:
        super().__init__("The time left for this request is over, and its answer was not finished.")


class EngineError(WorkerError):
    """The engine broke while it worked on a request."""

    def __init__(self) -> None:
        super().__init__("The model failed to answer. Try again; the worker's log has the reason.")
