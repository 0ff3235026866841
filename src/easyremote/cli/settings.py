"""Settings: the one place that knows them and where they come from.

A flag wins over an environment variable, that over ``easynet.toml``, that over the default. They are
read once, when a command starts. ``easynet.toml`` is looked for in the working directory, then in the
home (``EASYREMOTE_HOME``, or ``~/.easyremote``); its keys are the names below.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import msgspec

from easyremote.errors import UsageError
from easyremote.links.address import DEFAULT_GATEWAY, known_gateway
from easyremote.protocol.limits import DEFAULT_LIMITS, DEFAULT_MAILBOX, Limits, MailboxLimits

__all__ = ["FILE_NAME", "Settings", "home_of", "read_settings"]

FILE_NAME = "easynet.toml"
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may be set.

    Attributes:
        gateway: The gateway that nodes and clients connect to.
        host: The address a gateway listens on; empty for all interfaces.
        port: The port a gateway listens on; 0 picks a free one.
        open: Whether a gateway lets anyone join.
        certificate: A gateway's certificate, a PEM file; None: one of its own making.
        key: The certificate's key, a PEM file.
        addresses: How others reach a gateway, for invites.
        limits: What one address and one device may take of a gateway.
        mailbox: What a gateway keeps for nodes that are away, at most.
        name: The name a node takes; None: the node decides.
        timeout: How long a call may take, in seconds; None: as long as the function says.
        connect_timeout: How long to wait for the gateway, in seconds.
        lease: How long a gateway keeps a silent device, in seconds.
        verbose: Whether to show calls by id, and tracebacks.
        home: Where the device's key is.
        sources: Where each setting that is not a default came from.
    """

    gateway: Annotated[str, msgspec.Meta(min_length=1)] = DEFAULT_GATEWAY
    host: str = ""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    open: bool = False
    certificate: str | None = None
    key: str | None = None
    addresses: list[str] = []
    limits: Limits = DEFAULT_LIMITS
    mailbox: MailboxLimits = DEFAULT_MAILBOX
    name: str | None = None
    timeout: Seconds | None = None
    connect_timeout: Seconds = 5.0
    lease: Seconds = 10.0
    verbose: bool = False
    home: Path = Path()
    sources: dict[str, str] = {}


_SETTABLE = {
    field.name: field for field in msgspec.structs.fields(Settings) if field.name not in ("home", "sources")
}
_VARIABLES: dict[str, tuple[str, ...]] = {
    name: (f"EASYREMOTE_{name.upper()}",) for name in _SETTABLE if name not in ("limits", "mailbox")
}
_VARIABLES["gateway"] = ("EASYREMOTE_GATEWAY", "EASYREMOTE_GATEWAY_ADDRESS")
_YES_NO = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def home_of(environment: Mapping[str, str]) -> Path:
    """The folder that holds this device's key."""
    given = environment.get("EASYREMOTE_HOME")
    return Path(given).expanduser() if given else Path.home() / ".easyremote"


def read_settings(flags: Mapping[str, object], environment: Mapping[str, str], folder: Path) -> Settings:
    """Gather the settings.

    Args:
        flags: What the command line says; None is not said.
        environment: The environment variables.
        folder: The working directory.

    Raises:
        UsageError: A value does not fit, or the file has a key nobody knows.
    """
    home = home_of(environment)
    chosen: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in (_from_flags(flags), _from_environment(environment), _from_file(folder, home)):
        for name, value, source in layer:
            if name not in chosen:
                chosen[name] = _fit(name, value, source)
                sources[name] = source
    if "gateway" not in chosen:
        chosen["gateway"] = known_gateway(home) or DEFAULT_GATEWAY
    return Settings(**chosen, home=home, sources=sources)


def _from_flags(flags: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    for name, value in flags.items():
        if value is not None:
            yield name, value, "--" + name.replace("_", "-")


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, object, str]]:
    for name, variables in _VARIABLES.items():
        for variable in variables:
            value = environment.get(variable)
            if value:
                yield name, value, variable


def _from_file(folder: Path, home: Path) -> Iterator[tuple[str, object, str]]:
    path = next((place / FILE_NAME for place in (folder, home) if (place / FILE_NAME).is_file()), None)
    if path is None:
        return
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}\nMend the file, or move it away.") from error
    for key, value in read.items():
        name = key.replace("-", "_")
        if name not in _SETTABLE:
            near = get_close_matches(name, _SETTABLE, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the settings are {', '.join(_SETTABLE)}."
            raise UsageError(f"{path} sets {key!r}, which is no setting: {hint}")
        yield name, value, str(path)


def _fit(name: str, value: object, source: str) -> object:
    if isinstance(value, str) and _SETTABLE[name].type is bool:
        value = _YES_NO.get(value.strip().lower(), value)
    if isinstance(value, str) and name == "addresses":
        value = value.split(",")
    try:
        return msgspec.convert(value, _SETTABLE[name].type, strict=not isinstance(value, str))
    except msgspec.ValidationError as error:
        raise UsageError(f"{source} is {value!r}: {_wanted(str(error))}") from error


def _wanted(complaint: str) -> str:
    """A validator's complaint, in lower case as our own messages are."""
    return complaint[:1].lower() + complaint[1:]
