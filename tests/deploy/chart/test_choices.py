"""What an operator sets, and where it turns up."""

import base64

import kubernetes_validate
import pytest

from tests.deploy.chart.render import (
    CHART,
    Object,
    Refused,
    arguments,
    component,
    notes,
    of_kind,
    render,
    server,
)
from tests.deploy.chart.schemas import OLDEST, faults
from tests.server_process import SAMPLES


def deployment(role: str, *sets: str, files: tuple[str, ...] = ()) -> Object:
    return next(
        each for each in of_kind(render(files, sets), "Deployment").values() if component(each) == role
    )


def test_a_tier_has_replicas_images_and_places_of_its_own():
    sets = (
        "predict.replicas=3",
        "predict.gpus=2",
        "predict.image.repository=tercet/predict-cuda",
        "predict.nodeSelector.pool=gpu",
        "predict.tolerations[0].key=gpu",
        "image.registry=registry.example.com",
        "image.tag=1.2",
    )
    predict, pre = deployment("predict", *sets), deployment("pre", *sets)
    assert predict["spec"]["replicas"] == 3
    assert pre["spec"]["replicas"] == 1
    assert server(predict)["image"] == "registry.example.com/tercet/predict-cuda:1.2"
    assert server(pre)["image"] == "registry.example.com/tercet/stages:1.2"
    assert server(predict)["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert predict["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "gpu"}
    assert predict["spec"]["template"]["spec"]["tolerations"] == [{"key": "gpu"}]
    assert "nodeSelector" not in pre["spec"]["template"]["spec"]


def test_what_every_tier_has_a_tier_may_say_otherwise_even_to_nothing():
    sets = ("every.budget.enabled=true", "every.drain.exitTimeoutSeconds=60", "pre.budget.enabled=false")
    sets = (*sets, "post.drain.exitTimeoutSeconds=0")
    budgets = of_kind(render((), sets), "PodDisruptionBudget")
    assert sorted(map(component, budgets.values())) == ["gateway", "post", "predict"]
    assert "--exit-timeout-secs=60" in arguments(deployment("predict", *sets))
    assert "--exit-timeout-secs=0" in arguments(deployment("post", *sets))


def test_options_are_written_as_serve_reads_them():
    sets = (
        "every.options.max-queue-size=2000000",
        "predict.options.include-models={fraud-*,shop-*}",
        "predict.options.docs=false",
        "predict.options.load-on-request=true",
    )
    words = arguments(deployment("predict", *sets))
    assert "--max-queue-size=2000000" in words
    assert words.index("--include-models=fraud-*") + 1 == words.index("--include-models=shop-*")
    assert "--docs=false" in words
    assert "--load-on-request=true" in words


def test_fused_is_one_deployment_that_does_everything():
    objects = render((), ["mode=fused"])
    assert list(of_kind(objects, "Deployment")) == ["tercet-all"]
    words = arguments(deployment("all", "mode=fused"))
    assert "--role=all" in words
    assert not [word for word in words if "endpoints" in word or word.startswith("--allow-http")]


def test_tiers_that_are_off_are_asked_by_nobody():
    words = arguments(deployment("gateway", "pre.enabled=false", "post.enabled=false"))
    assert [word.partition("=")[0] for word in words if "endpoints" in word] == ["--predict-endpoints"]


def test_another_server_may_be_the_predict_tier_and_is_asked_by_the_pre_tier_which_then_asks_post():
    sets = ("predict.enabled=false", "predict.endpoints={oip://triton:8001}")
    assert "--predict-endpoints=oip://triton:8001" in arguments(deployment("gateway", *sets))
    words = arguments(deployment("pre", *sets))
    assert "--predict-endpoints=oip://triton:8001" in words
    assert "--post-endpoints=dns:///tercet-post.models.svc:8001" in words


def test_connections_end_by_age_only_where_clients_do_not_balance():
    aged = "--grpc-max-connection-age=300000"
    assert aged in arguments(deployment("gateway"))
    assert aged not in arguments(deployment("gateway", "clients.balance=true"))
    assert not [word for word in arguments(deployment("predict")) if "connection-age" in word]


