import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import ClassVar

import pytest

from server.cli import main
from server.option_values import ResourceLimit
from server.settings import Settings, options

ROOT = Path(__file__).resolve().parents[1]
TRITON_OPTIONS = """
    allow-client-shm allow-cpu-metrics allow-gpu-metrics allow-grpc allow-http allow-metrics allow-sagemaker
    allow-vertex-ai backend-config backend-directory buffer-manager-thread-count cache-config cache-directory
    cuda-memory-pool-byte-size cuda-virtual-address-size disable-auto-complete-config enable-peer-access
    exit-on-error exit-timeout-secs grpc-address grpc-header-forward-pattern grpc-http2-max-ping-strikes
    grpc-http2-max-pings-without-data grpc-http2-min-recv-ping-interval-without-data
    grpc-infer-allocation-pool-size grpc-infer-response-compression-level grpc-infer-thread-count
    grpc-keepalive-permit-without-calls grpc-keepalive-time grpc-keepalive-timeout grpc-max-connection-age
    grpc-max-connection-age-grace grpc-max-response-pool-size grpc-port grpc-restricted-protocol
    grpc-root-cert grpc-server-cert grpc-server-key grpc-use-ssl grpc-use-ssl-mutual host-policy http-address
    http-header-forward-pattern http-max-input-size http-port http-restricted-api http-thread-count id
    load-model log-error log-file log-format log-info log-verbose log-warning metrics-address metrics-config
    metrics-interval-ms metrics-port min-supported-compute-capability model-config-name model-control-mode
    model-load-gpu-limit model-load-retry-count model-load-thread-count model-namespacing model-repository
    model-store pinned-memory-pool-byte-size rate-limit rate-limit-resource repoagent-directory
    repository-poll-secs response-cache-byte-size reuse-grpc-port reuse-http-port sagemaker-port
    sagemaker-safe-port-range sagemaker-thread-count strict-model-config strict-readiness trace-config
    trace-count trace-file trace-level trace-log-frequency trace-rate vertex-ai-default-model vertex-ai-port
    vertex-ai-thread-count
""".split()  # noqa: SIM905
"""Every option of tritonserver but help, from its command_line_parser.cc."""


@pytest.fixture
def served(monkeypatch):
    """The settings that the server was started with, one for each start; the server itself is not started."""
    starts: list[Settings] = []
    process = ModuleType("server.app.process")
    process.serve = lambda settings: starts.append(settings) or 0
    monkeypatch.setitem(sys.modules, "server.app.process", process)
    return starts


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    return "models"


# serve


def test_a_repository_alone_is_followed_as_it_changes(served, repository):
    assert main(["serve", repository]) == 0
    assert [str(path) for path in served[0].model_repository] == [repository]
    assert served[0].model_control_mode == "poll"


def test_a_repository_alone_obeys_a_mode_that_is_named(served, repository, monkeypatch):
    main(["serve", repository, "--model-control-mode=explicit"])
    monkeypatch.setenv("TERCET_MODEL_CONTROL_MODE", "none")
    main(["serve", repository])
    assert [settings.model_control_mode for settings in served] == ["explicit", "none"]


def test_a_start_script_of_tritonserver_starts_tercet(served, repository, capsys):
    script = (
        "--model-store=models --model-repo models --model-control-mode explicit --load-model=iris"
        " --load-model x"
        " --strict-readiness=false --log-verbose 1 --http-port 9000 --allow-grpc true --log-info=true"
        " --backend-config=onnxruntime,x=1 --pinned-memory-pool-byte-size 0 --allow-gpu-metrics false"
        " --disable-auto-complete-config --exit-timeout-secs=5"
    )
    assert main(script.split()) == 0
    (settings,) = served
    assert [str(path) for path in settings.model_repository] == ["models", "models"]
    assert (settings.model_control_mode, settings.load_model) == ("explicit", ("iris", "x"))
    assert (settings.strict_readiness, settings.log_verbose, settings.http_port) == (False, 1, 9000)
    assert (settings.disable_auto_complete_config, settings.exit_timeout_secs) == (True, 5)
    assert capsys.readouterr().err == (
        "tercet: warning: these options of Triton have no effect here:"
        " --backend-config, --pinned-memory-pool-byte-size\n"
    )


