"""How named tensors meet the arguments and results of a TorchScript `forward`.

By Triton's rules for PyTorch (its model configuration, "Special Conventions for PyTorch Backend"):

- inputs by the names of the arguments, or as `NAME__<index>`, or else in the order declared;
- the entries of a single argument that is a dict of tensors, by its keys;
- outputs as `NAME__<index>`, or in the order declared; of a model that returns a dict, by its keys.

One thing is stricter: where some inputs are arguments and others are not, Triton falls back to the
order declared; here that is an error, since it is most often a misspelt name.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runtimes.errors import ModelBroken
from runtimes.session import ModelFile

Layout = Callable[[Mapping[str, Any]], tuple[Any, ...]]
"""From named tensors to the arguments of `forward`."""

NUMBERED = re.compile(r".+__(\d+)")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of `forward`, after `self`."""

    name: str
    type: str
    required: bool
    default: Any


@dataclass(frozen=True, slots=True)
class Forward:
    """What a module's `forward` takes and gives, as far as its schema says."""

    arguments: tuple[Argument, ...]
    returns: str

    @classmethod
    def of(cls, module: Any, model: ModelFile) -> "Forward":
        try:
            schema = module._c._get_method("forward").schema
        except RuntimeError:
            raise ModelBroken(f"{model.path.name} has no method forward") from None
        arguments = tuple(
            Argument(each.name, str(each.type), not each.has_default_value(), each.default_value)
            for each in schema.arguments[1:]
        )
        for argument in arguments:
            if argument.required and not (_is_tensor(argument) or _is_dict(argument)):
                raise ModelBroken(
                    f"argument '{argument.name}' of forward in {model.path.name} is a {argument.type}; "
                    "a served model takes tensors, or one dict of tensors by name"
                )
        if any(map(_is_dict, arguments)) and len(arguments) > 1:
            raise ModelBroken(f"forward in {model.path.name} takes a dict of tensors beside other arguments")
        return cls(arguments, str(schema.returns[0].type) if schema.returns else "None")

    @property
    def takes_dict(self) -> bool:
        return any(map(_is_dict, self.arguments))

    @property
    def tensors(self) -> tuple[Argument, ...]:
        return tuple(filter(_is_tensor, self.arguments))

    def bind(self, names: Sequence[str], model: ModelFile) -> Layout:
        """How to lay named tensors out as the arguments of `forward`."""
        if self.takes_dict:
            return lambda tensors: (dict(tensors),)
        named = {argument.name for argument in self.tensors}
        known = [name for name in names if name in named]
        numbers = [NUMBERED.fullmatch(name) for name in names]
        if len(known) == len(names):
            by_argument = {name: name for name in names}
        elif known:
            raise ModelBroken(
                f"forward in {model.path.name} takes {listed(named)}; of the inputs, "
                f"{listed(set(names) - named)} fits none of them"
            )
        elif all(numbers):
            positions = {int(number[1]): number[0] for number in numbers if number}
            by_argument = {each.name: positions[i] for i, each in enumerate(self.arguments) if i in positions}
        else:
            by_argument = {argument.name: name for argument, name in zip(self.tensors, names, strict=False)}
        missing = [each.name for each in self.arguments if each.required and each.name not in by_argument]
        if missing or len(by_argument) < len(names):
            raise ModelBroken(
                f"forward in {model.path.name} takes {listed(each.name for each in self.tensors)}, "
                f"and the inputs {listed(names)} do not fit"
            )
        layout = tuple((by_argument.get(each.name, ""), each.default) for each in self.arguments)
        return lambda tensors: tuple([tensors.get(name, default) for name, default in layout])


def output_positions(names: Sequence[str]) -> dict[str, int]:
    """Where each named output stands in the tuple that a model returns."""
    numbers = [NUMBERED.fullmatch(name) for name in names]
    if all(numbers):
        return {number[0]: int(number[1]) for number in numbers if number}
    return {name: position for position, name in enumerate(names)}


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names) or "nothing"


def _is_tensor(argument: Argument) -> bool:
    return argument.type in ("Tensor", "Optional[Tensor]")


def _is_dict(argument: Argument) -> bool:
    return argument.type == "Dict[str, Tensor]"
