"""Where the rows of csv and tsv begin and end: the grammar of quotes and escapes, and nothing of their cells.

A line delimiter ends a row unless it stands within quotes or is escaped. A quote opens a quoted cell only
where a cell begins, as in Python's csv module; any other quote outside of quotes is a letter (`5" pipe`).
Within quotes the next quote closes them, or is half of a pair that stands for one when no other escape is
set.

This one place decides for everybody: the slicer cuts files at ends of rows (`csv_cuts`), and the decoder
gives the csv module one row at a time (`file_tables`), so whole files and slices of any size have the same
rows, a row that the csv module refuses ends where its row ends, and no row is ever made of the inside of a
cell.

Text is split fast with the methods of `str`: delimiters that end no row are replaced by marks of the same
length, then the rest is one `split`. Marks are surrogates that no decoded text has; `unmarked` puts back
what was there. Without quotes and escapes nothing is marked.
"""

import re
from operator import itemgetter
from typing import Final

import attrs

_MARK: Final = "\ud800"
"""For each letter of a delimiter that ends no row. Bytes that are no UTF-8 are others, from \\udc80 on."""
_QUOTE, _FIELD, _ESCAPE, _RETURN, _LINE = "\ud801", "\ud802", "\ud803", "\ud804", "\ud805"
_ANY_MARK: Final = re.compile("[\ud800-\ud805]")
_last = itemgetter(slice(-1, None))