@pytest.mark.parametrize("by", ["hpa", "keda"])
def test_tiers_scale_by_their_saturation_and_gateways_by_their_processors(by):
    sets = (f"autoscaling.by={by}", "gateway.autoscaling.enabled=true", "predict.autoscaling.enabled=true")
    objects = render((), sets)
    if by == "hpa":
        scalers = of_kind(objects, "HorizontalPodAutoscaler")
        predict = scalers["tercet-predict"]["spec"]["metrics"]
        assert [each["type"] for each in predict] == ["Pods"]
        assert predict[0]["pods"]["metric"]["name"] == "tercet_saturation_ratio"
        assert predict[0]["pods"]["target"] == {"type": "AverageValue", "averageValue": "700m"}
        assert [each["type"] for each in scalers["tercet-gateway"]["spec"]["metrics"]] == ["Resource"]
        rule = of_kind(objects, "ConfigMap")["tercet-adapter-rule"]["data"]["rules.yaml"]
        assert "tercet_saturation_ratio" in rule
    else:
        scalers = of_kind(objects, "ScaledObject")
        (trigger,) = scalers["tercet-predict"]["spec"]["triggers"]
        assert trigger["metadata"]["threshold"] == "0.7"
        assert 'namespace="models",pod=~"tercet-predict-.+"' in trigger["metadata"]["query"]
        assert [each["type"] for each in scalers["tercet-gateway"]["spec"]["triggers"]] == ["cpu"]
    assert scalers.keys() == {"tercet-predict", "tercet-gateway"}


def test_the_gauge_that_scales_is_one_that_the_server_has():
    metrics = (CHART.parents[2] / "server" / "observe" / "metrics.py").read_text(encoding="utf-8")
    assert '"tercet_saturation_ratio"' in metrics


def test_the_sample_repository_is_the_one_of_this_checkout():
    maps = of_kind(render(), "ConfigMap")["tercet-sample"]["binaryData"]
    assert base64.b64decode(maps["iris.1.model.onnx"]) == (SAMPLES / "iris/1/model.onnx").read_bytes()
    assert base64.b64decode(maps["diabetes.1.model.onnx"]) == (SAMPLES / "diabetes/1/model.onnx").read_bytes()


