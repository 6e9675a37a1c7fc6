from pathlib import Path

import pytest
from pydantic import ValidationError

from server.option_values import MemoryBudget, ResourceLimit
from server.settings import Settings, SettingsInvalid, nearest, options, read


def faults(command_line=None, environment=None, fallback=None) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as caught:
        read(command_line or {}, environment or {}, fallback)
    return caught.value.faults


@pytest.fixture
def settings_file(tmp_path):
    def write(text: str) -> str:
        path = tmp_path / "tercet.toml"
        path.write_text(text)
        return str(path)

    return write


def test_without_any_source_every_option_has_its_default():
    assert read({}, {}) == Settings()
    assert (Settings().http_port, Settings().grpc_port, Settings().metrics_port) == (8000, 8001, 8002)


def test_the_command_line_goes_before_the_environment_before_the_file_before_the_fallback(settings_file):
    file = settings_file("http_port = 3\ngrpc_port = 3\nmetrics_port = 3")
    environment = {"TERCET_HTTP_PORT": "2", "TERCET_GRPC_PORT": "2", "TERCET_SETTINGS": file}
    fallback = dict.fromkeys(["http_port", "grpc_port", "metrics_port", "cpu_threads"], 4)
    settings = read({"http_port": "1"}, environment, fallback)
    assert (settings.http_port, settings.grpc_port, settings.metrics_port, settings.cpu_threads) == (
        1,
        2,
        3,
        4,
    )


def test_a_settings_file_named_on_the_command_line_goes_before_one_of_the_environment(settings_file):
    named = settings_file("id = 'this'")
    assert read({"settings": named}, {"TERCET_SETTINGS": "no such file"}).id == "this"


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().http_port = 1


def test_a_variable_holds_several_values_between_commas():
    settings = read({}, {"TERCET_MODEL_REPOSITORY": "one, /two,"})
    assert settings.model_repository == (Path("one"), Path("/two"))


def test_a_comma_on_the_command_line_is_part_of_the_path():
    assert read({"model_repository": ["a,b"]}, {}).model_repository == (Path("a,b"),)


def test_an_empty_value_of_a_script_names_no_folder():
    settings = read({"model_repository": [""], "log_file": ""}, {"TERCET_LOAD_MODEL": ""})
    assert (settings.model_repository, settings.load_model) == ((), ())
    assert settings.log_file is None


def test_what_kubernetes_sets_for_a_service_of_our_name_is_not_an_option():
    assert read({}, {"TERCET_HTTP_PORT": "tcp://10.0.0.1:80", "TERCET_PORT": "x"}).http_port == 8000


def test_a_fault_names_the_option_as_its_source_writes_it(settings_file):
    file = settings_file("stage_threads = 0")
    assert faults({"http_port": "70000"}, {"TERCET_GRPC_PORT": "x", "TERCET_SETTINGS": file}) == (
        "--http-port=70000: must be a whole number from 0 to 65535",
        "TERCET_GRPC_PORT=x: must be a whole number from 0 to 65535",
        f"stage_threads = 0 in {file}: must be a whole number from 1 to 1024",
    )


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("log_info", "maybe", "true or false"),
        ("model_control_mode", "pol", "one of none, poll, explicit"),
        ("repository_poll_secs", "0", "a number above 0"),
        ("exit_timeout_secs", "inf", "a number, at least 0"),
        ("max_queue_size", "0", "a whole number, at least 1"),
        ("http_address", "", "text, not empty"),
        ("rate_limit", "on", "one of execution_count, off"),
        ("max_queue_bytes", "0", "a whole number, at least 1"),
        ("device_concurrency", "-1", "a whole number from 0 to 4096"),
    ],
)
def test_a_fault_says_what_is_allowed(field, value, allowed):
    assert faults({field: value}) == (f"{options()[field].flag}={value}: must be {allowed}",)


def test_resources_of_the_rate_limiter_are_written_as_for_triton():
    written = ["R1:10", "R2:5:0", "R2:8:1"]
    limits = (ResourceLimit("R1", 10), ResourceLimit("R2", 5, 0), ResourceLimit("R2", 8, 1))
    assert read({"rate_limit_resource": written}, {}).rate_limit_resource == limits
    assert read({}, {"TERCET_RATE_LIMIT_RESOURCE": ", ".join(written)}).rate_limit_resource == limits


@pytest.mark.parametrize("written", ["R1", "R1:", "R1:0", "R1:-1", "R1:many", ":4", "R1:4:gpu", "R1:4:0:0"])
def test_a_resource_that_cannot_be_read_is_refused_with_how_it_is_written(written):
    (fault,) = faults({"rate_limit_resource": [written]})
    assert fault.startswith(f"--rate-limit-resource={written}: must be NAME:COUNT or NAME:COUNT:DEVICE")


