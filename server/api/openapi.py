"""The OpenAPI document of this server: every path that it answers, and the models that serve right now."""

from server.api.model_operations import model_operations
from server.api.operation import COMPONENTS, Json
from server.api.server_operations import server_operations
from server.domain.catalogue import Catalogue, VersionFacts

DESCRIPTION = (
    "The models that are served now, in each way of asking them, and the server's own calls. "
    "Every refusal is a JSON object with a sentence under `error`; a method that a path does not have "
    "is answered with 405 and the one that it has, a head that is too large with 431. Where keys are asked "
    "for, who is not known gets 401 and who has no right 403."
)


def document(catalogue: Catalogue, version: str) -> Json:
    """OpenAPI 3.0; each model is shown by its highest version. `version` is the server's."""
    serving = catalogue.all_facts()
    highest: dict[str, VersionFacts] = {facts.model: facts for facts in serving}
    paths: Json = {}
    for facts in highest.values():
        paths.update(model_operations(facts))
    paths.update(server_operations(serving))
    return {
        "openapi": "3.0.3",
        "info": {"title": "Tercet", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": COMPONENTS,
    }
