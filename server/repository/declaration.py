"""One model's configuration, and the files that it names, over time: read at rest, and again when changed."""

from pathlib import Path

import structlog

from server.domain.warmup import FOLDER
from server.repository.configuration import Reading, read_nothing, read_text
from server.repository.invalid import ConfigInvalid
from server.repository.settling import Moment, Sighting, moved_in, sight, wait_s
from server.repository.snapshot import Folder, Stamp

log = structlog.get_logger()

REQUIREMENTS = "requirements.txt"
"""Of the code of every version, which is tried again when this changes."""


class Declaration:
    """What the operator wrote of one model, beside its versions.

    config_name   `configs/<config_name>.pbtxt` goes before `config.pbtxt`, where there is one
    given         stands in place of any file; None to read them
    """

    def __init__(
        self, model: str, directory: Path, config_name: str, settle_s: float, given: Reading | None
    ) -> None:
        self._model = model
        self._directory = directory
        self._config_name = config_name
        self._settle_s = settle_s
        self._given = given
        self._sighting: Sighting | None = None
        self._stamp: tuple[str, Stamp | None] | None = None
        self._outcome: Reading | ConfigInvalid | None = given
        self._at_rest: tuple[object, ...] | None = None

    def wait_s(self, beside: Folder, moment: Moment, new: bool) -> float:
        """How long until it is at rest. Of a `new` model everything beside the versions must be.

        A copy may bring the configuration last; a model that is known already waits for its own files only.
        """
        seen = self._stamps(beside)
        if seen == self._at_rest:
            return 0.0
        if new:
            seen = (*beside.stamps, beside.mtime_ns)
        age_s = moment.age_s(max(beside.changed_ns, beside.ctime_ns))
        self._sighting = sight(self._sighting, seen, moment.monotonic_s, age_s)
        quiet_s = self._sighting.quiet_s(moment.monotonic_s)
        return wait_s(quiet_s, self._settle_s, moved_in(beside, beside.changed_ns), complete=True)

    def read(self, beside: Folder) -> tuple[Reading, dict[str, Stamp]]:
        """The configuration and the files that it names. Raises `ConfigInvalid`."""
        name = self._file(beside)
        stamp = beside.files.get(name)
        if self._stamp != (name, stamp):
            self._outcome = self._read_anew(name, stamp)
            self._stamp = (name, stamp)
        if not isinstance(self._outcome, Reading):
            assert self._outcome is not None
            raise self._outcome
        self._at_rest = self._stamps(beside)
        return self._outcome, _files(self._outcome, beside)

    def _read_anew(self, name: str, stamp: Stamp | None) -> Reading | ConfigInvalid:
        if self._given is not None:
            self._warn(self._given)
            return self._given
        if stamp is None:
            return read_nothing(self._model)
        try:
            reading = read_text((self._directory / name).read_bytes(), self._model, f"{self._model}/{name}")
        except ConfigInvalid as error:
            return error
        if reading != self._outcome:
            self._warn(reading)
        return reading

    def _warn(self, reading: Reading) -> None:
        """Name everything that the operator wrote in vain, in one line."""
        if reading.unread:
            log.warning("config_fields_not_used", model=self._model, fields=list(reading.unread))

    def _file(self, beside: Folder) -> str:
        named = f"configs/{self._config_name}.pbtxt"
        return named if self._config_name and named in beside.files else "config.pbtxt"

    def _stamps(self, beside: Folder) -> tuple[object, ...]:
        names = {self._file(beside)}
        if isinstance(self._outcome, Reading):
            names |= _named(self._outcome)
        return tuple((name, beside.files.get(name)) for name in sorted(names))


def _named(reading: Reading) -> frozenset[str]:
    """Of class names and of a warmup's data: what is read beside the configuration."""
    config = reading.config
    data = {tensor.file for sample in config.warmups for tensor in sample.inputs} - {""}
    return config.label_files | {f"{FOLDER}/{file}" for file in data} | {REQUIREMENTS}


def _files(reading: Reading, beside: Folder) -> dict[str, Stamp]:
    for at, output in enumerate(reading.config.outputs):
        if output.label_filename and output.label_filename not in beside.files:
            raise reading.invalid(
                f"output[{at}].label_filename",
                f"is '{output.label_filename}', and the model's folder holds no such file",
            )
    return {name: beside.files[name] for name in _named(reading) if name in beside.files}
