"""Recipes: an example's input as a pure function of a stored crop and parameters, the same one for both stores.

`store: pixels` applies it before encoding; `store: recipe` keeps the crop, once for all of a source's examples, and
the parameters, and whoever reads the rows applies it then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .encode import decode_cell, encode_png
from .errors import ConfigError, CorruptData, nearest
from .features import Feature, Features
from .transforms import cut_tiles, quarter_turn

#: The stored column that is the same for all examples of an item.
CROP = "crop"
#: What a recipe may name: each takes the crop, uint8 [height, width, 3], then the arguments, then constants by name.
FUNCTIONS: Mapping[str, Callable[..., NDArray[np.uint8]]] = {"quarter_turn": quarter_turn, "cut_tiles": cut_tiles}


@dataclass(frozen=True)
class Rendering:
    """How one input column is made of the stored ones.

    Attributes:
        column: that is made: one picture, or a list of pictures.
        feature: what it holds.
        function: name in FUNCTIONS.
        arguments: stored columns that the function takes after the crop, in order.
        constants: what else it takes, by name.

    Raises:
        ConfigError: there is no such function.
    """

    column: str
    feature: Feature
    function: str
    arguments: tuple[str, ...]
    constants: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ConfigError(
                f"a recipe's function must be one of {', '.join(FUNCTIONS)}, but is {self.function!r}."
                + nearest(self.function, FUNCTIONS)
            )

    def apply(self, kept: Mapping[str, Any]) -> NDArray[np.uint8]:
        """Return the column's value, uint8 [..., height, width, 3], of an example's stored values."""
        arguments = (kept[name] for name in self.arguments)
        return FUNCTIONS[self.function](kept[CROP], *arguments, **self.constants)

    def seen(self, stored: Features) -> Features:
        """Return the columns that examples have once they are made: the made one stands where the crop stood."""
        columns = ((self.column, self.feature) if name == CROP else (name, feature) for name, feature in stored)
        return Features(tuple(columns))

    def row(self, stored: Features, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return a stored row as one whose column was made before it was stored, its pictures as PNG, without loss.

        Raises:
            CorruptData: the stored crop is no picture, or its parameters are none.
        """
        try:
            made = self.apply({name: decode_cell(stored[name], row[name]) for name in (CROP, *self.arguments)})
        except (OSError, ValueError, SyntaxError, TypeError) as error:
            raise CorruptData(f"example {row.get('example_id')}: its recipe cannot be followed: {error}") from error
        cell = [_cell(one) for one in made] if self.feature.shape else _cell(made)
        return {(self.column if name == CROP else name): (cell if name == CROP else row[name]) for name in row}

    def to_json(self) -> dict[str, Any]:
        """Return this as JSON for the manifest; `from_json` reads it back."""
        return {
            "column": self.column,
            "feature": self.feature.to_json(),
            "function": self.function,
            "arguments": list(self.arguments),
            "constants": dict(self.constants),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Rendering:
        """Return what `to_json` wrote.

        Raises:
            ConfigError: it names a function that this release does not know.
        """
        feature, arguments = Feature.from_json(data["feature"]), tuple(data["arguments"])
        return cls(data["column"], feature, data["function"], arguments, dict(data["constants"]))


def _cell(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    return {"bytes": encode_png(pixels), "path": None}
