"""A version says what its own code needs, and is told what of it is not there before the code runs."""

from contextlib import suppress
from importlib.metadata import version

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtimes.code import Context, open_pre
from runtimes.errors import ModelBroken
from runtimes.requirements import check, unmet

NUMPY = version("numpy")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("numpy", []),
        ("NumPy>=2", []),
        (f"numpy=={NUMPY} --hash=sha256:{'0' * 64}", []),
        (f"numpy=={NUMPY} \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}", []),
        ("# numpy>=99", []),
        ("numpy  # of any version\n\n", []),
        ("nobody-at-all; python_version < '3'", []),
        ("nobody-at-all", ["nobody-at-all is not installed"]),
        ("nobody-at-all>=2", ["nobody-at-all>=2 is not installed"]),
        ("numpy>=99", [f"numpy>=99 is wanted and {NUMPY} is installed"]),
        ("numpy<2\nnobody", [f"numpy<2 is wanted and {NUMPY} is installed", "nobody is not installed"]),
    ],
)
def test_each_line_is_held_against_what_is_installed(line, said):
    assert list(unmet(line)) == said


@pytest.mark.parametrize("line", ["-r other.txt", "--index-url x", "./wheels/a.whl", "numpy>=", "a b"])
def test_a_line_that_names_no_package_is_told_with_its_number(line):
    with pytest.raises(ModelBroken, match=r"^requirements\.txt line 2: '.+' names no package, as in"):
        list(unmet(f"numpy\n{line}\n"))


@given(st.text())
def test_whatever_the_file_holds_is_told_in_a_sentence_or_passes(text):
    with suppress(ModelBroken):
        assert all("install" in sentence for sentence in unmet(text))


@pytest.mark.parametrize("place", [".", ".."])
def test_the_file_stands_beside_the_code_or_beside_the_versions(tmp_path, place):
    folder = tmp_path / "1"
    folder.mkdir()
    check(folder)
    (folder / place / "requirements.txt").write_text("numpy\nnobody-at-all>=2\n")
    with pytest.raises(ModelBroken, match="asks for what the server's environment has not: nobody-at-all>=2"):
        check(folder)


def test_code_does_not_run_before_its_requirements_are_met(tmp_path):
    (tmp_path / "requirements.txt").write_text("nobody-at-all\n")
    (tmp_path / "pre.py").write_text("import nobody_at_all\n")
    with pytest.raises(ModelBroken, match="nobody-at-all is not installed"):
        open_pre(tmp_path / "pre.py", Context(model="m", version=1, directory=tmp_path, parameters={}))


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelBroken, match=r"requirements\.txt cannot be read"):
        check(tmp_path)
