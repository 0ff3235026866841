"""What may be typed after ``easynet``, and which file does it.

Nothing heavy is imported here: each command imports its own work when it is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from easyremote.cli.exits import EXIT_CODES
from easyremote.cli.output import Output, reporting
from easyremote.cli.settings import FILE_NAME, Settings, read_settings

__all__ = ["app", "settings_of"]

_EPILOG = (
    "\b\nExit codes:\n"
    + "\n".join(f"{code.value:>5}  {meaning}" for code, meaning in EXIT_CODES)
    + "\n\n\b\nSettings, the first that says something wins:\n"
    + f"  a flag, EASYREMOTE_GATEWAY and the like, {FILE_NAME} here or in the home, the default"
)

app = typer.Typer(
    name="easynet",
    help="Call a function on somebody's own device, sealed end to end.",
    epilog=_EPILOG,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Gateway = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="The gateway to connect to.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON value a line.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show calls by id, and tracebacks.")]
WithParent = Annotated[
    bool, typer.Option("--with-parent", hidden=True, help="Stop when standard input ends.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print("easyremote", version("easyremote"))
        raise typer.Exit


@app.callback()
def _easynet(
    context: typer.Context,
    verbose: Verbose = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    context.obj = verbose


@contextmanager
def settings_of(context: typer.Context, verbose: bool, /, **flags: Any) -> Iterator[Settings]:
    """The settings for a command's body, whose errors become its exit code."""
    flags["verbose"] = verbose or context.obj or None
    with reporting(verbose=bool(flags["verbose"])):
        settings = read_settings(flags, os.environ, Path.cwd())
        with reporting(verbose=settings.verbose):
            yield settings


def _bound_to_parent(with_parent: bool) -> None:
    if with_parent:
        from easyremote.cli.children import stop_with_parent

        stop_with_parent()


@app.command()
def gateway(
    context: typer.Context,
    port: Annotated[
        int | None, typer.Option(help="The port to listen on; 0 picks a free one. [8080]")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on. [all interfaces]")] = None,
    lease: Annotated[float | None, typer.Option(help="Seconds until a silent device is gone. [10]")] = None,
    open: Annotated[
        bool, typer.Option("--open", help="Let anyone join; nodes still choose whom they serve.")
    ] = False,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A certificate (PEM) that a public authority vouches for."),
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="The certificate's key (PEM).")] = None,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", metavar="HOST:PORT", help="How others reach it, for invites."),
    ] = None,
    verbose: Verbose = False,
    with_parent: WithParent = False,
) -> None:
    """Run a gateway."""
    flags = {"open": open or None, "certificate": certificate, "key": key, "addresses": address}
    with settings_of(context, verbose, port=port, host=host, lease=lease, **flags) as settings:
        from easyremote.cli.serve import serve_gateway

        _bound_to_parent(with_parent)
        serve_gateway(settings)


@app.command()
def node(
    context: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="MODULE[:NODE]", help="A .py file or a module, and the node in it.")
    ],
    gateway: Gateway = None,
    name: Annotated[str | None, typer.Option(help="The node's name.")] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start again when a .py file beside it changes.")
    ] = False,
    verbose: Verbose = False,
    with_parent: WithParent = False,
) -> None:
    """Serve a file's node or functions.

    The node is the one named, or the only one the file makes; if it makes none, its public functions are
    served under a node made from --gateway and --name.
    """
    with settings_of(context, verbose, gateway=gateway, name=name) as settings:
        _bound_to_parent(with_parent)
        if reload:
            from easyremote.cli.reload import reload_node

            raise SystemExit(reload_node(target, settings))
        from easyremote.cli.serve import serve_node

        serve_node(target, settings)