START_SCRIPTS = {
    "KServe's serving runtime": (
        "--model-store=models --grpc-port=9000 --http-port=8080 --allow-grpc=true --allow-http=true",
        {"http_port": 8080, "grpc_port": 9000, "allow_http": True, "model_control_mode": "none"},
        "",
    ),
    "Triton's quick start": (
        "--model-repository=models",
        {"model_control_mode": "none", "http_port": 8000, "grpc_port": 8001, "metrics_port": 8002},
        "",
    ),
    "everything loaded by call": (
        "--model-repository=models --model-control-mode=explicit --load-model=* --strict-readiness=false"
        " --exit-on-error=false --exit-timeout-secs=120 --model-load-thread-count=8"
        " --model-load-retry-count=3 --id=east-1",
        {"load_model": ("*",), "model_load_retry_count": 3, "exit_timeout_secs": 120, "id": "east-1"},
        "",
    ),
    "polled, and talkative": (
        "--model-repository models --model-control-mode poll --repository-poll-secs 5 --log-verbose=1"
        " --log-info=1 --log-warning=0 --log-error=1 --log-format=ISO8601 --log-file=server.log",
        {"repository_poll_secs": 5, "log_verbose": 1, "log_warning": False, "log_format": "ISO8601"},
        "",
    ),
    "measured and traced": (
        "--model-repository=models --allow-metrics=true --allow-gpu-metrics=true --allow-cpu-metrics=false"
        " --metrics-interval-ms=500 --metrics-config summary_latencies=true --metrics-port=8002"
        " --metrics-config=summary_quantiles=0.5:0.05 --trace-config triton,file=/tmp/trace.json"
        " --trace-config level=TIMESTAMPS --trace-config=rate=100",
        {
            "allow_cpu_metrics": False,
            "allow_gpu_metrics": True,
            "trace_config": ("triton,file=/tmp/trace.json", "level=TIMESTAMPS", "rate=100"),
        },
        "--metrics-interval-ms, --metrics-config",
    ),
    "tuned": (
        "--model-repository=models --backend-config=onnxruntime,default-max-batch-size=16"
        " --backend-config=tensorflow,version=2 --backend-directory=/opt/tritonserver/backends"
        " --cache-config=local,size=1048576 --rate-limit=execution_count --rate-limit-resource=R1:4:0"
        " --pinned-memory-pool-byte-size=268435456 --cuda-memory-pool-byte-size=0:67108864"
        " --min-supported-compute-capability=6.0 --http-thread-count=8 --grpc-infer-thread-count=2"
        " --buffer-manager-thread-count=2 --host-policy=gpu_0,numa-node=0 --http-max-input-size=134217728",
        {
            "http_max_input_size": 134217728,
            "rate_limit": "execution_count",
            "rate_limit_resource": (ResourceLimit("R1", 4, 0),),
        },
        "--backend-config, --backend-directory, --cache-config,"
        " --pinned-memory-pool-byte-size, --cuda-memory-pool-byte-size, --min-supported-compute-capability,"
        " --http-thread-count, --grpc-infer-thread-count, --buffer-manager-thread-count, --host-policy",
    ),
    "of some years ago": (
        "--model-store=models --strict-model-config=true --response-cache-byte-size=1048576"
        " --trace-file=trace.json --trace-level=MAX --trace-rate=1 --allow-sagemaker=false",
        {"disable_auto_complete_config": True},
        "--response-cache-byte-size, --trace-file, --trace-level, --trace-rate, --allow-sagemaker",
    ),
    "in short": (
        "--model-rep=models --model-control=none --allow-cl=0 --strict-m=0 --log-v=2 --http-a=127.0.0.1",
        {"log_verbose": 2, "http_address": "127.0.0.1", "disable_auto_complete_config": False},
        "--allow-cl",
    ),
}
"""What people start tritonserver with: the words, what becomes of them, and which the one warning names."""


@pytest.mark.parametrize("script", START_SCRIPTS)
def test_what_people_start_tritonserver_with_starts_tercet(script, served, repository, capsys):
    words, meant, idle = START_SCRIPTS[script]
    assert main(words.split()) == 0
    (settings,) = served
    assert [str(path) for path in settings.model_repository] == ["models"]
    assert {name: getattr(settings, name) for name in meant} == meant
    warning = "tercet: warning: these options of Triton have no effect here: "
    assert capsys.readouterr().err == (f"{warning}{idle}\n" if idle else "")


