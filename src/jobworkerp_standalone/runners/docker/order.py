"""What one job of DOCKER wants: its args, and what its worker's settings say for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from docker.utils import parse_repository_tag

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.runners.docker.daemon import DEFAULT_TIMEOUT_SEC
from jobworkerp_standalone.runners.docker.images import ALWAYS, MISSING, NEVER, ImageSource
from jobworkerp_standalone.runners.docker.lifetime import Lifetime, labels
from jobworkerp_standalone.runners.messages import args_of, settings_of
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.DockerRunnerSettings")
_ARGS: Final = message_class("jobworkerp.runner.DockerArgs")
_REMOVED_AT_ONCE: Final = Lifetime()
_LOOPBACK: Final = "127.0.0.1"
_STDIN: Final = {"OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
_NOT_FOR_KEPT: Final = ("stdin", "name", "cleanup", "cleanup_after_ms", "published_ports")


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """The settings of a worker."""

    image: str
    """Empty: each job names one."""
    import_url: str
    platform: str
    pull: str
    timeout_sec: int
    kept_container: Mapping[str, Any]
    """How the container of a worker with ``use_static`` is made."""

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Decode the settings of a worker.

        Raises:
            Fatal: they are no settings, or contradict themselves.
        """
        settings = settings_of(_SETTINGS, data)
        pull = settings.pull.strip().lower() or MISSING
        if pull not in (MISSING, ALWAYS, NEVER):
            raise Fatal(f"pull {settings.pull!r} of the settings is not one of missing, always, never")
        if settings.from_src and not (settings.repo or settings.from_image):
            raise Fatal("from_src of the settings needs repo: the name that the imported image gets")
        image = _tagged(settings.repo if settings.from_src and settings.repo else settings.from_image, settings.tag)
        kept = _config(
            environment=settings.env,
            volumes=settings.volumes,
            working_dir=settings.working_dir,
            entrypoint=settings.entrypoint,
            Tty=True,
        )
        return cls(image, settings.from_src, settings.platform, pull, settings.timeout_sec or DEFAULT_TIMEOUT_SEC, kept)

    def source(self, image: str = "") -> ImageSource:
        """Return where an image comes from: the one named, else that of the settings.

        Raises:
            BadInput: neither is there.
        """
        name = _tagged(image, "") or self.image
        if not name:
            raise BadInput("image of the args is empty and the settings have no from_image; name an image")
        own = name == self.image
        return ImageSource(name, self.platform, self.pull, self.import_url if own else "")


@dataclass(frozen=True, slots=True)
class Order:
    """One container, or one command in a kept one."""

    source: ImageSource
    config: Mapping[str, Any]
    command: Sequence[str]
    user: str
    environment: Sequence[str]
    working_dir: str
    timeout_sec: int
    good_codes: frozenset[int] | None
    """None: any exit will do."""
    stdin: bytes
    name: str
    lifetime: Lifetime
    not_for_kept: Sequence[str]
    """Fields of the args that are set and go with a container of the job's own only."""

    @classmethod
    def read(cls, data: bytes, rules: WorkerRules) -> Self:
        """Decode the args of a job.

        Raises:
            BadInput: they are no args, name no image, or contradict themselves.
        """
        args = args_of(_ARGS, data)
        published = _published(args.published_ports)
        config = _config(
            environment=args.env,
            volumes=args.volumes,
            working_dir=args.working_dir,
            entrypoint=args.entrypoint,
            ports=published,
            Cmd=list(args.cmd) or None,
            User=args.user or None,
            ExposedPorts={port: {} for port in (*args.exposed_ports, *published)} or None,
            NetworkDisabled=args.network_disabled or None,
            Shell=list(args.shell) or None,
            **(_STDIN if args.stdin else {}),
        )
        return cls(
            rules.source(args.image),
            config,
            list(args.cmd),
            args.user,
            list(args.env),
            args.working_dir,
            args.timeout_sec or rules.timeout_sec,
            frozenset(args.success_exit_codes or [0]) if args.treat_nonzero_as_error else None,
            args.stdin.encode(),
            args.name,
            Lifetime.read(args.cleanup, args.cleanup_after_ms),
            [name for name in _NOT_FOR_KEPT if getattr(args, name)],
        )


def container_config(
    config: Mapping[str, Any], image: str, job_id: int, lifetime: Lifetime = _REMOVED_AT_ONCE
) -> dict[str, Any]:
    """Return what the daemon is asked to make, marked as ours."""
    return {**config, "Image": image, "Labels": labels(job_id, lifetime)}


def _published(ports: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """Return the bindings of ports, by the port of the container."""
    bindings: dict[str, list[dict[str, str]]] = {}
    for each in ports:
        outside, separator, inside = each.rpartition(":")
        address, _, port = outside.rpartition(":")
        if not separator or not inside:
            raise BadInput(f"published_ports {each!r} of the args is not [address:]port:container_port[/protocol]")
        inside = inside if "/" in inside else f"{inside}/tcp"
        binding = {"HostIp": address.strip("[]") or _LOOPBACK, "HostPort": port}
        bindings.setdefault(inside, []).append(binding)
    return bindings


def _config(
    *,
    environment: Sequence[str],
    volumes: Sequence[str],
    working_dir: str,
    entrypoint: Sequence[str],
    ports: Mapping[str, Any] | None = None,
    **others: Any,
) -> dict[str, Any]:
    """Return the body of a request for a container; what is None is left to the image."""
    config: dict[str, Any] = {
        "Env": list(environment) or None,
        "WorkingDir": working_dir or None,
        "Entrypoint": list(entrypoint) or None,
        "Volumes": {path: {} for path in volumes if ":" not in path} or None,
        "HostConfig": {"Binds": [each for each in volumes if ":" in each], "PortBindings": dict(ports or {})},
        **others,
    }
    return {key: value for key, value in config.items() if value is not None}


def _tagged(image: str, tag: str) -> str:
    """Return an image's name with a tag: its own, else ``tag``, else latest."""
    image = image.strip()
    if not image or image.startswith("sha256:"):
        return image
    repository, own = parse_repository_tag(image)
    return image if own else f"{repository}:{tag.strip() or 'latest'}"
