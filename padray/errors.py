"""The two ways in which padray stops on purpose.

Both carry one sentence that says what is wrong, where, and what would be right.
"""

INTERRUPTED = 130  # the exit code after Control-C


class InputError(Exception):
    """What the user gave cannot be used: settings, files, storage. Exit code 2."""

    exit_code = 2


class WorkError(Exception):
    """Work that was begun failed; what is finished stays. Exit code 3."""

    exit_code = 3