class _CallCommand(TyperCommand):
    """Remembers how many words stood after ``--``, where a word with dashes is an argument."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta["after_dashes"] = len(args) - args.index("--") - 1 if "--" in args else 0
        return super().parse_args(ctx, args)


@app.command(cls=_CallCommand, context_settings={"ignore_unknown_options": True})
def call(
    context: typer.Context,
    function: Annotated[str, typer.Argument(metavar="FN", help="The function, or NODE.FN for one node's.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="ARGS", help="JSON or plain words; name=value names one.")
    ] = None,
    node: Annotated[str | None, typer.Option(metavar="NAME", help="The node that must do it.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="How long it may take.")] = None,
    durable: Annotated[
        bool,
        typer.Option("--durable", help="Leave it at the gateway for the node, print the job's id, and end."),
    ] = False,
    imports: Annotated[
        list[str] | None,
        typer.Option("--import", metavar="MODULE", help="A .py file or module with result classes."),
    ] = None,
    gateway: Gateway = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Call a function and print its result.

    Each word is taken as JSON if it is JSON, else as plain text; name=value gives a keyword argument.
    Items of a stream are printed as they come.
    """
    with settings_of(context, verbose, gateway=gateway, timeout=timeout) as settings:
        from easyremote.cli.call import call_function, refuse_options
        from easyremote.trace import announce

        arguments = words or []
        refuse_options(arguments, context.meta["after_dashes"])
        if settings.verbose:
            announce(verbose=True)
        if imports:
            from easyremote.cli.loading import import_modules

            import_modules(imports, settings)
        call_function(function, arguments, settings, Output(as_json=as_json), node=node, durable=durable)


@app.command()
def jobs(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """List the durable calls this device has submitted."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.jobs import list_jobs

        list_jobs(settings, Output(as_json=as_json))


@app.command()
def job(
    context: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="As easynet call --durable printed it.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Show how far it is until it is over, then print its result.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Want its result no more.")] = False,
    gateway: Gateway = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show how a durable call stands, follow or cancel it."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.jobs import cancel_job, follow_job, show_job
        from easyremote.errors import UsageError

        if follow and cancel:
            raise UsageError("a job is followed or cancelled, not both")
        (follow_job if follow else cancel_job if cancel else show_job)(id, settings, Output(as_json=as_json))


@app.command()
def trace(
    context: typer.Context,
    call: Annotated[
        str, typer.Argument(metavar="CALL", help="A call's id, as errors and logs show it; or a job's.")
    ],
    gateway: Gateway = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Tell one call's story: retries, moves, refusals, broken links, and how it ended.

    This home and the nodes that are there are asked; a node tells who made the call, and its owner.
    """
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.trace import trace_call

        trace_call(call, settings, Output(as_json=as_json))


@app.command()
def functions(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """List the functions on offer."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.listing import list_functions

        list_functions(settings, Output(as_json=as_json))


@app.command()
def nodes(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """List the nodes connected."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.listing import list_nodes

        list_nodes(settings, Output(as_json=as_json))


@app.command()
def drain(
    context: typer.Context,
    node: Annotated[
        str, typer.Argument(metavar="NODE", help="Its name; one of your own, or you are an operator.")
    ],
    wait: Annotated[bool, typer.Option(help="Return when it has left.")] = True,
    gateway: Gateway = None,
    verbose: Verbose = False,
) -> None:
    """Have a node finish what it has, take nothing new, and leave."""
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.drain import drain_node

        drain_node(node, settings, Output(), wait=wait)


@app.command()
def doctor(
    context: typer.Context, gateway: Gateway = None, as_json: AsJson = False, verbose: Verbose = False
) -> None:
    """Check this machine and its gateway.

    Whatever is wrong is told with its remedy.
    """
    with settings_of(context, verbose, gateway=gateway) as settings:
        from easyremote.cli.doctor import run_doctor

        raise SystemExit(run_doctor(settings, Output(as_json=as_json)))


@app.command()
def demo(context: typer.Context, verbose: Verbose = False) -> None:
    """Run a small network and show what it does.

    A gateway and two nodes are started as processes in a temporary home, called, checked and stopped.
    """
    with settings_of(context, verbose):
        from easyremote.cli.demo import run_demo

        raise SystemExit(run_demo(Output()))
