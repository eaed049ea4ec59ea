"""Items as they come in and go out over HTTP. Any field is a column of theirs: none is unknown."""

import math
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from moerec.types import ItemField

MOST_FIELDS: Final = 100
LONGEST_NAME: Final = 64
LONGEST_TEXT: Final = 10_000
LONGEST_LIST: Final = 1_000

_ID_FIELD: Final = "item_id"
_VALUE_KINDS: Final = "a text, a finite number, true or false, null or a list of texts"
_VALUE_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "maxLength": LONGEST_TEXT},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {
            "type": "array",
            "items": {"type": "string", "maxLength": LONGEST_TEXT},
            "maxItems": LONGEST_LIST,
        },
    ]
}


def _value(given: object) -> ItemField:
    """A value of a column; a number that was an integer stays one."""
    match given:
        case None | bool():
            return given
        case str():
            return _text(given)
        case int() | float():
            return _number(given)
        case list() if len(given) <= LONGEST_LIST and all(isinstance(one, str) for one in given):
            return [_text(one) for one in given]
        case list() if len(given) > LONGEST_LIST:
            raise ValueError(f"a list may have {LONGEST_LIST} texts")
    raise ValueError(f"expected {_VALUE_KINDS}")


def _text(given: str) -> str:
    if len(given) > LONGEST_TEXT:
        raise ValueError(f"a text may have {LONGEST_TEXT} characters")
    try:
        given.encode()
    except UnicodeEncodeError:  # half of a pair, which JSON can spell
        raise ValueError("this text is not valid Unicode") from None
    return given


def _number(given: float) -> float:
    try:
        is_finite = math.isfinite(given)
    except OverflowError:
        is_finite = False
    if not is_finite:
        raise ValueError("expected a finite number")
    return given


Value = Annotated[Any, PlainValidator(_value), WithJsonSchema(_VALUE_SCHEMA)]
"""An `ItemField`. By that name pydantic would write a warning for each number that is an integer."""

Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Texts = Annotated[list[Text], Field(max_length=LONGEST_LIST)]


class ItemIn(BaseModel):
    """A row of the item file without its id: `title`, `categories`, and any other columns.

    At most 100 fields, each a text (10,000 characters), a finite number, true or false, null, or a list of
    texts (1,000 of them); a name has 1 to 64 characters.
    """

    model_config = ConfigDict(extra="allow", strict=True, use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, Value] = Field(init=False)

    title: Text | None = None
    """What it is called."""

    categories: Texts = []
    """What it belongs to: `/v1/popular` can be asked for one of these."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        if len(given) > MOST_FIELDS:
            raise ValueError(f"an item may have {MOST_FIELDS} fields, not {len(given)}")
        if _ID_FIELD in given:
            raise ValueError(f"{_ID_FIELD} stands in the URL alone")
        for name in given:
            if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
                shown = ascii(name[:LONGEST_NAME])
                raise ValueError(
                    f"a field's name has 1 to {LONGEST_NAME} printable characters, unlike {shown}"
                )
        return given

    def fields(self) -> dict[str, ItemField]:
        """What was given, as an item file would say it: an item without a title has none."""
        given: dict[str, Any] = self.model_dump(exclude_unset=True)
        if given.get("title", "") is None:
            del given["title"]
        return given


class ItemOut(BaseModel):
    """An item as it stands."""

    item_id: str
    title: str | None
    categories: list[str]
    fields: dict[str, Value] = Field(
        description="The other columns that it was put with. Those of the file that the model was trained "
        "with are not kept."
    )
    status: Literal["trained", "added", "removed"] = Field(
        description="`trained`: the model knows it; `added`: it came after the training; `removed`: it is "
        "in no list."
    )


class ItemChanged(ItemOut):
    """An item after a change, which is durable."""

    live: bool = Field(
        description="Whether every engine that can be reached makes its lists with this change already; "
        "otherwise they do in a moment."
    )
