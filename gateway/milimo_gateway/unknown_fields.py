"""Refusing JSON bodies with fields that the contract does not have: what the Lua filter is given to know.

Envoy's transcoder ignores unknown fields and cannot be told otherwise; a misspelt "widht" would become the default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Final

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from google.api import http_pb2

# Their JSON is no object of their fields.
_OPAQUE: Final = ".google."
_MAGIC: Final = re.compile(r"([-^$()%.\[\]*+?])")


def lua_pattern(template: str) -> str:
    """The Lua pattern of an HTTP rule's path; a variable matches one segment."""
    parts = re.split(r"\{[^}]*\}", template)
    return "^" + "[^/]+".join(_MAGIC.sub(r"%\1", part) for part in parts) + "$"


def _messages(files: descriptor_pb2.FileDescriptorSet) -> Iterator[tuple[str, descriptor_pb2.DescriptorProto]]:
    """All messages by full name, ".milimo.v1.Job", nested ones too."""
    waiting = [(f".{file.package}", message) for file in files.file for message in file.message_type]
    while waiting:
        scope, message = waiting.pop()
        name = f"{scope}.{message.name}"
        yield name, message
        waiting.extend((name, nested) for nested in message.nested_type)


@dataclass
class _Schema:
    """Numbers the messages that bodies can hold, as they are met."""

    messages: Mapping[str, descriptor_pb2.DescriptorProto]
    numbers: dict[str, int] = field(default_factory=dict)
    lines: dict[int, str] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number of a message; 0 for one that is not looked into."""
        if name.startswith(_OPAQUE):
            return 0
        if name not in self.numbers:
            number = self.numbers[name] = len(self.numbers) + 1
            self.lines[number] = self._line(name, self.messages[name])
        return self.numbers[name]

    def _line(self, name: str, message: descriptor_pb2.DescriptorProto) -> str:
        is_message = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        fields: dict[str, int] = {}
        for each in message.field:
            number = self.number(each.type_name) if each.type == is_message else 0
            # JSON takes a field under both of its names.
            fields[each.name] = fields[each.json_name] = number
        if message.options.map_entry:
            return f"{{ each = {fields['value']} }}"
        listed = ", ".join(f'["{each}"] = {number}' for each, number in fields.items())
        return f'{{ name = "{name.removeprefix(".")}", fields = {{ {listed} }} }}'


def _bodies(
    files: descriptor_pb2.FileDescriptorSet, messages: Mapping[str, descriptor_pb2.DescriptorProto]
) -> Iterator[tuple[str, str, str, str]]:
    """Verb, path template, message name and field of the request of every HTTP rule with a JSON body."""
    methods = [method for file in files.file for service in file.service for method in service.method]
    for method in methods:
        if not method.options.HasExtension(annotations_pb2.http):
            continue
        first = method.options.Extensions[annotations_pb2.http]
        rules: tuple[http_pb2.HttpRule, ...] = (first, *first.additional_bindings)
        for rule in rules:
            verb = rule.WhichOneof("pattern")
            if not rule.body or verb is None:
                continue
            name, where = method.input_type, ""
            if rule.body != "*":
                where = rule.body
                name = next(each.type_name for each in messages[name].field if each.name == where)
            if not name.startswith(_OPAQUE):
                yield verb.upper(), getattr(rule, verb), name, where


def lua_source(image: Path) -> str:
    """The filter's program, for the contract in a descriptor image."""
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    messages = dict(_messages(files))
    schema = _Schema(messages=messages)
    rules: dict[str, list[str]] = {}
    # A path with a custom verb (":cancel") also fits the pattern without it: the longer template comes first.
    for verb, template, name, where in sorted(_bodies(files, messages), key=lambda body: -len(body[1])):
        rules.setdefault(verb, []).append(f'{{ "{lua_pattern(template)}", {schema.number(name)}, "{where}" }}')
    tables = [
        "local RULES = {",
        *(f"  {verb} = {{ {', '.join(listed)} }}," for verb, listed in sorted(rules.items())),
        "}",
        "local MESSAGES = {",
        *(f"  [{number}] = {line}," for number, line in sorted(schema.lines.items())),
        "}",
    ]
    program = (resources.files(__package__) / "unknown_fields.lua").read_text(encoding="utf-8")
    return "\n".join(tables) + "\n" + program