def test_endpoints_of_a_tier_stand_between_commas_or_one_by_one():
    written = ["10.0.0.1:8001, dns:///pre.default.svc:8001", "[::1]:9001"]
    tiers = {"role": "gateway", "predict_endpoints": "predict:8001"}
    found = ("10.0.0.1:8001", "dns:///pre.default.svc:8001", "[::1]:9001")
    assert read({**tiers, "pre_endpoints": written}, {}).pre_endpoints == found
    assert read(tiers, {"TERCET_PRE_ENDPOINTS": ", ".join(written)}).pre_endpoints == found


@pytest.mark.parametrize(
    "written", ["predict", ":8001", "predict:", "predict:0", "predict:70000", "http://predict:8001", "a b:80"]
)
def test_an_endpoint_that_cannot_be_read_is_refused_with_how_it_is_written(written):
    (fault,) = faults({"role": "gateway", "predict_endpoints": [written]})
    assert fault == f"--predict-endpoints={written}: must be HOST:PORT, dns:///NAME:PORT or oip://HOST:PORT"


def test_a_gateway_without_a_predict_tier_is_refused():
    assert faults({"role": "gateway", "post_endpoints": "post:1"}) == (
        "--role=gateway needs --predict-endpoints: every model is predicted by a tier behind it",
    )


@pytest.mark.parametrize(
    ("role", "flag", "who"),
    [
        ("all", "predict", "asks no other tier"),
        ("pre", "post", "asks the predict tier alone"),
        ("predict", "pre", "asks the post tier alone"),
        ("post", "post", "asks no other tier"),
    ],
)
def test_endpoints_that_a_role_never_asks_are_refused(role, flag, who):
    assert faults({"role": role, f"{flag}_endpoints": "10.0.0.1:8001"}) == (
        f"--{flag}-endpoints would have no effect: a process of --role={role} {who}",
    )


@pytest.mark.parametrize("role", ["pre", "predict", "post"])
def test_a_tier_that_could_not_be_asked_is_refused(role):
    assert faults({"role": role, "allow_grpc": "false"}) == (
        f"--role={role} needs --allow-grpc=true: the other tiers ask over gRPC",
    )


@pytest.mark.parametrize("role", ["pre", "predict", "post"])
def test_a_tier_may_be_alone(role):
    assert read({"role": role}, {}).role == role


@pytest.mark.parametrize(
    ("written", "budget"),
    [
        ("cpu=4GiB", MemoryBudget("cpu", 4 * 2**30)),
        ("cuda:0=70Gi", MemoryBudget("cuda:0", 70 * 2**30)),
        ("cuda:12=1.5 GB", MemoryBudget("cuda:12", 1_500_000_000)),
        ("cpu=1048576", MemoryBudget("cpu", 2**20)),
        ("cpu=80%", MemoryBudget("cpu", share=0.8)),
    ],
)
def test_a_budget_is_bytes_or_a_share_of_what_the_device_has(written, budget):
    assert read({"memory_budget": [written]}, {}).memory_budget == (budget,)
    assert budget.of(1000) == (800 if budget.share else budget.bytes)


def test_a_variable_holds_a_budget_for_each_device():
    budgets = read({}, {"TERCET_MEMORY_BUDGET": "cpu=80%, cuda:0=1GiB"}).memory_budget
    assert [budget.device for budget in budgets] == ["cpu", "cuda:0"]
    assert faults({"memory_budget": ["cpu=1GiB", "cuda:0=1GiB", "cpu=2GiB"]}) == (
        "--memory-budget is given 2 times for cpu: once is enough",
    )


@pytest.mark.parametrize(
    "written",
    [
        "4GiB",
        "cpu",
        "cpu=",
        "cpu=0",
        "cpu=0%",
        "cpu=101%",
        "cpu=-1GiB",
        "cpu=1PiB",
        "gpu:0=1GiB",
        "cuda=1GiB",
    ],
)
def test_a_budget_that_cannot_be_read_is_refused_with_how_it_is_written(written):
    (fault,) = faults({"memory_budget": [written]})
    assert fault.startswith(f"--memory-budget={written}: must be DEVICE=SIZE, such as cpu=4GiB")


def test_an_unknown_setting_in_a_file_is_refused_with_the_nearest(settings_file):
    file = settings_file("htp_port = 1")
    assert faults({"settings": file}) == (
        f"htp_port = 1 in {file}: there is no such setting; did you mean http_port?",
    )


def test_a_settings_file_that_cannot_be_read_is_named(settings_file, tmp_path):
    missing = str(tmp_path / "missing.toml")
    assert faults({"settings": missing}) == (
        f"the settings file {missing} cannot be read: No such file or directory",
    )
    broken = settings_file("http_port = ")
    assert faults({"settings": broken})[0].startswith(f"the settings file {broken} is not TOML: ")


def test_two_doors_cannot_share_a_port():
    assert faults({"metrics_port": "8000"}) == (
        "--http-port and --metrics-port are both 8000: each door needs a port of its own",
    )


def test_a_port_is_not_shared_with_a_closed_door_nor_by_two_free_choices():
    assert read({"metrics_port": "8000", "allow_http": "false"}, {}).metrics_port == 8000
    assert read({"metrics_port": "0", "http_port": "0"}, {}).metrics_port == 0


