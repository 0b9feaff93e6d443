"""The base class of every part of a config, and mistakes in a config: key, value and the nearest right one."""

import re
from collections.abc import Iterator
from types import UnionType
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from convnova.errors import nearest


class Strict(BaseModel):
    """A part of a config: an unknown key is an error, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    renamed: ClassVar[dict[str, str]] = {}
    """Keys of earlier versions to what is written instead."""

    @classmethod
    def refuse_unknown_keys(cls, content: Any) -> Any:
        """A mapping from keys of this part to something else than their values, as it is.

        Raises:
            ValueError: an unknown key; says what to write instead.
        """
        for key in content if isinstance(content, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; {cls._advice(str(key))}")
        return content

    @classmethod
    def _advice(cls, key: str) -> str:
        """What to write instead of an unknown key."""
        if key in cls.renamed:
            return f"it is now {cls.renamed[key]}"
        for name, field in cls.model_fields.items():
            kinds = get_args(field.annotation) if isinstance(field.annotation, UnionType) else (field.annotation,)
            if any(isinstance(kind, type) and issubclass(kind, Strict) and key in kind.model_fields for kind in kinds):
                return f"it belongs under `{name}`"
        return nearest(key, sorted(cls.model_fields))

    @classmethod
    def read(cls, content: Any, *key: str) -> Self:
        """The part that a config describes; from nothing the one with all defaults.

        Args:
            content: a mapping, as read from YAML, or nothing.
            key: where the part lies in the config, for messages.

        Raises:
            ConfigMistake: a wrong key or value.
        """
        try:
            return cls.model_validate({} if content is None else content)
        except ValidationError as error:
            raise ConfigMistake(*(_explain(detail, key, cls) for detail in error.errors())) from error

    def values(self) -> dict[str, Any]:
        """The values that are set, without those left at their defaults."""
        return {key: getattr(self, key) for key in type(self).model_fields if key in self.model_fields_set}

    def changed(self, changes: Any, *key: str) -> Self:
        """The part with other values; arguments and errors as of `read`."""
        return self.read(self.values() | changes if isinstance(changes, dict) else changes or self.values(), *key)


class ConfigMistake(Exception):
    """Wrong keys or values: for each its path in the config, and the end of a message that begins with the path."""

    def __init__(self, *mistakes: tuple[tuple[str, ...], str]):
        super().__init__("; ".join(".".join(key) + message for key, message in mistakes))
        self.mistakes = mistakes


def _explain(detail: Any, key: tuple[str, ...], part: type[Strict]) -> tuple[tuple[str, ...], str]:
    """Path and message of a mistake that pydantic found in a part that lies at `key`."""
    path = (*key, *(str(step) for step in detail["loc"] if step != "[key]"))
    value, message = detail["input"], detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if detail["type"] == "missing":
        return path, ": expected this key, found nothing"
    if detail["type"] == "value_error":
        return path, f": {message}" if path else message
    if detail["type"] == "extra_forbidden":
        *steps, unknown = detail["loc"]
        for step in steps:
            part = (
                next(kind for kind in _kinds(part.model_fields[step].annotation)) if step in part.model_fields else part
            )
        message = f"unknown key; {part._advice(str(unknown))}"
    elif detail["type"] == "literal_error":
        message = nearest(value, re.findall("'(.*?)'", detail["ctx"]["expected"]))
    return path, f" = {value!r}: {message}"


def _kinds(annotation: Any) -> Iterator[type[Strict]]:
    """The parts of a config that a field may hold, also in a list or a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Strict):
        yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)
