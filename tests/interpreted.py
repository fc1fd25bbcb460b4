"""Programs that are interpreted and not compiled: the function that would be machine code is called as it stands."""

import pytest

from padray.networks import programs
from padray.networks.programs import Call, Program


@pytest.fixture
def programs_asked(monkeypatch: pytest.MonkeyPatch) -> list[Program]:
    """The programs that were asked for; they are interpreted."""
    asked: list[Program] = []

    def load(program: Program) -> Call:
        asked.append(program)
        function, _ = programs._function(program)
        return lambda *tensors: list(function(*tensors))

    monkeypatch.setattr(Program, "load", load)
    return asked
