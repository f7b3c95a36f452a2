# SPDX-FileCopyrightText: 2026 The dit_jax authors
# SPDX-License-Identifier: Apache-2.0
"""One sweep at a time in a folder."""

import fcntl
import os
import pathlib
import time

WAIT_SECONDS = 1.5  # the workers of a sweep that was killed end within a moment of it


class FolderLock:
    """Holds a folder for this process and those that inherit `descriptor`; a context manager.

    The kernel lets go of it when the last of them ends, however it ends, so no lock is ever stale.

    Args:
      folder: made where it is missing.

    Raises:
      ValueError: on entering, when another process holds the folder.
    """

    def __init__(self, folder: str | pathlib.Path):
        self._folder = pathlib.Path(folder)
        self.descriptor = -1

    def __enter__(self) -> "FolderLock":
        self._folder.mkdir(parents=True, exist_ok=True)
        self.descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._taken():
            if time.monotonic() > deadline:
                holder = os.pread(self.descriptor, 100, 0).decode(errors="replace").strip()
                os.close(self.descriptor)
                raise ValueError(f"{self._folder} is in use by process {holder}: wait for it, or use another")
            time.sleep(0.1)
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(os.getpid()).encode(), 0)
        return self

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def __exit__(self, *error: object) -> None:
        os.close(self.descriptor)
