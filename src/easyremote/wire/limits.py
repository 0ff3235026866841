"""Sizes, windows and times of the wire, each named once."""

from __future__ import annotations

ENDPOINT_BYTES = 40
"""A device id (32) and what tells its processes apart (8)."""

INLINE_BYTES = 64 << 10
"""Larger encoded values travel as large bodies, in parts."""
PART_BYTES = 512 << 10
"""The most a part of a large body holds."""
BUNDLE_BYTES = 256 << 10
"""About the most that messages sealed together take."""
BUNDLE_MESSAGES = 128
"""The most messages sealed together: with more, one end would sit idle while the other works through them."""
WINDOW_BYTES = 4 << 20
"""What a peer may have unacknowledged: so much, at most, waits in a gateway for a pair of devices."""

STREAM_WINDOW_BYTES = 256 << 10
"""How far a generator may be ahead of its consumer."""
ITEM_OVERHEAD_BYTES = 64
"""What an item of a stream is taken to cost besides its size."""

MAX_PACKET_BYTES = 1 << 20
"""A packet is closed when it holds so much; a single frame may still be larger."""
MAX_SEALED_BYTES = 1 << 20
"""The largest sealed frame a gateway carries; devices send a bundle and one part at most, which is less."""
MAX_CARD_BYTES = 1 << 20
"""The largest card a gateway takes."""
FUNCTIONS_MAX = 1000
"""The most functions a node lists in its card."""
ADDRESSES_MAX = 16
"""The most addresses a node names in its card."""
GRPC_MAX_MESSAGE_BYTES = 8 << 20
"""The largest packet a link takes."""
LINK_QUEUE_BYTES = 64 << 20
"""What may wait at a gateway for a device that does not read."""

LEASE_SECONDS = 10.0
"""A device or gateway silent for so long is taken for gone."""

LOST_AFTER_SECONDS = 60.0
"""How long a call in flight waits for a silent node, or for this device's own link, unless the program says otherwise."""
AWAY_SECONDS = 600.0
"""How long a caller may be away: its calls go on meanwhile, and their answers wait for it."""

NODE_MAX_VALUE_BYTES = 1 << 30
"""The largest argument a node takes, unless its owner says otherwise."""
CLIENT_MAX_VALUE_BYTES = 4 << 30
"""The largest result a client takes, unless its program says otherwise."""

TOKEN_BYTES_MAX = 8 << 10
"""The largest token or credential that is read."""
TOKEN_BLOCKS_MAX = 16
"""The most blocks a token has: its first, and one for each time it was narrowed."""
GRANTS_MAX = 16
"""The most grants a caller presents to a node."""
REVOCATIONS_MAX = 20_000
"""The most devices and tokens a list of revocations names."""

JOB_BYTES = 16
"""What names a job at its gateway."""
MAIL_PART_BYTES = 256 << 10
"""The most a part of a letter, or of a job's result, holds before it is sealed."""
MAIL_PARTS_MAX = 4096
"""The most parts of one letter, or of one result: a gateway may take fewer."""
LETTER_CARD_BYTES_MAX = 128 << 10
"""The largest card that letters may go by: it names a node's functions, and does not describe them."""
PROGRESS_BYTES_MAX = 1024
"""What a job may say at a time of how far it is, sealed."""
WATCH_SECONDS_MAX = 300.0
"""How long a gateway keeps a question about a job that has no news."""
JOB_SECONDS = 7 * 24 * 3600.0
"""How long a job waits for its node, and its result for its caller, unless the caller says otherwise."""
JOB_SECONDS_MAX = 30 * 24 * 3600.0
"""The longest either may be made to wait."""
