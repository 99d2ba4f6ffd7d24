"""`python3 -m bootstrap.manager`: runs until it is told to end."""

from __future__ import annotations

import os

import kopf

from bootstrap.manager import operator  # noqa: F401  its handlers register themselves


def main() -> None:
    """Watch the namespace of the variable NAMESPACE. Health is answered on port 8080."""
    kopf.configure(log_format=kopf.LogFormat.FULL)
    kopf.run(
        standalone=True,
        namespaces=[os.environ["NAMESPACE"]],
        liveness_endpoint="http://0.0.0.0:8080/healthz",
    )


if __name__ == "__main__":
    main()
