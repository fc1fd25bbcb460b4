"""The three ways in which padray stops on purpose, told apart by their types.

Each carries one sentence that says what is wrong, where, and what would be right. Only what a `DivergedError` says is
ever stored as a result: the same settings would diverge again. What the machine, the storage or the user's input did
may be otherwise the next time, so it is never recorded, and the same command goes on.
"""

INTERRUPTED = 130  # the exit code after Ctrl-C and SIGTERM


class InputError(Exception):
    """What the user gave cannot be used: settings, files, storage. Exit code 2."""

    exit_code = 2


class WorkError(Exception):
    """Work that was begun failed; what is finished stays. Exit code 3. One of the kinds below, or a fault of ours."""

    exit_code = 3


class DivergedError(WorkError):
    """What the science does: with these settings the numbers lead nowhere, and would do so again. A result."""


class InfrastructureError(WorkError):
    """What machines do: storage, memory, a lost worker, no room. No result; the same command goes on."""


class GpuFullError(InfrastructureError):
    """A GPU's memory ran out. Where others had shares of the GPU, the work is tried again on one of its own."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM came while work was under way, and what is kept of it is said. No failure: exit code 130."""


Failure = InputError | WorkError  # what a worker hands back instead of raising
