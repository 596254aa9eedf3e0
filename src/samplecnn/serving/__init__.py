"""Local pages and HTTP: the guarded page of `samplecnn index review`, and the API of `samplecnn serve`.

`create_app` makes the API's ASGI application; it is imported when first used, since it needs Starlette.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samplecnn.serving.api import create_app
    from samplecnn.serving.settings import ServeLimits

_MODULES = {"create_app": "samplecnn.serving.api", "ServeLimits": "samplecnn.serving.settings"}
__all__ = ["ServeLimits", "create_app"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'samplecnn.serving' has no attribute {name!r}")
