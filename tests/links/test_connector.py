"""Which of a node's addresses are for whom."""

from __future__ import annotations

from easyremote.links.connector import addresses_of, for_us, place_to_listen


def test_a_node_in_the_lan_is_tried_on_this_machine_by_the_short_way_and_from_elsewhere_by_its_address() -> (
    None
):
    assert place_to_listen("lan") == ("0.0.0.0", 0)
    addresses = addresses_of("lan", "0.0.0.0:5000")
    assert for_us(addresses) == ["127.0.0.1:5000"]
    assert all(one.endswith(":5000") for one in addresses)


def test_what_is_local_to_another_machine_is_not_tried() -> None:
    assert for_us(["local/another/127.0.0.1:1", "10.0.0.1:2"]) == ["10.0.0.1:2"]
    assert for_us(["local/another/127.0.0.1:1"]) == []
