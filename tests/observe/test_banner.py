import shlex

from server.observe.banner import FileQuestion, Question, Row, banner

READY = Row(model="iris", version=1, state="READY", runtime="onnx", device="cpu", load_seconds=0.042)
BROKEN = Row(model="broken", version=None, state="UNAVAILABLE", reason="model.onnx is\n no ONNX file")
QUESTION = Question(
    model="iris",
    inputs=[{"name": "it's", "shape": [1, 2], "datatype": "FP32", "data": [5.099999904632568, 3.5]}],
)
FILE = FileQuestion(model="digits", path="a folder/seven.png", media_type="image/png")


def test_each_model_has_a_line_with_all_that_is_known():
    lines = banner([READY, BROKEN]).splitlines()
    assert lines[2].split() == ["iris", "1", "READY", "onnx", "cpu", "0.04", "s"]
    assert lines[3].split(maxsplit=2) == ["broken", "UNAVAILABLE", "model.onnx is no ONNX file"]


def test_a_shell_reads_the_curl_commands_as_they_are_meant():
    shown = banner([READY], http_url="http://h:1", question=QUESTION, file=FILE).splitlines()
    json_words, file_words = (shlex.split(line) for line in shown if line.startswith("curl"))
    assert json_words[2:4] == ["http://h:1/v2/models/iris/infer", "-d"]
    assert '"name":"it\'s"' in json_words[4]
    assert '"data":[5.1,3.5]' in json_words[4]
    assert file_words[2] == "http://h:1/v2/models/digits/predict"
    assert file_words[-2:] == ["--data-binary", "@a folder/seven.png"]


def test_the_python_lines_are_python():
    shown = banner([READY], grpc_url="h:2", question=QUESTION)
    script = shown.partition("python - <<'END'\n")[2].partition("\nEND\n")[0]
    compile(script, "banner", "exec")
    assert "np.array([5.1, 3.5], 'float32').reshape([1, 2])" in script


def test_what_is_not_served_is_not_shown():
    shown = banner([], metrics_url="http://h:3/metrics", question=QUESTION, file=FILE)
    assert "no models yet" in shown
    assert "Try it" not in shown
    assert "HTTP" not in shown
