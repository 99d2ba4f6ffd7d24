"""An API server of answers that were foreseen; anything else fails the test."""

from __future__ import annotations

from typing import Any, cast

from bootstrap.incluster.json_object import Object
from bootstrap.incluster.kube_api import MERGE, ApiFailure
from bootstrap.manager.cluster import APPLY


class FakeApi:
    """answers: "METHOD path" -> what is answered, or raised. asked: (METHOD, path, body), in order."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, Any]] = []

    def on(self, request: str, answer: Any = None) -> None:
        self.answers[request] = {} if answer is None else answer

    def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Object:
        applies = "fieldManager=" in path
        assert kind == (APPLY if applies else MERGE if method == "PATCH" else "application/json")
        assert (body is None) == (method in ("GET", "DELETE"))
        self.asked.append((method, path, body))
        answer = self.answers[f"{method} {path}"]
        if isinstance(answer, ApiFailure):
            raise answer
        return cast(Object, answer)

    @property
    def requests(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.asked]

    def get_body(self, request: str) -> Any:
        """Of the only such request."""
        [found] = [body for method, path, body in self.asked if f"{method} {path}" == request]
        return found
