"""The type of a JSON object, for all programs that run in the cluster: they import nothing of the other packages."""

from typing import Any

Object = dict[str, Any]
"""As the API server answers it, or a request carries it: field -> value."""