def test_a_star_loads_every_model_and_stands_alone():
    explicit = {"model_control_mode": "explicit"}
    assert read({"load_model": ["*"], **explicit}, {}).load_model == ("*",)
    assert faults({"load_model": ["*", "iris"], **explicit}) == (
        "--load-model=* loads every model, so it cannot stand beside another --load-model",
    )


def test_models_are_named_for_the_start_in_mode_explicit_only():
    assert faults({"load_model": ["iris"]}) == (
        "--load-model needs --model-control-mode=explicit, which is none",
    )


def test_every_option_has_a_help_a_group_and_bounds_that_its_default_keeps():
    assert list(options()) == list(Settings.model_fields)
    assert all(option.help and option.group and option.allowed for option in options().values())
    assert Settings.model_validate(Settings().model_dump()) == Settings()


def test_the_nearest_word_is_offered_unless_none_is_near():
    assert nearest("htp_port", ["http_port", "docs"]) == "; did you mean http_port?"
    assert nearest("qqqq", ["http_port", "docs"]) == ""


def test_a_predict_tier_may_be_another_server_and_a_pre_tier_then_asks_the_post_tier():
    told = ("oip://triton:8001", "oip://kserve:8081?model=a&model=b")
    assert read({"role": "gateway", "predict_endpoints": told}, {}).predict_endpoints == told
    pre = {"role": "pre", "predict_endpoints": told, "post_endpoints": "post:8001"}
    assert read(pre, {}).post_endpoints == ("post:8001",)


def test_no_other_tier_may_be_another_server():
    (fault,) = faults({"role": "gateway", "predict_endpoints": "a:1", "post_endpoints": "oip://triton:8001"})
    assert fault == "--post-endpoints has oip://triton:8001: only the predict tier can be another server"


TIER_TLS = {"tier_tls_certificate": "c", "tier_tls_key": "k", "tier_tls_ca": "ca"}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tls_certificate": "c"}, "--tls-certificate and --tls-key go together"),
        ({"tls_key": "k"}, "--tls-certificate and --tls-key go together"),
        ({"tls_client_ca": "ca"}, "--tls-client-ca needs --tls-certificate"),
        ({"grpc_use_ssl": "true"}, "--grpc-use-ssl needs --grpc-server-cert and --grpc-server-key"),
        (
            {"grpc_use_ssl_mutual": "true", "grpc_server_cert": "c", "grpc_server_key": "k"},
            "--grpc-use-ssl-mutual needs --grpc-root-cert",
        ),
        ({"role": "post", "tier_tls_ca": "ca"}, "--tier-tls-ca go together"),
        (TIER_TLS, "a process of --role=all is no tier"),
        ({"role": "post", "api_keys": "keys"}, "--api-keys of --role=post needs --tier-tls-certificate"),
        (
            {"role": "post", "tls_certificate": "c", "tls_key": "k"},
            "--tls-certificate of --role=post needs --tier-tls-certificate",
        ),
        (
            {"role": "post", "grpc_use_ssl": "true", "grpc_server_cert": "c", "grpc_server_key": "k"},
            "--role=post takes --tier-tls-certificate in place of --grpc-use-ssl",
        ),
        ({"jwt_issuer": "i"}, "--jwt-issuer would have no effect without --jwt-jwks"),
        ({"jwt_jwks": "f", "jwt_issuer": "i"}, "--jwt-jwks needs --jwt-audience"),
        (
            {"jwt_jwks": "http://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"},
            "must be a file or an https:// address",
        ),
        (
            {"anonymous_rights": "inference,all"},
            "--anonymous-rights=inference,all: must be none, or inference, control and metrics",
        ),
        ({"http_restricted_api": ["logging"]}, "--http-restricted-api=logging"),
    ],
)
def test_what_would_close_less_than_it_says_is_refused(given, sentence):
    assert any(sentence in fault for fault in faults(given)), faults(given)


@pytest.mark.parametrize(
    "given",
    [
        {"role": "post", "api_keys": "keys", "tls_certificate": "c", "tls_key": "k", **TIER_TLS},
        {"role": "gateway", "predict_endpoints": ["p:1"], "api_keys": "keys", **TIER_TLS},
        {"jwt_jwks": "https://issuer.example/keys", "jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_jwks": "http://127.0.0.1:8/keys", "jwt_issuer": "i", "jwt_audience": "a"},
        {"jwt_jwks": "/etc/keys.json", "jwt_issuer": "i", "jwt_audience": "a"},
        {"grpc_server_cert": "c", "grpc_server_key": "k"},
        {"anonymous_rights": "none"},
        {"anonymous_rights": "inference, metrics"},
    ],
)
def test_what_closes_a_door_as_it_says_is_taken(given):
    assert read(given, {})


def test_restricted_apis_in_a_variable_are_parted_by_semicolons():
    variable = {"TERCET_HTTP_RESTRICTED_API": "logging,trace:a=b;health:c=d"}
    assert read({}, variable).http_restricted_api == ("logging,trace:a=b", "health:c=d")
