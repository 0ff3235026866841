"""From what a program writes to what the machine is told: names, arguments, options.

``execute("fn", x, timeout=1)``: keywords go to the function, except the few that are options of the
call, and those too go to the function if it has a parameter of that name. ``options(timeout=1)`` is
always about the call.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from easyremote.client.retry import Retry
from easyremote.errors import DecodeError, UsageError
from easyremote.protocol.directory import Directory
from easyremote.protocol.effects import Value
from easyremote.protocol.events import CallRequested, Encoded
from easyremote.schedule.policies import policy_name
from easyremote.schedule.requirements import Requirement, read_requirements
from easyremote.trace import log
from easyremote.wire import pickled
from easyremote.wire.limits import JOB_SECONDS, JOB_SECONDS_MAX
from easyremote.wire.pickled import MSGPACK
from easyremote.wire.values import decode, encode_arguments

OPTIONS = frozenset(
    {"timeout", "node", "policy", "codec", "patience", "retry", "hedge_after", "durable", "keep"}
)

_pickles = itertools.count()
"""Counts pickled calls, so that the first can be told of."""


class Options(msgspec.Struct, frozen=True):
    """How calls are made, apart from what is called.

    Attributes:
        timeout: Seconds until the call is given up, here and at the node; None for no limit.
        node: The one node to ask, by name; None lets the policy choose.
        policy: Which node is chosen: ``prequal``, ``round_robin``, ``random``, ``least_loaded``,
            ``power_of_two`` or ``fastest``.
        requirement: What the node must have.
        codec: ``"msgpack"``, or ``"pickle"`` for a call whose arguments and result are pickled.
        patience: Seconds a call waits for a node with room when all that could take it are full; then ``BusyError``.
        retry: When a call that failed is made again; None for never.
        hedge_after: After how many seconds a call of an idempotent function that is not answered is made on another
            node as well; whichever answers first counts. None for never.
        durable: Whether the call waits at the gateway for its node, and its result for whoever asks; for ``submit``.
        keep: How many seconds a durable call may wait, and then its result.
        pickle_with: Nodes whose pickles are loaded here; no option of a call, but a word of the program's.
    """

    timeout: float | None = None
    node: str | None = None
    policy: str = "prequal"
    requirement: Requirement | None = None
    codec: str = MSGPACK
    patience: float = 30.0
    retry: Retry | None = None
    hedge_after: float | None = None
    durable: bool = False
    keep: float = JOB_SECONDS
    pickle_with: frozenset[str] = frozenset()

    def changed(self, changes: Mapping[str, Any]) -> Options:
        """These options with some replaced.

        Raises:
            UsageError: An option is unknown, or its value makes no sense.
        """
        unknown = changes.keys() - OPTIONS
        if unknown:
            raise UsageError(
                f"a call has no option {sorted(unknown)[0]!r}; it has {', '.join(sorted(OPTIONS))}"
            )
        timeout = changes.get("timeout", self.timeout)
        if timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0):
            raise UsageError(f"timeout is a number of seconds above 0, or None, not {timeout!r}")
        node = changes.get("node", self.node)
        if node is not None and not isinstance(node, str):
            raise UsageError(f"node is a node's name, or None, not {node!r}")
        policy = policy_name(changes.get("policy", self.policy))
        codec = changes.get("codec", self.codec)
        if codec not in pickled.CODECS:
            raise UsageError(f"codec is 'msgpack' or 'pickle', not {codec!r}")
        patience = changes.get("patience", self.patience)
        if not (isinstance(patience, (int, float)) and patience >= 0):
            raise UsageError(f"patience is a number of seconds, 0 or more, not {patience!r}")
        retry = changes.get("retry", self.retry)
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"retry is a Retry(…), or None, not {retry!r}")
        hedge = changes.get("hedge_after", self.hedge_after)
        if hedge is not None and not (isinstance(hedge, (int, float)) and hedge > 0):
            raise UsageError(f"hedge_after is a number of seconds above 0, or None, not {hedge!r}")
        durable, keep = changes.get("durable", self.durable), changes.get("keep", self.keep)
        if not isinstance(durable, bool):
            raise UsageError(f"durable is True or False, not {durable!r}")
        if isinstance(keep, bool) or not (isinstance(keep, (int, float)) and 0 < keep <= JOB_SECONDS_MAX):
            raise UsageError(
                f"keep is a number of seconds above 0 and up to {JOB_SECONDS_MAX:,.0f}, not {keep!r}"
            )
        return Options(
            timeout,
            node,
            policy,
            self.requirement,
            codec,
            patience,
            retry,
            hedge,
            durable,
            float(keep),
            self.pickle_with,
        )

    def trusting(self, pickle_with: object) -> Options:
        """These options, with the nodes whose pickles are loaded here.

        Raises:
            UsageError: These are no names of nodes.
        """
        named = pickled.peers("pickle_with", pickle_with, "names of nodes")
        return msgspec.structs.replace(self, pickle_with=named)

    def balanced(self, load_balancing: object) -> Options:
        """These options with a ``load_balancing=`` as version 2.0.2 wrote it."""
        if isinstance(load_balancing, bool) or load_balancing is None:
            return self
        if isinstance(load_balancing, str):
            return self.changed({"policy": load_balancing})
        if isinstance(load_balancing, Mapping):
            made = self.changed({"policy": load_balancing.get("strategy", self.policy)})
            wanted = load_balancing.get("requirements") or {}
            requirement, _ = read_requirements(wanted)
            return msgspec.structs.replace(made, requirement=None if requirement.open else requirement)
        raise UsageError(
            f"load_balancing is True, a policy's name, or {{'strategy': …, 'requirements': …}}, not {load_balancing!r}"
        )


def check_function(function: object) -> None:
    """See that this can be a function's name.

    Raises:
        UsageError: It cannot.
    """
    if not isinstance(function, str) or not function or not function.isprintable():
        raise UsageError(
            f"a function's name is printable text, such as 'add' or 'studio-mac.add', not {function!r}"
        )


def ask_durably(
    function: str, args: tuple[object, ...], kwargs: dict[str, object], options: Options
) -> Encoded:
    """The arguments of a durable call, encoded.

    Raises:
        UsageError: The function's name is not one, or an option does not go with a durable call.
        EncodeError: An argument cannot cross the wire.
    """
    check_function(function)
    if options.codec != MSGPACK:
        raise UsageError(f"a durable call cannot have codec={options.codec!r}: what waits is msgpack")
    return encode_arguments(args, kwargs)


def ask(
    number: int,
    function: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    options: Options,
    *,
    stream: bool = False,
) -> CallRequested:
    """The request for a call.

    Raises:
        UsageError: The function's name is not one, or the call is to be pickled and this program has not
            said that it exchanges pickles with its node.
        EncodeError: An argument cannot cross the wire.
    """
    check_function(function)
    if options.durable:
        raise UsageError(
            f"a durable call is submitted: client.submit({function!r}, …, durable=True), which gives a Job"
        )
    if options.codec == MSGPACK:
        arguments = encode_arguments(args, kwargs)
    else:
        _consent(function, options)
        arguments = pickled.encode_arguments(args, kwargs)
    return CallRequested(
        number,
        function,
        arguments,
        options.node,
        options.timeout,
        stream,
        options.policy,
        options.requirement,
        options.patience,
    )


def read(value: Value, function: str, options: Options, known: tuple[type, ...] = ()) -> Any:
    """What a call brought; ``function`` and ``options`` are those it was asked with.

    Raises:
        DecodeError: It makes no value, or is pickled though no pickle was asked for.
    """
    if options.codec != MSGPACK and pickled.is_pickled(value):
        return pickled.decode(value, _consent(function, options))
    try:
        return decode(value, known=known)
    except DecodeError:
        if pickled.is_pickled(value):
            _refuse_pickle(function, options)
        raise


def _node(function: str, options: Options) -> str:
    """The node a call names; empty if it names none."""
    return options.node or function.rpartition(".")[0]


def _consent(function: str, options: Options) -> pickled.Consent:
    """This program's word that it loads pickles of the node a call names.

    Raises:
        UsageError: The call names no node, or the program has not said so.
    """
    node = _node(function, options)
    if not node:
        raise UsageError(
            f"a pickled call names its node, as in node='studio-mac' or 'studio-mac.{function}': pickles are "
            "exchanged with nodes by name, each of which may run any code here"
        )
    if node not in options.pickle_with:
        raise UsageError(
            f"codec='pickle' for {function!r} on {node!r} wants Client(pickle_with=[{node!r}]): its result is a "
            "pickle, and whoever made it runs any code on this machine as you, so say whose you load"
        )
    if next(_pickles) == 0:
        log.warning(
            "%r on node %s is called with codec='pickle': nodes in pickle_with= can run any code on this machine "
            "as this user, through what they return",
            function,
            node,
        )
    return pickled.Consent(node, "pickle_with= of this client")


def _refuse_pickle(function: str, options: Options) -> NoReturn:
    node = _node(function, options)
    raise DecodeError(
        f"{f'node {node!r}' if node else 'a node'} answered {function!r} with a pickle, which was not loaded: it may "
        f"hold any code. Only a call with codec='pickle' of a client with pickle_with=[{node or 'the node'!r}] gets "
        "pickles, and that node gave one unasked"
    ) from None


def split_options(
    directory: Directory, function: str, kwargs: dict[str, Any], options: Options
) -> tuple[dict[str, Any], Options]:
    """Which keywords are the function's, and which are the call's; looked up in the function's card."""
    check_function(function)
    node, _, name = function.rpartition(".")
    taken: set[str] = set()
    for view in directory:
        if (not node or view.card.name == node) and name in view.functions:
            taken.update(view.functions[name].accepts)
    changes = {key: value for key, value in kwargs.items() if key in OPTIONS and key not in taken}
    if not changes:
        return kwargs, options
    return {key: value for key, value in kwargs.items() if key not in changes}, options.changed(changes)
