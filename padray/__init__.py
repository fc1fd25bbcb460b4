"""padray distils datasets: a few synthetic samples per class that train a network almost as well.

From Python: `load_config`, `run`, `load` and `evaluate`, see padray/api.py.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padray.api import DistilledSet as DistilledSet
    from padray.api import Outcome as Outcome
    from padray.api import evaluate as evaluate
    from padray.api import load as load
    from padray.api import load_config as load_config
    from padray.api import run as run

__version__ = "0.1.0"
_OF_API = ("DistilledSet", "Outcome", "evaluate", "load", "load_config", "run")


def __getattr__(name: str) -> Any:
    """What is in the API is imported when it is first asked for: it brings PyTorch, which a command may not need."""
    if name in _OF_API:
        from padray import api

        return getattr(api, name)
    raise AttributeError(f"module 'padray' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_OF_API]