@attrs.frozen
class Grammar:
    """What separates and quotes cells.

    Attributes:
        line: Ends a row; one letter or several.
        field: Separates cells.
        quote: Quotes a cell; None for no quotes.
        escape: Takes the meaning from the letter behind it; None for none, then quotes are doubled.
    """

    line: str
    field: str
    quote: str | None = '"'
    escape: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether each line delimiter ends a row."""
        return self.quote is None and self.escape is None

    def of_bytes(self) -> "Grammar":
        """The same for text whose letters are the bytes of UTF-8, as Latin-1 decodes them."""

        def wide(text: str | None) -> str | None:
            return None if text is None else text.encode().decode("latin-1")

        return Grammar(
            str(wide(self.line)), str(wide(self.field)), quote=wide(self.quote), escape=wide(self.escape)
        )


@attrs.define
class RowMarker:
    """Marks the line delimiters that end no row, block by block.

    Attributes:
        is_open: The text so far ends within quotes.
        has_marks: Something was marked.
    """

    grammar: Grammar
    is_open: bool = False
    has_marks: bool = False
    _goes_on: bool = False  # an escaped delimiter was the last of the text so far
    _escaped: re.Pattern[str] | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        grammar = self.grammar
        self._escaped = None
        if grammar.escape is not None:
            escape, line = re.escape(grammar.escape), re.escape(grammar.line)
            self._escaped = re.compile(f"{escape}(\r?{line}|.)", re.DOTALL)

    def mark(self, text: str) -> str:
        """The text with marks; as long as it was.

        Args:
            text: It begins where a row does, or goes on with an open one; it ends with a line delimiter,
                unless it is the last.
        """
        grammar = self.grammar
        if self._escaped is not None and grammar.escape is not None and grammar.escape in text:
            self.has_marks = True
            text = self._escaped.sub(self._mark_escaped, text)
        marked = self._mark_quoted(text)
        self._goes_on = not self.is_open and marked.endswith(_MARK)
        return marked

    def _mark_quoted(self, text: str) -> str:
        grammar = self.grammar
        quote = grammar.quote
        if quote is None:
            return text
        if quote not in text:
            return self._quoted(text) if self.is_open else text
        parts = text.split(quote)
        first = 1 if self.is_open else 0  # parts are outside and inside of quotes in turn
        ends_outside = len(parts) % 2 != first
        openings = parts[first::2]
        if ends_outside:
            del openings[-1]
        if not self._are_ends_of_cells(openings):
            return self._mark_one_by_one(text)
        inside = slice(1 - first, None, 2)
        if grammar.line in quote.join(parts[inside]):
            parts[inside] = map(self._quoted, parts[inside])
            text = quote.join(parts)
        self.is_open = not ends_outside
        return text

    def _are_ends_of_cells(self, texts: list[str]) -> bool:
        """Whether a cell may begin behind each of these; nothing at all is there within a pair of quotes."""
        grammar = self.grammar
        ends = set(map(_last, texts))
        if len(grammar.line) == 1 and len(grammar.field) == 1:
            is_right = ends <= {"", grammar.line, grammar.field}
        else:
            is_right = all(not text or text.endswith((grammar.line, grammar.field)) for text in texts)
        if is_right and grammar.escape is not None and "" in ends:
            return "" not in texts[0 if self.is_open or self._goes_on else 1 :]
        return is_right

    def _mark_one_by_one(self, text: str) -> str:
        """As `mark`, when some quote is a letter."""
        grammar = self.grammar
        quote, before_cell = str(grammar.quote), (grammar.line, grammar.field)
        done: list[str] = []
        start = at = 0
        is_open = self.is_open
        while (found := text.find(quote, at)) >= 0:
            behind = found + len(quote)
            if not is_open:
                begins_row = found == 0 and not self._goes_on
                is_open = begins_row or text.endswith(before_cell, 0, found)
                if is_open:
                    done.append(text[start:found])
                    start = found
            elif grammar.escape is None and text.startswith(quote, behind):
                behind += len(quote)
            else:
                is_open = False
                done.append(self._quoted(text[start:found]))
                start = found
            at = behind
        done.append(self._quoted(text[start:]) if is_open else text[start:])
        self.is_open = is_open
        return "".join(done)

    def _quoted(self, text: str) -> str:
        line = self.grammar.line
        if line not in text:
            return text
        self.has_marks = True
        return text.replace(line, _MARK * len(line))

    def _mark_escaped(self, match: re.Match[str]) -> str:
        grammar, text = self.grammar, match[1]
        if text.endswith(grammar.line):
            marked = _MARK * len(grammar.line)
            return f"{grammar.escape}{_RETURN if len(text) > len(grammar.line) else ''}{marked}"
        # an escaped line break of another kind too: the csv module would go on with the next row
        marks = {
            "\r": _RETURN,
            "\n": _LINE,
            grammar.quote: _QUOTE,
            grammar.field: _FIELD,
            grammar.escape: _ESCAPE,
        }
        return f"{grammar.escape}{marks.get(text, text)}"

    def unmarked(self, text: str) -> str:
        """The text without marks."""
        if not self.has_marks or _ANY_MARK.search(text) is None:
            return text
        grammar = self.grammar
        text = text.replace(_MARK * len(grammar.line), grammar.line)
        for mark, real in (
            (_QUOTE, grammar.quote),
            (_FIELD, grammar.field),
            (_ESCAPE, grammar.escape),
            (_RETURN, "\r"),
            (_LINE, "\n"),
        ):
            text = text.replace(mark, real or "")
        return text


class RowSplitter:
    """Splits the text of a table into its rows, block by block.

    Attributes:
        rest_b: Bytes, as UTF-8, of what stands behind the last row that has ended.
    """

    def __init__(self, grammar: Grammar) -> None:
        """Nothing was read yet."""
        self.marker = RowMarker(grammar)
        self._line = grammar.line
        self._is_break = not grammar.line.strip("\r\n")
        self._begun: list[str] = []
        self.rest_b = 0

    @property
    def is_open(self) -> bool:
        """Whether the text so far ends within quotes."""
        return self.marker.is_open

    def split(self, text: str) -> list[str]:
        """The rows that end in a block of text, with marks; see `RowMarker.mark` for where blocks end."""
        rows = self.marker.mark(text).split(self._line)
        rest = rows.pop()
        self.rest_b = (0 if rows else self.rest_b) + self.length_of(rest)
        if rows and self._begun:
            rows[0] = "".join((*self._begun, rows[0]))
            self._begun.clear()
        if rest:
            self._begun.append(rest)
        return self._without_breaks(rows)

    def rest(self) -> str:
        """What stands behind the last row that has ended: a row too, when there is no more."""
        text = "".join(self._begun)
        self._begun.clear()
        return self._without_breaks([text])[0]

    def length_of(self, row: str) -> int:
        """Bytes, as UTF-8, of a row as it was."""
        return len(self.marker.unmarked(row).encode(errors="surrogateescape"))

    def _without_breaks(self, rows: list[str]) -> list[str]:
        """With a delimiter that is no line break, line breaks are letters, which the csv module refuses."""
        if self._is_break:
            return rows
        breaks = {10: _LINE, 13: _RETURN}
        for i, row in enumerate(rows):
            if "\n" in row or "\r" in row:
                self.marker.has_marks = True
                rows[i] = row.translate(breaks)
        return rows
