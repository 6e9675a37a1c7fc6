"""The commands that ask a server show it a key, and trust whom they are told to."""

import pytest

from server.cli import main
from tests.certificates import Authority
from tests.e2e_security.keys import KEYS
from tests.e2e_security.tls import is_ready, trusting
from tests.server_process import running

ASK = ["infer", "iris", "--input", "measurements=[5.1, 3.5, 1.4, 0.2]"]


def test_a_command_shows_a_key(guarded, capsys, monkeypatch):
    url = f"--url=http://{guarded.http}"
    assert main([*ASK, url, f"--key={KEYS['asker'][0]}"]) == 0
    monkeypatch.setenv("TERCET_KEY", KEYS["operator"][0])
    assert main(["models", url]) == 0
    assert "iris" in capsys.readouterr().out
    assert main([*ASK, url]) == 1
    assert "it needs the right inference" in capsys.readouterr().err


def test_a_command_without_a_key_is_told_what_to_show(guarded, capsys, monkeypatch):
    monkeypatch.delenv("TERCET_KEY", raising=False)
    assert main(["models", f"--url=http://{guarded.http}"]) == 1
    assert "x-api-key" in capsys.readouterr().err


def test_a_command_trusts_the_authority_that_it_is_told(tmp_path, model, capsys):
    authority = Authority(tmp_path)
    pair = authority.pair("server")
    options = [f"--tls-certificate={pair.certificate}", f"--tls-key={pair.key}"]
    with running(tmp_path / "log", model, options=options, wait=False) as server:
        server.until(lambda: is_ready(server, trusting(authority.ca)))
        url = f"--url=https://{server.http}"
        assert main([*ASK, url, f"--ca-cert={authority.ca}"]) == 0
        assert main([*ASK, url]) == 1
    assert "certificate verify failed" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "nothing"])
def test_a_file_that_is_no_authority_is_told(tmp_path, capsys, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    assert main(["models", f"--ca-cert={file}"]) == 1
    assert f"--ca-cert={file} cannot be used" in capsys.readouterr().err