@pytest.mark.parametrize(
    ("words", "off"),
    [
        ("--strict-model-config=false", False),
        ("--strict-model-config=true", True),
        ("--strict-model-config=false --disable-auto-complete-config", True),
        ("--disable-auto-complete-config --strict-model-config=false", True),
    ],
)
def test_an_old_name_of_an_option_gives_way_to_the_new_one(words, off, served, repository):
    assert main(["serve", repository, *words.split()]) == 0
    assert served[0].disable_auto_complete_config is off


def test_with_model_repository_and_no_mode_it_is_none_as_in_triton(served, repository):
    main(["--model-repository", repository])
    assert served[0].model_control_mode == "none"


@pytest.mark.parametrize("option", TRITON_OPTIONS)
def test_every_option_of_triton_is_known(option, served, repository, capsys):
    main(["serve", repository, f"--{option}=?"])
    assert "there is no option" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--host-policy"], ["--host-policy", "a,b=c"], ["--host-policy=a"]])
def test_an_option_of_triton_without_effect_stands_with_or_without_a_value(words, served, repository):
    assert main(["serve", repository, *words, "--id=mine"]) == 0
    assert served[0].id == "mine"


@pytest.mark.parametrize(
    ("words", "on"),
    [
        (["--docs"], True),
        (["--docs", "--id=x"], True),
        (["--docs", "models"], True),
        (["--docs=false"], False),
        (["--docs", "false"], False),
        (["--docs=True"], True),
    ],
)
def test_a_flag_stands_alone_or_with_its_value(words, on, served, repository):
    assert main(["serve", repository, *words]) == 0
    assert served[0].docs is on


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--modl-repository=x"], "there is no option --modl-repository; did you mean --model-repository?"),
        (["--log-f=x"], "there is no option --log-f; did you mean --log-file or --log-format?"),
        (["--grpc=x"], "there is no option --grpc; did you mean --grpc-port?"),
        (
            ["--http-thread-counts=8"],
            "there is no option --http-thread-counts; did you mean --http-thread-count?",
        ),
        (["-p", "80"], "there is no option -p"),
        (["--http-port"], "--http-port needs a value"),
        (["--http-port", "--docs"], "--http-port needs a value"),
        (["--http-port=70000"], "--http-port=70000: must be a whole number from 0 to 65535"),
        (["--http-port", "80,81"], "--http-port=80,81: must be a whole number from 0 to 65535"),
        (["nowhere"], "the model repository nowhere is not a folder"),
    ],
)
def test_a_wrong_word_is_answered_with_a_sentence(words, sentence, served, repository, capsys):
    assert main(["serve", repository, *words]) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"tercet: {sentence}"
    assert served == []


def test_options_that_close_a_door_are_settings(served, repository):
    lock = "--http-restricted-api=health,logging:key=value"
    assert main(["serve", repository, "--grpc-use-ssl=false", lock]) == 0
    assert served[0].http_restricted_api == ("health,logging:key=value",)
    assert served[0].grpc_use_ssl is False


def test_without_a_repository_there_is_nothing_to_serve(served, capsys):
    assert main(["serve"]) == 2
    assert "there is nothing to serve" in capsys.readouterr().err


