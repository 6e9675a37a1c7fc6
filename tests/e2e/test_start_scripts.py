"""Started with the words that people start tritonserver with, a real server serves."""

from pathlib import Path

import httpx

from tests.e2e.workshop import put, times
from tests.server_process import running


def test_with_the_words_of_kserves_runtime_it_serves_without_a_word_of_warning(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    words = [f"--model-store={tmp_path}/models", "--allow-grpc=true", "--allow-http=true"]
    with running(tmp_path / "log", options=words) as server:
        assert server.index() == {("double", "1"): ("READY", "")}
        assert "warning" not in server.log
        put(tmp_path / "models", "late", times(2))
        assert server.client.post("/v2/repository/models/late/load").status_code == 503  # mode none


def test_with_the_words_of_a_tuned_triton_one_warning_says_what_has_no_effect(tmp_path: Path):
    put(tmp_path / "models", "double", times(2))
    words = [
        *(f"--model-repository={tmp_path}/models", "--model-control-mode=explicit", "--load-model=*"),
        *("--backend-config=onnxruntime,default-max-batch-size=16", "--cache-config=local,size=1048576"),
        *("--metrics-config", "summary_latencies=true", "--metrics-interval-ms=500"),
        *("--allow-gpu-metrics=false", "--allow-cpu-metrics=false", "--log-verbose=1"),
    ]
    with running(tmp_path / "log", options=words) as server:
        (warning,) = [line for line in server.log.splitlines() if "no effect" in line]
        assert warning.endswith(": --backend-config, --cache-config, --metrics-config, --metrics-interval-ms")
        metrics = httpx.get(f"http://{server.metrics}/metrics").text
        assert "nv_inference_count" in metrics
        assert "nv_cpu_" not in metrics
        assert server.client.get("/v2/logging").json()["log_verbose_level"] == 1
