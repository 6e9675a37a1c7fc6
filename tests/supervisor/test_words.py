import pytest

from server.cli import main
from server.settings import options
from server.supervisor.plan import Role
from server.supervisor.words import OURS, WordsInvalid, passed_on, read_up


def test_counts_are_ours_and_all_else_is_for_the_processes():
    asked = read_up(
        ["models", "--pre", "2", "--predict=1", "--log-format", "json", "--surge", "false", "--http-port=80"]
    )
    assert asked.counts == {Role.PRE: 2, Role.PREDICT: 1}
    assert asked.surge is False
    assert asked.rest == ["models", "--log-format", "json", "--http-port=80"]


def test_what_stands_behind_two_dashes_is_for_the_processes_too():
    asked = read_up(["models", "--predict", "2", "--", "--log-format=json", "--pre=1"])
    assert (asked.counts, asked.rest) == ({Role.PREDICT: 2}, ["models", "--log-format=json", "--pre=1"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pre=two"], "--pre=two: must be a whole number of processes"),
        (["--pre", "-1"], "--pre=-1: must be a whole number of processes"),
        (["--all"], "--all needs a value"),
        (["--surge=perhaps"], "--surge=perhaps: must be true or false"),
        (["--scrape-secs=0"], "--scrape-secs=0: must be a number of seconds above 0"),
    ],
)
def test_values_that_cannot_be_are_named(words, sentence):
    with pytest.raises(WordsInvalid) as caught:
        read_up(words)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["models", "--lgo-format=json"], "there is no option --lgo-format; did you mean --log-format?"),
        (
            ["models", "--all=1", "--pre=1"],
            "--all has every stage in each process: it cannot stand beside --pre",
        ),
        (
            ["models", "--all=1", "--allow-metrics=false"],
            "tercet up needs --allow-http, --allow-grpc and --allow-metrics",
        ),
        (["--all=1"], "there is nothing to serve"),
    ],
)
def test_a_command_line_that_makes_no_fleet_is_refused_at_once(
    words, sentence, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert main(["up", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_the_help_names_every_option_of_ours(capsys):
    assert main(["up", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in ("--gateway", "--pre", "--predict", "--post", "--all", "--rolling-restart", "--surge"):
        assert name in shown
    assert "--restart-wait-secs" in shown
    assert "--scrape-secs" in shown


def test_what_is_passed_on_is_what_was_given_less_what_the_plan_sets():
    given = {"http_port": "1", "load_model": ["a", "b"], "log_format": "json", "settings": "s.toml"}
    assert passed_on(given) == {
        "--load-model": ["a", "b"],
        "--log-format": ["json"],
        "--settings": ["s.toml"],
    }


def test_what_the_plan_sets_are_options_that_there_are():
    later = {"role", "pre_endpoints", "predict_endpoints", "post_endpoints"}
    assert OURS - later <= set(options())


def test_a_rolling_restart_of_nobody_is_a_sentence(capsys):
    assert main(["up", "--rolling-restart", "--metrics-address=127.0.0.1", "--metrics-port=1"]) == 1
    assert capsys.readouterr().err == (
        "tercet: no supervisor answers at 127.0.0.1:1: name its port, as in --metrics-port=8002\n"
    )
