"""`worldmodel serve --ray`: copies of the server on a Ray cluster, as many as the players need.

A player's socket is one request, which stays with its replica. Who waits there too long is sent to look again, and
finds the replica that was started meanwhile. Every game is recorded in a folder that all replicas share: a replica that
dies takes nothing with it but its games' last second, and the pages, which come back by themselves, go on elsewhere.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from client.options import Serve
from client.serve.guard import Guard
from client.serve.site import announce, bindings_of, link, prepare, rules_of
from worldmodel.types import WorldModelError

NAME = "worldmodel"
MOST_REPLICAS = 1024
PATIENCE_S = 10.0  # that a page waits for a seat before it looks at another replica
OTHER_REQUESTS = 128  # of a replica at a time: pages that wait, and what they load
TRIES = 2  # of a replica to start, before it is given up
AUTOSCALING = {
    "min_replicas": 1,
    "metrics_interval_s": 2.0,
    "look_back_period_s": 6.0,
    "upscale_delay_s": 4.0,
    "downscale_delay_s": 300.0,  # its players are moved: not for a short lull
}
END_S = 10.0  # that a replica's games have to end


class Replica:
    """One copy of the server, in a process that Ray has made. Its seats are ready when it is made."""

    def __init__(self, options: Serve, token: str) -> None:
        from client.serve.room import Room

        self._folder = tempfile.TemporaryDirectory(prefix="worldmodel-")
        table = bindings_of(options)
        seats, self._site = prepare(options, table, Path(self._folder.name) / "page")
        rules = rules_of(options, table, Path(self._folder.name) / "games")
        self._room = Room(seats, replace(rules, patience_s=PATIENCE_S))
        self._options, self._token = options, token

    def __serve_build_asgi_app__(self) -> Any:
        """Called by Ray."""
        from client.serve.app import build_app

        return Guard(build_app(self._room, self._site), self._token, self._options.host, self._options.port)  # type: ignore[arg-type]


def serve_on_a_cluster(options: Serve) -> int:
    """Until a signal ends it (raised as Ended). WorldModelError for what cannot be served."""
    if options.record is None:
        raise WorldModelError("--ray needs --record with a folder that all machines of the cluster share")
    if options.port == 0:
        raise WorldModelError("--ray needs a --port: 0 is none")
    if not 1 <= options.replicas <= MOST_REPLICAS:
        raise WorldModelError(f"--replicas must lie in 1..{MOST_REPLICAS}, got {options.replicas}")
    options = replace(options, record=options.record.resolve())
    token = secrets.token_urlsafe(24)
    with _cluster(options) as (ray, serve):
        serve.start(proxy_location="HeadOnly", http_options={"host": options.host, "port": options.port})
        replica = serve.deployment(name=NAME, **_deployment(ray, options))(serve.ingress()(Replica))
        try:
            serve.run(replica.bind(options, token), name=NAME)
        except RuntimeError as error:
            raise WorldModelError(f"the cluster could not start the world: {error}") from None
        _check_answer(options, token)
        announce(options.host, options.port, token)
        threading.Event().wait()
    return 0


@contextmanager
def _cluster(options: Serve) -> Iterator[tuple[Any, Any]]:
    """The modules ray and ray.serve, connected. A cluster of our own ends with us; of another one, what we started."""
    try:
        ray, serve = import_module("ray"), import_module("ray.serve")
    except ImportError:
        raise WorldModelError('--ray needs Ray Serve: pip install "worldmodel[ray]"') from None
    here = {"num_cpus": options.replicas * _cores(options)} if options.ray == "local" else {}
    try:
        ray.init(address=options.ray, include_dashboard=False, log_to_driver=False, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WorldModelError(f"no Ray cluster at {options.ray!r} ({error})") from None
    try:
        yield ray, serve
    finally:
        with contextlib.suppress(Exception):  # the cluster may be gone before us
            serve.shutdown()
        ray.shutdown()


def _deployment(ray: Any, options: Serve) -> dict[str, Any]:
    """How replicas are started. WorldModelError for a cluster on which none would ever start."""
    has = ray.cluster_resources()
    needs = {"num_cpus": _cores(options)}
    if has.get("CPU", 0) < _cores(options):
        raise WorldModelError(f"a replica needs {_cores(options)} cores (--threads), the cluster has {has['CPU']:.0f}")
    if has.get("GPU", 0) >= 1:
        needs["num_gpus"] = 1
    return {
        "ray_actor_options": needs,
        "autoscaling_config": {
            **AUTOSCALING,
            "max_replicas": options.replicas,
            "target_ongoing_requests": options.players,
        },
        "max_ongoing_requests": options.players + OTHER_REQUESTS,
        "max_constructor_retry_count": TRIES,
        "graceful_shutdown_timeout_s": END_S,
    }


def _cores(options: Serve) -> int:
    """That a replica asks for; without --threads it uses all of its machine's, but need not have them alone."""
    return max(1, options.engine.threads)


def _check_answer(options: Serve, token: str) -> None:
    """A Serve that ran before us keeps the address that it was given."""
    address = link(options.host, options.port, token).replace("/?", "/world.json?")
    try:
        with urllib.request.urlopen(address, timeout=30):
            return
    except (urllib.error.URLError, OSError) as error:
        raise WorldModelError(
            f"{options.host} port {options.port} does not answer ({error}): if Ray Serve runs on this cluster already, "
            "give its --host and --port, or end it (serve shutdown)"
        ) from None
