"""What a gateway must not forget: its devices, their names, open invites, and what was revoked.

SQLite, written through to disk before anybody is told. No secret of an invite is here, only its public key.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from easyremote.errors import InviteError, MembershipError, NameTakenError
from easyremote.links.database import changing, open_database
from easyremote.trust.revocation import Revocations
from easyremote.wire.limits import REVOCATIONS_MAX
from easyremote.wire.operations import DeviceRecord

NAMES_PER_DEVICE = 1024
_SCHEMA = """
create table if not exists device (
  device blob primary key, name text not null, roles text not null, account text not null,
  functions text not null, status text not null, joined real not null, credential blob not null
) strict;
create table if not exists name (name text primary key, device blob not null) strict;
create index if not exists name_device on name (device);
create table if not exists invite (
  key blob primary key, role text not null, uses integer not null, expires real not null,
  functions text not null, name text not null, account text not null
) strict;
create table if not exists renamed (
  device blob not null, old text not null, new text not null, primary key (device, old)
) strict;
create table if not exists revoked (kind text not null, id blob not null, primary key (kind, id)) strict;
create table if not exists counter (name text primary key, value integer not null) strict;
"""


class InviteRow(msgspec.Struct, frozen=True):
    """An invite that may be redeemed."""

    role: str
    uses: int
    expires: float
    functions: list[str]
    name: str
    account: str


class Store:
    """One gateway's database."""

    def __init__(self, path: Path) -> None:
        self._database = open_database(path, _SCHEMA)

    def close(self) -> None:
        """Nothing is asked any more."""
        self._database.close()

    # ---- devices

    def device(self, device: bytes) -> DeviceRecord | None:
        """What is known of a device."""
        row = self._database.execute("select * from device where device = ?", (device,)).fetchone()
        return self._record(row) if row is not None else None

    def devices(self) -> list[DeviceRecord]:
        """All of them, in the order they came."""
        rows = self._database.execute("select * from device order by joined, name").fetchall()
        return [self._record(row) for row in rows]

    def count(self) -> int:
        """How many devices are active."""
        found = self._database.execute("select count(*) from device where status = 'active'").fetchone()
        return int(found[0])

    def credential(self, device: bytes) -> bytes:
        """A membership the root itself signed for a device; empty if there is none."""
        row = self._database.execute("select credential from device where device = ?", (device,)).fetchone()
        return bytes(row[0]) if row is not None else b""

    def put(self, record: DeviceRecord, credential: bytes = b"") -> None:
        """A device is known, or known differently, from now on."""
        with changing(self._database) as database:
            self._put(database, record, credential)

    def _put(self, database: sqlite3.Connection, record: DeviceRecord, credential: bytes) -> None:
        database.execute(
            "insert or replace into device values (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.device,
                record.name,
                " ".join(record.roles),
                record.account,
                msgspec.json.encode(record.functions).decode(),
                record.status,
                record.joined,
                credential,
            ),
        )

    def _record(self, row: tuple[object, ...]) -> DeviceRecord:
        device = bytes(row[0])  # type: ignore[call-overload]
        names = self._database.execute(
            "select name from name where device = ? order by name", (device,)
        ).fetchall()
        return DeviceRecord(
            device=device,
            name=str(row[1]),
            roles=str(row[2]).split(),
            account=str(row[3]),
            functions=msgspec.json.decode(str(row[4]), type=list[str]),
            status=str(row[5]),
            joined=float(row[6]),  # type: ignore[arg-type]
            names=[str(one[0]) for one in names],
        )

    # ---- names

    def claim(self, name: str, device: bytes) -> None:
        """The name is this device's from now on.

        Raises:
            NameTakenError: It is another's, or the device has too many.
        """
        holder = self.holder(name)
        if holder == device:
            return
        if holder is not None:
            raise NameTakenError(
                f"the name {name!r} belongs to another device of this network. Choose another: "
                "ComputeNode(…, node_id='another-name') or easynet node --name; an operator can free it with "
                "easynet revoke or easynet rename"
            )
        with changing(self._database) as database:
            many = database.execute("select count(*) from name where device = ?", (device,)).fetchone()[0]
            if many >= NAMES_PER_DEVICE:
                raise NameTakenError(
                    f"this device has {many} names, which is the most; give its nodes names of their own"
                )
            database.execute("insert into name values (?, ?)", (name, device))

    def is_free(self, name: str, device: bytes, account: str) -> bool:
        """Whether a device of this account may be called so: no other device is, and no other account."""
        holder = self.holder(name)
        return (holder is None or holder == device) and not self.is_account(name, account)

    def is_account(self, name: str, own: str) -> bool:
        """Whether another account than the own one is called so."""
        row = self._database.execute(
            "select 1 from device where account = ?1 and account <> ?2 "
            "union select 1 from invite where account = ?1 and account <> ?2",
            (name, own),
        ).fetchone()
        return row is not None

    def names_another(self, account: str) -> bool:
        """Whether a device of another account goes by what this account is called."""
        row = self._database.execute(
            "select 1 from name join device using (device) where name.name = ? and device.account <> ?",
            (account, account),
        ).fetchone()
        return row is not None

    def holder(self, name: str) -> bytes | None:
        """Whose the name is."""
        row = self._database.execute("select device from name where name = ?", (name,)).fetchone()
        return bytes(row[0]) if row is not None else None

    def rename(self, device: bytes, old: str, new: str) -> None:
        """The device, or its node of this old name, is called something else.

        Raises:
            NameTakenError: The new name is another's.
        """
        if (holder := self.holder(new)) is not None and holder != device:
            raise NameTakenError(f"the name {new!r} belongs to another device")
        with changing(self._database) as database:
            database.execute("delete from name where name = ? and device = ?", (old, device))
            database.execute("insert or replace into name values (?, ?)", (new, device))
            database.execute("update device set name = ? where device = ? and name = ?", (new, device, old))
            database.execute("update renamed set new = ? where device = ? and new = ?", (new, device, old))
            database.execute("insert or replace into renamed values (?, ?, ?)", (device, old, new))
            database.execute("delete from renamed where device = ? and old = new", (device,))

    def renamed(self, device: bytes, name: str) -> str:
        """What an operator calls the device that calls itself so."""
        row = self._database.execute(
            "select new from renamed where device = ? and old = ?", (device, name)
        ).fetchone()
        return str(row[0]) if row is not None else name

    # ---- invites

    def add_invite(self, key: bytes, row: InviteRow) -> None:
        """Whoever holds the private half of this key may enroll."""
        with changing(self._database) as database:
            database.execute(
                "insert or replace into invite values (?, ?, ?, ?, ?, ?, ?)",
                (
                    key,
                    row.role,
                    row.uses,
                    row.expires,
                    msgspec.json.encode(row.functions).decode(),
                    row.name,
                    row.account,
                ),
            )

    def invite(self, key: bytes) -> InviteRow | None:
        """The invite of this key."""
        row = self._database.execute("select * from invite where key = ?", (key,)).fetchone()
        if row is None:
            return None
        functions = msgspec.json.decode(row[4], type=list[str])
        return InviteRow(row[1], int(row[2]), float(row[3]), functions, row[5], row[6])

    def redeem(self, key: bytes, record: DeviceRecord, now: float) -> None:
        """Use an invite up by one, and know the device, both or neither.

        Raises:
            InviteError: It has been used up, or has expired, meanwhile.
        """
        with changing(self._database) as database:
            changed = database.execute(
                "update invite set uses = uses - 1 where key = ? and uses > 0 and expires > ?", (key, now)
            ).rowcount
            if changed != 1:
                raise InviteError("this invite has been used already")
            self._put(database, record, b"")
            database.execute("delete from invite where expires <= ?", (now - 30 * 86400,))

    # ---- revocations

    def revoke_device(self, device: bytes) -> None:
        """The device does not count from now on, and its names are free.

        Raises:
            MembershipError: No such device is known.
        """
        with changing(self._database) as database:
            changed = database.execute(
                "update device set status = 'revoked' where device = ?", (device,)
            ).rowcount
            if changed != 1:
                raise MembershipError("no device of this id is known: easynet devices lists them")
            database.execute("delete from name where device = ?", (device,))
            self._revoke(database, "device", device)

    def reinstate(self, device: bytes, credential: bytes) -> None:
        """The device counts, from now on or again."""
        with changing(self._database) as database:
            database.execute(
                "update device set status = 'active', credential = ? where device = ?", (credential, device)
            )
            gone = database.execute(
                "delete from revoked where kind = 'device' and id = ?", (device,)
            ).rowcount
            if gone:
                self._count_up(database)

    def revoke(self, kind: str, identifier: bytes) -> None:
        """A ``grant`` or an ``issuer`` does not count from now on."""
        with changing(self._database) as database:
            self._revoke(database, kind, identifier)

    def _revoke(self, database: sqlite3.Connection, kind: str, identifier: bytes) -> None:
        database.execute("insert or ignore into revoked values (?, ?)", (kind, identifier))
        self._count_up(database)

    def _count_up(self, database: sqlite3.Connection) -> None:
        database.execute(
            "insert into counter values ('revocations', 1) on conflict (name) do update set value = value + 1"
        )

    def revocations(self) -> Revocations:
        """The list as it is now."""
        found: dict[str, list[bytes]] = {"device": [], "grant": [], "issuer": []}
        newest = "select kind, id from revoked order by rowid desc limit ?"
        for kind, identifier in self._database.execute(newest, (REVOCATIONS_MAX,)):
            found[kind].append(bytes(identifier))
        row = self._database.execute("select value from counter where name = 'revocations'").fetchone()
        return Revocations(
            number=int(row[0]) if row is not None else 0,
            devices=found["device"],
            grants=found["grant"],
            issuers=found["issuer"],
        )
