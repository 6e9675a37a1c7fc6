from server.domain.configuration import PINNED, ModelConfig
from server.lifecycle.residency.pinning import is_pinned


def test_a_model_is_pinned_by_its_configuration_or_by_a_pattern_with_its_name():
    assert is_pinned(ModelConfig(name="a", parameters={PINNED: "true"}), ())
    assert is_pinned(ModelConfig(name="fraud-eu"), ("x", "fraud-*"))
    assert not is_pinned(ModelConfig(name="Fraud-eu", parameters={PINNED: "false"}), ("fraud-*",))
