"""What a face of the gateway, such as a dashboard, may read: copies, made when asked for."""

from __future__ import annotations

import msgspec

from easyremote.protocol.router import Router
from easyremote.trust.identity import device_text


class DeviceView(msgspec.Struct, frozen=True):
    """A connected device."""

    device: str
    name: str
    role: str
    running: int
    waiting: int


class GatewayView(msgspec.Struct, frozen=True):
    """A gateway at one instant."""

    devices: list[DeviceView]
    frames_routed: int
    frames_undeliverable: int


def view_of(router: Router) -> GatewayView:
    """The router's state, for people."""
    devices = [
        DeviceView(
            device=device_text(one.endpoint[:32]),
            name=one.name,
            role=one.role,
            running=one.load.running,
            waiting=one.load.waiting,
        )
        for one in list(router.table.by_endpoint.values())
    ]
    return GatewayView(devices, router.routed, router.undeliverable)