def test_the_help_of_serve_names_every_option_with_its_variable_and_default(capsys):
    assert main(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in options().values():
        assert f"{option.flag}, {option.variable}" in shown
        assert option.help in " ".join(shown.split())
    assert "--http-port, TERCET_HTTP_PORT [8000]\n" in shown
    assert max(map(len, shown.splitlines())) <= 110


# tercet itself


def test_bare_tercet_shows_what_it_can_do(capsys):
    assert main([]) == 0
    assert re.findall(r"^  (\w+)", capsys.readouterr().out, re.MULTILINE) == [
        "serve",
        "up",
        "models",
        "infer",
        "versions",
        "label",
        "events",
        "verify",
        "init",
        "manifest",
    ]


def test_an_unknown_command_is_answered_with_the_known_ones(capsys):
    assert main(["sevre"]) == 2
    known = "serve, up, models, infer, versions, label, events, verify, init and manifest are known"
    assert capsys.readouterr().err == f"tercet: there is no command 'sevre': {known}\n"


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("tercet ")


# models and infer, against a server that knows a few answers


class Answers(BaseHTTPRequestHandler):
    known: ClassVar = {
        "/v2/repository/index": [
            {"name": "iris", "version": "1", "state": "READY"},
            {"name": "broken", "version": "3", "state": "UNAVAILABLE", "reason": "no such operator"},
            {"name": "untried"},
        ],
        "/v2/models/stats": {"model_stats": [{"name": "iris", "version": "1", "inference_count": 42}]},
        "/v2/models/iris": {"name": "iris", "platform": "onnxruntime_onnx"},
    }

    def do_GET(self) -> None:
        self.answer(200, self.known[self.path])

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path in self.known:
            self.answer(200, self.known[self.path])
        elif "/unknown/" in self.path:
            self.answer(404, {"error": "Request for unknown model: 'unknown' is not found"})
        else:
            heard = {"path": self.path, "type": self.headers["content-type"], "body": body.decode("latin-1")}
            self.answer(200, heard)

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        Thread(target=server.serve_forever).start()
        yield f"--url=http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def infer(url, capsys):
    """Asks the server; gives what it has heard."""

    def ask(*words: str) -> dict[str, str]:
        assert main(["infer", url, *words]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def test_models_are_shown_in_a_table(url, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["models", url]) == 0
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in capsys.readouterr().out.splitlines()]
    assert ["broken", "3", "UNAVAILABLE", "", "", "no such operator"] in rows
    assert ["iris", "1", "READY", "onnxruntime_onnx", "42"] in rows
    assert ["untried"] in rows


def test_named_values_are_posted_as_a_plain_object(infer, tmp_path):
    (tmp_path / "note.txt").write_text("a note")
    heard = infer(
        "iris", "--input", "rows=[[1, 2.5]]", "--input=name=Ann", f"--input=note=@{tmp_path}/note.txt"
    )
    assert heard["path"] == "/v2/models/iris/predict"
    assert json.loads(heard["body"]) == {"rows": [[1, 2.5]], "name": "Ann", "note": "a note"}


def test_a_file_is_posted_as_it_is(infer, tmp_path):
    (tmp_path / "seven.png").write_bytes(b"\x89PNG\xff")
    heard = infer("digits", "--version=2", f"--file={tmp_path}/seven.png")
    assert heard == {
        "path": "/v2/models/digits/versions/2/predict",
        "type": "image/png",
        "body": "\x89PNG\xff",
    }


@pytest.mark.parametrize(
    ("request_", "verb"),
    [
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}]}, "infer"),
        ({"x": [1]}, "predict"),
        ({"inputs": [1, 2]}, "predict"),
    ],
)
def test_json_goes_to_infer_when_it_is_a_request_of_the_protocol(infer, tmp_path, request_, verb):
    (tmp_path / "request.json").write_text(json.dumps(request_))
    heard = infer("a model", f"--json={tmp_path}/request.json")
    assert heard["path"] == f"/v2/models/a%20model/{verb}"
    assert json.loads(heard["body"]) == request_


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["unknown", "--input=x=1"], "Request for unknown model: 'unknown' is not found"),
        (["iris", "--json=no.json"], "no.json cannot be read: No such file or directory"),
        (["iris", "--input=x=@image"], "image is not text; `--file image` posts it as it is"),
        (["iris", "--json=bad"], "bad is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_goes_wrong_is_a_sentence_and_exit_code_1(words, sentence, url, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "image").write_bytes(b"\xff\xfe")
    (tmp_path / "bad").write_text("...")
    assert main(["infer", url, *words]) == 1
    assert capsys.readouterr() == ("", f"tercet: {sentence}\n")


def test_a_server_that_is_not_there_is_named(capsys):
    assert main(["models", "--url=127.0.0.1:1"]) == 1
    assert capsys.readouterr().err.startswith("tercet: no server answers at http://127.0.0.1:1 (")


def test_a_program_ends_with_the_exit_code_and_without_a_traceback():
    code = "import sys; from server.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--htp-port=1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("tercet: there is no option --htp-port; did you mean --http-port?\n")


# manifest, over a real folder


def test_manifest_names_what_it_has_written(tmp_path, capsys):
    (tmp_path / "m/1").mkdir(parents=True)
    (tmp_path / "m/1/model.onnx").write_bytes(b"weights")
    assert main(["manifest", str(tmp_path), "--index"]) == 0
    assert capsys.readouterr().out.split() == [
        str(tmp_path / "m/1/manifest.json"),
        str(tmp_path / "index.json"),
    ]
    assert set(json.loads((tmp_path / "index.json").read_text())["files"]) == {
        "m/1/manifest.json",
        "m/1/model.onnx",
    }


def test_manifest_of_what_is_no_version_is_refused_in_a_sentence(tmp_path, capsys):
    assert main(["manifest", str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith("and holds none: one that is named 1, 2 or so on\n")
