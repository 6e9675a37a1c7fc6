"""Reads `version_labels.json`, which may lie beside a model's versions: {"stable": 2, "canary": 3}.

It is a file of its own and no part of the configuration, whose every change makes new content of all
versions: to move a label must reload nothing.
"""

from pathlib import Path
from types import MappingProxyType

import orjson
import structlog

from server.domain.labels import LARGEST_VERSION, MOST_LABELS, NO_PINS, SYNTAX, is_label
from server.repository.snapshot import Folder, Stamp

log = structlog.get_logger(__name__)

FILE = "version_labels.json"


class LabelsInvalid(Exception):
    """The sentence says what is wrong."""


class VersionLabels:
    """Those of one model. A file that cannot be read leaves them as they were, with a line in the log."""

    def __init__(self, model: str, directory: Path) -> None:
        self._model = model
        self._directory = directory
        self._stamp: Stamp | None = None
        self._pins = NO_PINS

    def read(self, beside: Folder) -> MappingProxyType[str, int]:
        """Label -> version."""
        stamp = beside.files.get(FILE)
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                self._pins = MappingProxyType({}) if stamp is None else self._read_anew()
            except (OSError, LabelsInvalid) as error:
                log.warning("version_labels_unreadable", model=self._model, file=FILE, reason=str(error))
        return MappingProxyType(dict(self._pins))

    def _read_anew(self) -> MappingProxyType[str, int]:
        try:
            document = orjson.loads((self._directory / FILE).read_bytes())
        except orjson.JSONDecodeError as error:
            raise LabelsInvalid(f"it is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise LabelsInvalid("it is no JSON object of labels and versions")
        if len(document) > MOST_LABELS:
            raise LabelsInvalid(f"it has {len(document)} labels; {MOST_LABELS} are allowed")
        for label, version in document.items():
            if not is_label(label):
                raise LabelsInvalid(f"'{label}' is no label, which is {SYNTAX}")
            if type(version) is not int or not 1 <= version <= LARGEST_VERSION:
                raise LabelsInvalid(f"label '{label}' has no version, which is a whole number from 1 on")
        return MappingProxyType(document)
