"""What may be typed after ``easynet`` about who belongs and who may: each command imports its own work."""

from __future__ import annotations

from typing import Annotated

import typer

from easyremote.cli.commands import AsJson, Gateway, Verbose, app, settings_of
from easyremote.cli.output import Output

__all__ = ["app"]

network_app = typer.Typer(
    name="network",
    help="Make a network, look at it, change its keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(network_app)

DeviceName = Annotated[str, typer.Argument(metavar="DEVICE", help="A name, an id, or the beginning of one.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", metavar="HOST:PORT", help="How others reach the gateway.")
]
CharterRoles = Annotated[
    list[str] | None,
    typer.Option("--admit", metavar="ROLE", help="What the gateway may admit. [client, node]"),
]


@app.command(name="id")
def show_identity(context: typer.Context, as_json: AsJson = False, verbose: Verbose = False) -> None:
    """Show this device's id, and the networks it belongs to."""
    with settings_of(context, verbose) as settings:
        from easyremote.cli.members import show_id

        show_id(settings, Output(as_json=as_json))


@app.command()
def invite(
    context: typer.Context,
    role: Annotated[str, typer.Option(metavar="ROLE", help="node, client or operator.")] = "node",
    uses: Annotated[int, typer.Option(metavar="N", help="How many devices it lets in.")] = 1,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long it holds: 30m, 1h, 7d.")] = "1h",
    functions: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="What its devices may call: 'vision.*'.")
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="What the device is called.")] = "",
    account: Annotated[
        str, typer.Option(metavar="NAME", help="Whose device it is; else an account of its own.")
    ] = "",
    address: Addresses = None,
    plain: Annotated[bool, typer.Option("--plain", help="The line alone, without a QR code.")] = False,
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Print one line that lets a new device in."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.members import make_invite

        make_invite(
            settings,
            Output(),
            role=role,
            uses=uses,
            expires=expires,
            functions=functions or [],
            name=name,
            account=account,
            addresses=address or [],
            plain=plain,
        )


@app.command()
def join(
    context: typer.Context,
    line: Annotated[str, typer.Argument(metavar="LINE", help="An invite, or a grant.")],
    name: Annotated[str | None, typer.Option(help="What this device wants to be called.")] = None,
    verbose: Verbose = False,
) -> None:
    """Join a network with an invite; or keep a grant."""
    with settings_of(context, verbose) as settings:
        from easyremote.cli.members import join_with

        join_with(line, settings, Output(), name=name)


@app.command()
def devices(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """List the devices of the network."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.members import list_devices

        list_devices(settings, Output(as_json=as_json))


@app.command()
def approve(
    context: typer.Context, device: DeviceName, gateway: Gateway = None, verbose: Verbose = False
) -> None:
    """Take a device that waits, or was revoked."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.members import approve

        approve(device, settings, Output())


@app.command()
def revoke(
    context: typer.Context,
    device: Annotated[str, typer.Argument(metavar="DEVICE|GRANT", help="A device, or a grant's line.")],
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Put a device out, at once and everywhere; or end a grant."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.members import revoke

        revoke(device, settings, Output())


@app.command()
def rename(
    context: typer.Context,
    device: DeviceName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Call a device, or one of its nodes, something else."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.members import rename

        rename(device, name, settings, Output())


@app.command()
def grant(
    context: typer.Context,
    functions: Annotated[
        list[str] | None, typer.Argument(metavar="FUNCTION", help="Functions or patterns: resize 'vision.*'.")
    ] = None,
    to: Annotated[
        list[str] | None, typer.Option(metavar="DEVICE", help="Who may: a device, or account:NAME.")
    ] = None,
    account: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Whose devices may.")] = None,
    expires: Annotated[str | None, typer.Option(metavar="TIME", help="How long it holds: 1h, 7d.")] = None,
    max_calls: Annotated[int | None, typer.Option(metavar="N", help="How many calls it pays for.")] = None,
    narrow: Annotated[
        str | None, typer.Option(metavar="GRANT", help="A grant to make a narrower one from.")
    ] = None,
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Let somebody call a function; signed here, checked by the nodes."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.grants import grant

        grant(
            functions or [],
            settings,
            Output(),
            to=to or [],
            accounts=account or [],
            expires=expires,
            max_calls=max_calls,
            narrow=narrow,
        )


@app.command()
def audit(
    context: typer.Context,
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="One node's; else all of this home.")
    ] = None,
    last: Annotated[int, typer.Option(metavar="N", help="How many entries.")] = 20,
    verify: Annotated[bool, typer.Option("--verify", help="Only check the chain.")] = False,
    head: Annotated[
        str | None, typer.Option(metavar="HASH", help="A hash noted before; it must be there.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show who called what on this machine's nodes, and check that nobody changed the log."""
    with settings_of(context, verbose) as settings:
        from easyremote.cli.audit import show_audit

        folder = settings.home / "audit"
        show_audit(
            folder,
            node,
            last=last,
            as_json=as_json,
            verify_only=verify,
            head=head,
            output=Output(as_json=as_json),
        )


# ---- easynet network


@network_app.command(name="init")
def make(
    context: typer.Context,
    name: Annotated[str | None, typer.Option(help="What people call the network.")] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Keep the root here; print what a gateway elsewhere needs.")
    ] = False,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long that holds.")] = "90d",
    admit: CharterRoles = None,
    verbose: Verbose = False,
) -> None:
    """Make a network's root key in this home."""
    with settings_of(context, verbose) as settings:
        from easyremote.cli.network import make_network

        make_network(
            settings, Output(), name=name, offline=offline, expires=expires, roles=admit or ["client", "node"]
        )


@network_app.command(name="install")
def install(
    context: typer.Context,
    line: Annotated[str, typer.Argument(metavar="LINE", help="What network init --offline printed.")],
    address: Addresses = None,
    running: Annotated[
        bool, typer.Option("--running", help="Give it to the gateway that runs, after a rotation.")
    ] = False,
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Let this machine's gateway work under a charter whose root is kept elsewhere."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.network import install_charter

        install_charter(line, settings, Output(), addresses=address or [], running=running)


@network_app.command(name="show")
def show(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Show the network, and what its gateway may do."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.network import show_network

        show_network(settings, Output(as_json=as_json))


@network_app.command(name="rotate")
def rotate_keys(
    context: typer.Context,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="The root is here and the gateway elsewhere: print its next charter."),
    ] = False,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long that holds.")] = "90d",
    admit: CharterRoles = None,
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Sign memberships with a fresh key; the old one counts no more."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.network import rotate

        rotate(settings, Output(), offline=offline, expires=expires, roles=admit or ["client", "node"])


@network_app.command(name="forget")
def forget_gateway(
    context: typer.Context,
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The gateway.")],
    verbose: Verbose = False,
) -> None:
    """Know the gateway at an address no longer, after its certificate has changed."""
    with settings_of(context, verbose) as settings:
        from easyremote.cli.network import forget

        forget(address, settings, Output())
