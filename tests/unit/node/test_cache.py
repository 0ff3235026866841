"""Kept results: found while they hold, and never more than there is room for."""

from __future__ import annotations

from easyremote.node.cache import ResultCache


def test_a_result_is_found_until_its_time_is_up():
    cache = ResultCache()
    cache.put("f", b"a", b"1", until=10.0)
    assert cache.get("f", b"a", now=9.9) == b"1"
    assert cache.get("g", b"a", now=9.9) is None
    assert cache.get("f", b"b", now=9.9) is None
    assert cache.get("f", b"a", now=10.0) is None
    assert cache.get("f", b"a", now=9.0) is None


def test_the_least_recently_used_goes_first():
    cache = ResultCache(max_entries=2)
    cache.put("f", b"a", b"1", until=10.0)
    cache.put("f", b"b", b"2", until=10.0)
    assert cache.get("f", b"a", now=0.0) == b"1"
    cache.put("f", b"c", b"3", until=10.0)
    assert cache.get("f", b"b", now=0.0) is None
    assert cache.get("f", b"a", now=0.0) == b"1"
    assert cache.get("f", b"c", now=0.0) == b"3"


def test_bytes_are_counted_arguments_included():
    cache = ResultCache(max_bytes=10)
    cache.put("f", b"1234", b"1234", until=10.0)
    cache.put("f", b"1234", b"12345", until=10.0)
    assert cache.get("f", b"1234", now=0.0) == b"12345"
    cache.put("f", b"12", b"12", until=10.0)
    assert cache.get("f", b"1234", now=0.0) is None
    assert cache.get("f", b"12", now=0.0) == b"12"
    cache.put("f", b"12", b"123456789", until=10.0)
    assert cache.get("f", b"12", now=0.0) is None
