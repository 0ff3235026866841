"""Objects of the user's own classes: enums, dataclasses, attrs and pydantic models, Structs, namedtuples.

An object crosses as its class's name and its fields. It is rebuilt only as a class this program has
already met (``resolve`` lists where it looks); nothing is ever imported because a name on the wire asks
for it. Rebuilding sets the fields and runs neither ``__init__`` nor ``__setstate__``. Two kinds check
themselves, and are let: pydantic models are validated, and a Struct's ``__post_init__`` runs.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import msgspec

from easyremote.errors import DecodeError, UsageError
from easyremote.wire import codes
from easyremote.wire.codec import FINDERS, RAISE, Lower, Reader, Refused, Writer, brief

_Class = TypeVar("_Class", bound=type)

_MISSING: Any = dataclasses.MISSING
_PLAIN_FACTORIES = frozenset((list, dict, set, frozenset, tuple, str, bytes, int, float, bool))


class Plan(msgspec.Struct, frozen=True, gc=False):
    """How objects of one class are taken apart and rebuilt.

    Attributes:
        kind: The kind of class, as the wire names it.
        names: Its fields.
        defaults: Values of fields that an older sender may not know.
        factories: Likewise, builtins to be called for them.
    """

    kind: str
    names: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    factories: dict[str, Callable[[], object]] = {}


_plans: WeakKeyDictionary[type, Plan] = WeakKeyDictionary()
_met: WeakKeyDictionary[type, tuple[str, str]] = WeakKeyDictionary()
_registered: WeakSet[type] = WeakSet()


def register_type(cls: _Class) -> _Class:
    """Let values of a class be rebuilt in this process; usable as a decorator.

    Needed for ordinary classes (whose ``__dict__`` and ``__slots__`` then travel), and for a dataclass,
    Enum or model that a result holds but that this process has neither imported nor named in a type hint.

    Raises:
        UsageError: Objects of the class cannot be rebuilt safely.
    """
    if not isinstance(cls, type):
        raise UsageError(f"register_type wants a class, found {cls!r:.80}; decorate the class itself")
    _registered.add(cls)
    try:
        _plans[cls] = make_plan(cls)
    except Refused as refused:
        _registered.discard(cls)
        raise UsageError(f"{cls.__qualname__} {refused.what}.") from None
    _met[cls] = (cls.__module__, cls.__qualname__)
    return cls


def plan_of(cls: type) -> Plan:
    """The plan of a class.

    Raises:
        Refused: It is of no kind that can be rebuilt, or cannot be rebuilt safely.
    """
    plan = _plans.get(cls)
    if plan is None:
        plan = _plans[cls] = make_plan(cls)
    return plan


def make_plan(cls: type) -> Plan:
    """Look a class over once."""
    plan = _plan_by_kind(cls)
    if plan is None:
        raise Refused("is not a dataclass, Enum, attrs or pydantic class, and was not given to register_type")
    if plan.kind in ("enum", "flag"):
        return plan
    if hasattr(cls, "__del__"):
        raise Refused("has a __del__ method, which a rebuilt object would run. Pass its fields instead")
    if plan.kind in ("dataclass", "attrs", "object"):
        try:
            object.__new__(cls)
        except TypeError:
            base = next((b.__name__ for b in cls.__mro__[:-1] if not b.__flags__ & 1 << 9), "a builtin class")
            raise Refused(f"builds on {base}, so its fields are not all of it. Pass plain values") from None
    return plan


def _plan_by_kind(cls: type) -> Plan | None:
    if issubclass(cls, enum.Enum):
        return Plan("flag" if issubclass(cls, enum.Flag) else "enum")
    if issubclass(cls, msgspec.Struct):
        return Plan("struct", cls.__struct_fields__)
    model = _loaded("pydantic", "BaseModel")
    if model is not None and issubclass(cls, model):
        root = _loaded("pydantic", "RootModel")
        return Plan("root" if root is not None and issubclass(cls, root) else "pydantic")
    if dataclasses.is_dataclass(cls):
        fields = dataclasses.fields(cls)
        made: list[tuple[str, Any]] = [(field.name, field.default_factory) for field in fields]
        return Plan(
            "dataclass",
            tuple(field.name for field in fields),
            {field.name: field.default for field in fields if field.default is not _MISSING},
            {name: factory for name, factory in made if factory in _PLAIN_FACTORIES},
        )
    attributes = cls.__dict__.get("__attrs_attrs__")
    if attributes is not None:
        plain = [a for a in attributes if not hasattr(a.default, "factory")]
        nothing = _loaded("attr", "NOTHING")
        return Plan(
            "attrs",
            tuple(a.name for a in attributes),
            {a.name: a.default for a in plain if a.default is not nothing},
        )
    if issubclass(cls, tuple) and type(getattr(cls, "_fields", None)) is tuple:
        return Plan("namedtuple", cls._fields)  # type: ignore[attr-defined]
    return Plan("object") if cls in _registered else None


def _loaded(module: str, name: str) -> Any:
    """A name in a library, if the program has imported that library."""
    found = sys.modules.get(module)
    return None if found is None else getattr(found, name, None)


# Down.


def find(cls: type) -> Lower | None:
    """How objects of a class are lowered, if it is of a kind this file knows.

    Raises:
        Refused: It is, but cannot be rebuilt safely.
    """
    if cls not in _registered and _plan_by_kind(cls) is None:
        return None
    plan_of(cls)
    _met[cls] = (cls.__module__, cls.__qualname__)
    return _lower_object


def _lower_object(writer: Writer, value: Any, depth: int) -> object:
    cls = type(value)
    plan = plan_of(cls)
    return writer.ext(
        codes.OBJECT,
        (plan.kind, cls.__module__, cls.__qualname__, _LOWER[plan.kind](writer, value, depth, plan)),
    )


def _lower_fields(writer: Writer, value: Any, depth: int, plan: Plan) -> object:
    names = plan.names
    fields = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return writer.lower_fields(fields, depth)


def _lower_plain_object(writer: Writer, value: Any, depth: int, plan: Plan) -> object:
    fields = dict(getattr(value, "__dict__", {}))
    for name in _slots(type(value)):
        if hasattr(value, name):
            fields[name] = getattr(value, name)
    return writer.lower_fields(fields, depth)


def _lower_pydantic(writer: Writer, value: Any, depth: int, plan: Plan) -> object:
    fields = {**value.__dict__}
    fields = {name: fields[name] for name in type(value).__pydantic_fields__ if name in fields}
    fields.update(value.__pydantic_extra__ or {})
    return writer.lower_fields(fields, depth), sorted(value.__pydantic_fields_set__)


def _lower_root(writer: Writer, value: Any, depth: int, plan: Plan) -> object:
    return writer.lower(value.root, depth)


def _lower_enum(writer: Writer, value: enum.Enum, depth: int, plan: Plan) -> object:
    return value.name


def _lower_flag(writer: Writer, value: enum.Flag, depth: int, plan: Plan) -> object:
    names = [member.name for member in value]
    if _join_flag(type(value), names) is not value and _join_flag(type(value), names) != value:
        raise Refused(f"is {value!r}, whose bits are not all members of its class. Pass value.value")
    return names


def _lower_namedtuple(writer: Writer, value: Any, depth: int, plan: Plan) -> object:
    return writer.lower_items(tuple(value), depth)


_LOWER: dict[str, Callable[[Writer, Any, int, Plan], object]] = {
    "enum": _lower_enum,
    "flag": _lower_flag,
    "struct": _lower_fields,
    "dataclass": _lower_fields,
    "attrs": _lower_fields,
    "pydantic": _lower_pydantic,
    "root": _lower_root,
    "namedtuple": _lower_namedtuple,
    "object": _lower_plain_object,
}


def _slots(cls: type) -> Iterable[str]:
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                yield f"_{base.__name__.lstrip('_')}{name}" if _is_private(name) else name


def _is_private(name: str) -> bool:
    return name.startswith("__") and not name.endswith("__")


# Up.


def resolve(module: str, qualname: str, known: Iterable[type]) -> type | None:
    """Find the class a value names, among the classes this program has already met.

    In this order: ``known`` (the receiving function's hints; there the qualified name alone must fit) and
    what lies beside those; classes given to ``register_type`` or encoded before; modules already imported;
    and last, a registered or encoded class of that qualified name, if there is just one. Looks only into
    ``__dict__``, so that no module's ``__getattr__`` runs.
    """
    known = tuple(known)
    for cls in known:
        if cls.__qualname__ == qualname:
            return cls
    for cls in known:
        found = _look_up(cls.__module__, qualname)
        if found is not None:
            return found
    met = [(cls, name) for cls, name in _met.items() if name[1] == qualname]
    for cls, name in met:
        if name[0] == module:
            return cls
    found = _look_up(module, qualname)
    if found is not None:
        return found
    return met[0][0] if len(met) == 1 else None


def _look_up(module: str, qualname: str) -> type | None:
    found: Any = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, "__dict__", {}).get(name)
    if isinstance(found, type) and found.__module__ == module and found.__qualname__ == qualname:
        return found
    return None


def _raise_object(reader: Reader, data: memoryview) -> object:
    kind, module, qualname, fields = reader.items(data, 4)
    if not (type(kind) is type(module) is type(qualname) is str):
        raise DecodeError("an object's class is not named by text")
    cls = resolve(module, qualname, reader.known)
    module, qualname = module[:100], qualname[:100]
    if cls is None:
        if kind == "namedtuple" and type(fields) is list:
            return tuple(fields)
        raise DecodeError(
            f"a value is a {module}.{qualname}, a class this program has not met. Import the module that "
            f"defines it, name it in the function's type hints, or give it to easyremote.register_type"
        )
    try:
        plan = plan_of(cls)
    except Refused as refused:
        raise DecodeError(f"a value is a {module}.{qualname}, which {refused.what}") from None
    if plan.kind != kind:
        raise DecodeError(
            f"a value is a {module}.{qualname} of kind {brief(kind)}, which here is of kind {plan.kind!r}"
        )
    return _RAISE[kind](cls, plan, fields)


def _fields(cls: type, found: object) -> dict[str, Any]:
    if type(found) is dict and all(type(name) is str for name in found):
        return found
    raise DecodeError(f"the fields of a {cls.__qualname__} are not named by text")


def _complete(cls: type, plan: Plan, found: object) -> dict[str, Any]:
    """The fields, with defaults for those an older sender does not know.

    Raises:
        DecodeError: A field is missing, or one too many.
    """
    fields = _fields(cls, found)
    names = set(plan.names)
    surplus = fields.keys() - names
    if surplus:
        raise DecodeError(
            f"a {cls.__qualname__} came with {brief(sorted(surplus))}, which it does not have here: "
            "run the same version of it on both sides"
        )
    for name in names - fields.keys():
        if name in plan.defaults:
            fields[name] = plan.defaults[name]
        elif name in plan.factories:
            fields[name] = plan.factories[name]()
        else:
            raise DecodeError(
                f"a {cls.__qualname__} came without {name!r}: run the same version of it on both sides"
            )
    return fields


def _raise_fields(cls: Any, plan: Plan, found: object) -> object:
    fields = _complete(cls, plan, found)
    made = object.__new__(cls)
    for name in plan.names:
        object.__setattr__(made, name, fields[name])
    return made


def _raise_plain_object(cls: Any, plan: Plan, found: object) -> object:
    made = object.__new__(cls)
    slots = frozenset(_slots(cls))
    for name, item in _fields(cls, found).items():
        if name in slots:
            object.__setattr__(made, name, item)
        else:
            made.__dict__[name] = item
    return made


def _raise_struct(cls: Any, plan: Plan, found: object) -> object:
    fields = _fields(cls, found)
    made: object = cls(**fields)
    return made


def _raise_pydantic(cls: Any, plan: Plan, found: object) -> object:
    if type(found) is not list or len(found) != 2 or type(found[1]) is not list:
        raise DecodeError(f"a {cls.__qualname__} is not made of its fields and the names of those set")
    fields = _fields(cls, found[0])
    made = _validate(cls, fields)
    made.__pydantic_fields_set__.intersection_update(found[1])
    return made


def _validate(cls: Any, fields: dict[str, Any]) -> Any:
    version = tuple(int(part) for part in sys.modules["pydantic"].VERSION.split(".")[:2])
    if version >= (2, 11):
        return cls.model_validate(fields, by_alias=False, by_name=True)
    aliases = {name: field.validation_alias for name, field in cls.model_fields.items()}
    return cls.model_validate(
        {alias if isinstance(alias := aliases.get(name), str) else name: v for name, v in fields.items()}
    )


def _raise_root(cls: Any, plan: Plan, found: object) -> object:
    made: object = cls.model_validate(found)
    return made


def _raise_enum(cls: Any, plan: Plan, found: object) -> object:
    member = cls.__members__.get(found) if type(found) is str else None
    if member is None:
        raise DecodeError(
            f"{cls.__qualname__} has no member {brief(found)}; it has {', '.join(cls.__members__)}"
        )
    return member


def _raise_flag(cls: Any, plan: Plan, found: object) -> object:
    if type(found) is not list:
        raise DecodeError(f"a {cls.__qualname__} is not made of the names of its members")
    for name in found:
        _raise_enum(cls, plan, name)
    return _join_flag(cls, found)


def _join_flag(cls: Any, names: Iterable[Any]) -> Any:
    joined = cls(0)
    for name in names:
        joined |= cls.__members__[name]
    return joined


def _raise_namedtuple(cls: Any, plan: Plan, found: object) -> object:
    if type(found) is not list or len(found) != len(plan.names):
        raise DecodeError(f"a {cls.__qualname__} wants {len(plan.names)} items, found {brief(found)}")
    return tuple.__new__(cls, found)


_RAISE: dict[str, Callable[[Any, Plan, object], object]] = {
    "enum": _raise_enum,
    "flag": _raise_flag,
    "struct": _raise_struct,
    "dataclass": _raise_fields,
    "attrs": _raise_fields,
    "pydantic": _raise_pydantic,
    "root": _raise_root,
    "namedtuple": _raise_namedtuple,
    "object": _raise_plain_object,
}

FINDERS.append(find)
RAISE[codes.OBJECT] = _raise_object
