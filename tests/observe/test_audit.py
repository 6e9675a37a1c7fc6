"""The audit log, as a file has it."""

import io
import json

from server.observe.audit import DONE, AuditLog


def test_a_line_is_written_whatever_its_names_are_made_of():
    stream = io.StringIO()
    half = "\ud800" + "x" * 300
    with AuditLog(stream) as audit:
        audit.record(half, "load", half, "http", "127.0.0.1", 200, DONE)
    line = json.loads(stream.getvalue())
    assert line["caller"] == line["model"] == "?" + "x" * 254
    assert line["outcome"] == "done"
