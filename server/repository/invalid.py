"""What is wrong with a configuration, and where it says so."""


class ConfigInvalid(Exception):
    """A configuration that cannot be used. `str(error)` is the whole sentence, place first.

    file           relative to the repository, such as digits/config.pbtxt, so that clients may see it
    line, column   from 1; None where the text has no such place, as in JSON values
    field          as the operator wrote it, such as input[0].dims[1]; empty where none is meant
    sentence       what came and what was expected
    """

    def __init__(
        self, *, file: str, field: str, sentence: str, line: int | None = None, column: int | None = None
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {field}: {sentence}" if field else f"{place}: {sentence}")
        self.file = file
        self.line = line
        self.column = column
        self.field = field
        self.sentence = sentence
