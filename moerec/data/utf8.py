"""UTF-8 checked chunk by chunk, at memory speed for plain ASCII."""

import codecs


class Utf8Check:
    """Feed chunks in order; remembers a character that a chunk's end cuts in two."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.broken_at: int | None = None

    @property
    def complete(self) -> bool:
        """Whether no character is left half-read."""
        return self.broken_at is not None or not self._decoder.getstate()[0]

    def feed(self, chunk: bytes) -> int | None:
        """Place of the first invalid byte in `chunk`, or None; after the first one, nothing is checked.

        The place is negative where the invalid character began in the chunk before.
        """
        pending = len(self._decoder.getstate()[0])
        if self.broken_at is not None or (not pending and chunk.isascii()):
            return None
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError as error:
            self.broken_at = error.start - pending
            return self.broken_at
        return None
