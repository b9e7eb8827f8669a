"""What a format of foreign files must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices


class FileFormat(ABC):
    """JSON files of another program."""

    @abstractmethod
    def recognises(self, document: object, path: Path) -> bool:
        """Is a parsed JSON document one of them? Never true of this program's own files."""

    @abstractmethod
    def read(self, document: object, path: Path) -> ForeignChoices:
        """The choices in a document that is recognised.

        Raises:
            BadFile: it is damaged; the message names the entry.
        """


class StoreFormat(FileFormat):
    """Folders of another program. Its file is the one that names the folder, such as a manifest."""

    name: str
    """Of several folders, for messages: ``FlashInfer stores``."""

    @abstractmethod
    def is_store(self, folder: Path) -> bool:
        """Does a folder look like one store?"""

    @abstractmethod
    def read_store(self, folder: Path) -> ForeignChoices:
        """The choices in a folder that looks like a store.

        Raises:
            BadFile: it is damaged as a whole. Single damaged entries are left out and named in ``unread``.
        """

    @abstractmethod
    def stores_below(self, folder: Path) -> list[Path]:
        """The stores in the folders that the program keeps them in, each once, by name."""

    @abstractmethod
    def described(self, store: Path) -> str:
        """A store's path with what tells it from others of one machine."""
