"""What must be true in every world, and at its end."""

from __future__ import annotations

from sim.scenario import HARMLESS, Scenario

from easyremote.errors import CallTimeoutError, RemoteError, ScheduleError, ValueTooLargeError
from easyremote.protocol.channel import HELD_FRAMES_MAX
from easyremote.testing.actors import Outcome, SimClient, SimNode, Station
from easyremote.testing.fakes import value_of
from easyremote.wire.limits import BUNDLE_BYTES, LINK_QUEUE_BYTES, PART_BYTES, WINDOW_BYTES

RETAINED_BYTES_MAX = 2 * WINDOW_BYTES + BUNDLE_BYTES + PART_BYTES


def stations(scenario: Scenario) -> list[Station]:
    """Every process that lives."""
    return [one for one in (*scenario.nodes, *scenario.clients) if one.alive]


def check_bounds(scenario: Scenario) -> None:
    """Nothing grows beyond its window, at any time."""
    for station in stations(scenario):
        for channel in station.machine.sessions:
            assert channel.retained_bytes <= RETAINED_BYTES_MAX, "more unacknowledged bytes than the window"
            assert channel.held_frames <= HELD_FRAMES_MAX, "more frames held out of order than allowed"
    assert scenario.network.gateway.queued_bytes_max <= LINK_QUEUE_BYTES, "a gateway's queue overflowed"


def at_rest(scenario: Scenario) -> bool:
    """Whether nothing is left to be done by anyone, and everyone knows who is there."""
    there = {node.machine.endpoint for node in scenario.nodes if node.alive}
    return all(
        station.attached
        and not station.line.cut
        and all(channel.quiet for channel in station.machine.sessions)
        and not station.machine.caller
        and not station.machine.worker
        and not (isinstance(station, SimNode) and len(station.executor))
        and (isinstance(station, SimNode) or set(station.machine.directory.nodes) == there)
        for station in stations(scenario)
    )


def check(scenario: Scenario) -> None:
    """Judge a world that has been played."""
    assert not scenario.leaks, scenario.leaks[0]
    check_runs(scenario)
    for client in scenario.clients:
        for number, outcome in client.outcomes.items():
            check_outcome(scenario, client, number, outcome)
    assert at_rest(scenario), f"the world does not come to rest: {unrest(scenario)}"
    check_nothing_left(scenario)


def check_runs(scenario: Scenario) -> None:
    """No call's body runs twice; twice on two nodes only if that does no harm."""
    steady = {
        (client.machine.endpoint, number)
        for client in scenario.clients
        for number, outcome in client.outcomes.items()
        if outcome.request.function.startswith("steady")
    }
    for key, runs in scenario.runs().items():
        assert runs == 1 or key in steady, f"call {key[1]:x} ran {runs} times"
    for node in scenario.nodes:
        for key, runs in node.executor.started.items():
            assert runs == 1 or key in steady, f"call {key[1]:x} ran {runs} times in one process"


def check_outcome(scenario: Scenario, client: SimClient, number: int, outcome: Outcome) -> None:
    """The call ended once, and with what its function gave."""
    script, call = scenario.scripts[number], f"call {number:x}"
    assert outcome.settled <= 1, f"{call} settled {outcome.settled} times"
    if outcome.cancelled or not client.alive:
        return
    assert outcome.settled == 1, f"{call} never ended"
    stream = outcome.request.stream
    expected = [value_of(script, index) for index in range(script.items)] if stream else [value_of(script)]
    error = outcome.error
    if stream:
        assert outcome.values == expected[: len(outcome.values)], f"{call}: a gap, a repeat or another's item"
    if error is None:
        assert not script.raises, f"{call} was to raise, but gave a value"
        assert outcome.values == expected, f"{call} came to another value than its function gave"
        return
    if isinstance(error, RemoteError):
        assert script.raises, f"{call} raised, though its function does not"
        assert script.mark in str(error), f"{call} got another call's error: {error}"
        assert isinstance(error, ValueError)
        assert not stream or outcome.values == expected, f"{call} lost items before its error"
        return
    if isinstance(error, CallTimeoutError):
        assert outcome.request.timeout is not None, f"{call} has no timeout, but: {error}"
        return
    if isinstance(error, ValueTooLargeError):
        sizes = (len(outcome.request.arguments), *map(len, expected))
        assert max(sizes) > scenario.max_value_bytes, f"{call} is not large, but: {error}"
        return
    if isinstance(error, ScheduleError):
        ran = scenario.runs()[client.machine.endpoint, number]
        assert not ran or outcome.request.function.startswith("steady"), f"{call} ran, but: {error}"
        if scenario.kind == "partitions":
            return  # it was asked for while nobody was there
    assert scenario.kind not in HARMLESS, f"{call} failed in a harmless world: {error!r}"


def check_nothing_left(scenario: Scenario) -> None:
    """Nobody remembers anything of calls that are over, but their numbers."""
    for client in scenario.clients:
        if client.alive:
            for view in client.machine.directory.nodes.values():
                left = view.candidate.in_flight
                assert left == 0, f"{client.line.name} thinks that {left} calls are at {view.card.name}"
            assert not client.machine.caller._bodies, "a client waits for a body of a call that is over"
            assert not client.machine.caller._waiting
    for node in scenario.nodes:
        worker = node.machine.worker
        if node.alive and worker is not None:
            assert worker.running == 0, f"{worker.running} calls are counted as running"
            assert not worker._bodies, "a node waits for arguments of a call that is over"
            assert worker._incoming_bytes == 0, f"{worker._incoming_bytes} bytes are counted as incoming"
            assert not worker._stopping, "a node waits for code that has ended"
            for lane in worker._lanes.values():
                assert lane.running == 0, f"{lane.running} places of {lane.offer.name} are taken"
                assert not lane.waiting, f"{len(lane.waiting)} calls wait for {lane.offer.name}"
    living = stations(scenario)
    here = {station.machine.endpoint: station for station in living}
    for station in living:
        sessions = station.machine.sessions
        known = set(sessions)
        for channel in known:
            peer = here.get(channel.peer)
            if peer is not None and peer.machine.sessions.find(station.machine.endpoint, channel.session.id):
                assert not channel._held, "frames are held for a turn that does not come"
        for route in sessions._routes.values():
            assert set(route.channels) <= known, "a session that was closed is still active"
        bound = 2 * len(known) + 8
        assert sum(map(len, sessions._resets.values())) <= bound
    router = scenario.network.gateway.router
    assert router is not None
    table = router.table
    assert table.by_endpoint.keys() == here.keys(), "the gateway's table is not who is there"
    assert {one.endpoint for one in table.by_link.values()} == here.keys()
    assert set(table.by_name) == {one.line.name for one in living if isinstance(one, SimNode)}
    assert len(table.watchers) == sum(isinstance(one, SimClient) for one in living)


def unrest(scenario: Scenario) -> str:
    """Who is not at rest, and why."""
    found = []
    for station in stations(scenario):
        name, machine = station.line.name, station.machine
        if not station.attached:
            found.append(f"{name} is not attached")
        found += [
            f"{name}: a session with unacknowledged frames" for one in machine.sessions if not one.quiet
        ]
        if machine.caller:
            found.append(f"{name} has {len(machine.caller)} calls open")
        if machine.worker:
            found.append(f"{name} has {len(machine.worker)} calls taken")
        if isinstance(station, SimClient):
            found.append(f"{name} knows of {len(machine.directory.nodes)} nodes")
        elif isinstance(station, SimNode) and len(station.executor):
            found.append(f"{name} runs {len(station.executor)} scripts")
    return "; ".join(found)
