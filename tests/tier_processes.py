"""A server in tiers, each process of them real, as an operator would start them one by one."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.server_process import Server, running


@dataclass
class Tiers:
    """The processes of each tier, in the order in which they were started."""

    pre: list[Server] = field(default_factory=list)
    predict: list[Server] = field(default_factory=list)
    post: list[Server] = field(default_factory=list)
    gateway: list[Server] = field(default_factory=list)

    @property
    def all(self) -> list[Server]:
        return [*self.gateway, *self.pre, *self.predict, *self.post]


def endpoints(stage: str, servers: Sequence[Server]) -> list[str]:
    """The option that names these to another process; none for none."""
    return [f"--{stage}-endpoints={','.join(server.grpc for server in servers)}"] if servers else []


@contextmanager
def tier(
    log_folder: Path,
    role: str,
    *repositories: Path,
    predict: Sequence[Server] = (),
    post: Sequence[Server] = (),
    options: Sequence[str] = (),
    name: str = "",
    wait: bool = True,
) -> Iterator[Server]:
    """One process of a tier, told where the next one is."""
    ahead = [*endpoints("predict", predict), *endpoints("post", post)]
    log_file = log_folder / f"{name or role}.log"
    with running(log_file, *repositories, options=[f"--role={role}", *ahead, *options], wait=wait) as server:
        yield server


@contextmanager
def in_tiers(
    log_folder: Path,
    *repositories: Path,
    pre: int = 1,
    predict: int = 1,
    post: int = 1,
    gateway: int = 1,
    options: Sequence[str] = (),
    gateway_options: Sequence[str] = (),
) -> Iterator[Tiers]:
    """So many processes of each tier over these repositories, all of them ready.

    They start side by side, and are stopped from the front to the back. `options` go to the tiers that have
    models, `gateway_options` to the gateways.
    """
    tiers = Tiers()
    more: dict[str, Any] = {"options": options, "wait": False}
    with ExitStack() as stack:
        for number in range(post):
            started = tier(log_folder, "post", *repositories, name=f"post-{number}", **more)
            tiers.post.append(stack.enter_context(started))
        for number in range(predict):
            name = f"predict-{number}"
            started = tier(log_folder, "predict", *repositories, post=tiers.post, name=name, **more)
            tiers.predict.append(stack.enter_context(started))
        for number in range(pre):
            name = f"pre-{number}"
            started = tier(log_folder, "pre", *repositories, predict=tiers.predict, name=name, **more)
            tiers.pre.append(stack.enter_context(started))
        for number in range(gateway):
            ahead = endpoints("pre", tiers.pre)
            started = tier(
                log_folder,
                "gateway",
                predict=tiers.predict,
                post=tiers.post,
                options=[*ahead, *gateway_options],
                name=f"gateway-{number}",
                wait=False,
            )
            tiers.gateway.append(stack.enter_context(started))
        for server in (*tiers.post, *tiers.predict, *tiers.pre, *tiers.gateway):
            server.until(server.ready, within_s=120)
        yield tiers