def test_the_test_asks_the_service_as_a_client_does():
    pod = of_kind(render((), ["service.httpPort=80"]), "Pod")["tercet-test"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert [*container["command"], *container["args"]] == [
        "tercet",
        "infer",
        "iris",
        "--url=http://tercet.models.svc:80",
        "--timeout=60",
        "--input=measurements=[5.1,3.5,1.4,0.2]",
    ]


def test_the_test_asks_by_tls_where_clients_have_to():
    sets = ("security.tls.enabled=true", "security.tls.secret=front")
    pod = of_kind(render((), sets), "Pod")["tercet-test"]
    words = pod["spec"]["containers"][0]["args"]
    assert "--url=https://tercet.models.svc:8000" in words
    assert "--ca-cert=/etc/tercet/tls/ca.crt" in words
    (volume,) = [each["secret"] for each in pod["spec"]["volumes"] if "secret" in each]
    assert volume == {"secretName": "front", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


def test_there_is_no_test_where_clients_need_a_certificate():
    sets = ("security.tls.enabled=true", "security.tls.secret=a", "security.tls.clientCa=true")
    assert not of_kind(render((), sets), "Pod")


def test_a_state_folder_on_a_claim_is_taken_over_and_not_shared():
    fixed = ("state.kind=pvc", "gateway.replicas=1")
    assert deployment("predict", *fixed)["spec"]["strategy"] == {"type": "Recreate"}
    assert "tercet-predict-state" in of_kind(render((), fixed), "PersistentVolumeClaim")


def test_rights_follow_from_keys_and_tokens():
    def rights(*sets: str) -> str:
        words = arguments(deployment("gateway", *sets))
        return next(word for word in words if word.startswith("--anonymous-rights")).partition("=")[2]

    assert rights() == "inference,metrics"
    assert rights("security.apiKeys.secret=keys") == "metrics"
    assert rights("security.apiKeys.secret=keys", "security.anonymousRights=none") == "none"


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (["predict.enabled=false"], "predict.endpoints names no other server"),
        (["predict.endpoints={oip://triton:8001}"], "predict.enabled has to be false"),
        (["predict.rollout.maxSurge=0"], "nothing could ever be replaced"),
        (["predict.autoscaling.min=9"], "min is above max"),
        (["predict.autoscaling.enabled=true"], "autoscaling.by is none"),
        (["repository.kind=bucket"], "repository.bucket.urls names none"),
        (["repository.kind=pvc"], "repository.pvc.claim is empty"),
        (["repository.kind=gitSync"], "repository.gitSync.url is empty"),
        (
            ["repository.kind=gitSync", "repository.gitSync.url=https://a/b"],
            "repository.gitSync.image is empty",
        ),
        (["state.kind=pvc"], "gateway has more than one replica"),
        (["security.tls.enabled=true"], "security.tls.issuer.name"),
        (["security.jwt.jwks=https://id.example.com"], "needs issuer and audience"),
        (["mode=kserve", "security.apiKeys.secret=keys"], "are KServe's there"),
        (["mode=fused", "security.tierTls.enabled=true"], "there are no tiers"),
        (["gatewayApi.http.enabled=true"], "gatewayApi.parentRefs names no Gateway"),
        (
            ["autoscaling.by=hpa", "pre.autoscaling.enabled=true", "pre.autoscaling.saturation=0"],
            "nothing would scale it",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_does_not_go_together_is_refused_in_a_sentence(sets, sentence):
    with pytest.raises(Refused, match=sentence):
        render((), sets)


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://10.0.0.5/jwks", 443), ("https://id7/jwks", 443), ("https://id7:8443/jwks", 8443)],
)
def test_a_gateway_reaches_the_keys_of_tokens_at_their_port(url, port):
    sets = [f"security.jwt.jwks={url}", "security.jwt.issuer=id", "security.jwt.audience=models"]
    policy = of_kind(render((), sets), "NetworkPolicy")["tercet-gateway"]
    assert [{"port": port, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]


@pytest.mark.parametrize(
    ("url", "port"),
    [("git@git.example.com:shop/models", 22), ("ssh://git@git.example.com:2222/models", 2222)],
)
def test_git_is_reached_by_ssh_where_its_address_says_so(url, port):
    sets = [
        "repository.kind=gitSync",
        "repository.gitSync.image=git-sync:v4",
        f"repository.gitSync.url={url}",
    ]
    policy = of_kind(render((), sets), "NetworkPolicy")["tercet-predict"]
    assert [{"port": port, "protocol": "TCP"}] in [rule["ports"] for rule in policy["spec"]["egress"]]


def test_alerts_lead_to_the_runbooks_where_people_can_open_them():
    def pages(*sets: str) -> set[str]:
        rules = of_kind(render((), ["monitoring.rules=true", *sets]), "PrometheusRule")["tercet"]
        alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"] if "alert" in rule]
        return {rule["annotations"]["runbook_url"].removesuffix(f"/{rule['alert']}.md") for rule in alerts}

    assert pages() == {"docs/runbooks"}
    assert pages("monitoring.runbooks=https://wiki.example.com/tercet/") == {
        "https://wiki.example.com/tercet"
    }


@pytest.mark.parametrize("by", ["podMonitor", "serviceMonitor"])
def test_a_metrics_own_labels_stand_against_prometheus_operators_of_the_same_name(by):
    """`tercet_hop_*` says by `endpoint` which process was asked; the operator calls the scraped port so."""
    objects = render((), [f"monitoring.by={by}"])
    found = [
        each["spec"] for kind in ("PodMonitor", "ServiceMonitor") for each in of_kind(objects, kind).values()
    ]
    (endpoint,) = found[0].get("podMetricsEndpoints", found[0].get("endpoints"))
    assert endpoint["honorLabels"] is True


@pytest.mark.parametrize("mode", ["tiers", "fused", "kserve"])
def test_the_notes_name_what_was_made(mode):
    text = notes((), [f"mode={mode}", "autoscaling.by=hpa"])
    assert ("tercet-gateway" in text) == (mode == "tiers")
    assert ("tercet-all" in text) == (mode == "fused")
    assert ("InferenceService" in text) == (mode == "kserve")
    assert ("set monitoring.by" in text) == (mode != "kserve")


def test_a_release_of_another_name_keeps_out_of_the_way():
    first = {(each["kind"], each["metadata"]["name"]) for each in render(name="shop")}
    second = {(each["kind"], each["metadata"]["name"]) for each in render(name="fraud")}
    assert not first & second


def test_a_long_name_is_cut_so_that_everything_fits():
    objects = render((), ["service.headless=true", "monitoring.by=serviceMonitor"], name="a" * 53)
    assert max(len(each["metadata"]["name"]) for each in objects) <= 63


def test_the_quick_check_of_schemas_finds_what_kubernetes_validate_finds():
    good = deployment("predict")
    bad = {**good, "spec": {**good["spec"], "replica": 1}}
    assert kubernetes_validate.validate(good, OLDEST, strict=True) == OLDEST
    assert faults(good, OLDEST) == []
    with pytest.raises(kubernetes_validate.ValidationError) as refused:
        kubernetes_validate.validate(bad, OLDEST, strict=True)
    assert refused.value.message in faults(bad, OLDEST)[0]
