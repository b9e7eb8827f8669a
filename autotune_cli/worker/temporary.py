"""Where temporary files go: compilers, profilers and torch itself need a folder for them."""

from __future__ import annotations

import tempfile

from autotune_cli.errors import CannotWrite

# In memory, and there on every Linux, however full or read-only its disks are.
_MEMORY = "/dev/shm"


def temporary_folder() -> str:
    """Python's folder for temporary files; where none of those that it looks for can be written, one in memory.

    Raises:
        CannotWrite: nothing can be written anywhere.
    """
    try:
        return tempfile.gettempdir()
    except OSError:
        pass
    try:
        with tempfile.TemporaryFile(dir=_MEMORY) as file:
            file.write(b"there is room")
    except OSError as error:
        raise CannotWrite(
            path="temporary files",
            detail="neither TMPDIR nor /tmp nor the current folder can be written; set TMPDIR to one with room",
        ) from error
    return _MEMORY


def temporary_variables() -> dict[str, str]:
    """What a process must have in its environment to find that folder.

    Raises:
        CannotWrite: see :func:`temporary_folder`.
    """
    folder = temporary_folder()
    return {"TMPDIR": folder} if folder == _MEMORY else {}
