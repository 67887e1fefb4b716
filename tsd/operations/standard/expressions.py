"""Small expressions over the fields of a record, such as `round(float(distance) / float(air_time) * 60, 1)`.

An expression is Python syntax of which only a few forms are taken: numbers, text, true and false, names of
fields, `field("any.path")`, arithmetic, comparison, `and`, `or`, `not`, and a few functions. What they mean
is not Python's, but that of JSON (`arithmetic`). An expression becomes a function of a record; nothing but
these operators and functions is within its reach.

An expression is compiled twice. The careful code calls a function for every step, which looks at the types
and tells what is wrong. The quick code assumes that each field has the type that its use suggests, numbers
where there is arithmetic and text where there is `float(a)`; one test of all fields comes before it, and
what does not fit goes to the careful code, as does whatever the quick code fails at. With types known,
operators are those of Python. Chains of `+ - * /` are checked once at their end: infinity and NaN pass
through all of these but as what is divided by, and that is checked; so are factors, so that numbers stay
small.
"""

import ast
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from tsd.operations.standard import arithmetic
from tsd.operations.standard.arithmetic import FUNCTIONS
from tsd.operations.standard.paths import path_reader
from tsd.operations.standard.values import same

_MOST_CHARS = 1000
_MOST_DEPTH = 60
_LARGEST_EXPONENT = 16
_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: arithmetic.plus,
    ast.Sub: arithmetic.minus,
    ast.Mult: arithmetic.times,
    ast.Div: arithmetic.divided,
    ast.FloorDiv: arithmetic.floor_divided,
    ast.Mod: arithmetic.modulo,
    ast.Pow: arithmetic.power,
}
_PASSING = (ast.Add, ast.Sub, ast.Mult, ast.Div)
"""What gives infinity or NaN whenever its left side is one."""
_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: arithmetic.positive,
    ast.USub: arithmetic.negative,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: same,
    ast.NotEq: arithmetic.differs,
    ast.Lt: arithmetic.less,
    ast.LtE: arithmetic.less_or_equal,
    ast.Gt: arithmetic.greater,
    ast.GtE: arithmetic.greater_or_equal,
    ast.In: arithmetic.is_in,
    ast.NotIn: arithmetic.is_not_in,
}
_CONSTANTS = {"true": True, "false": False, "null": None}
_HELPERS: Mapping[str, Any] = {
    "h_true": arithmetic.is_true,
    "h_checked": arithmetic.checked,
    "h_joined": arithmetic.joined,
    "h_numbers": frozenset({int, float}),
    "h_text": str,
    "p_float": float,
    "p_round": round,
    "p_abs": abs,
    **{f"h_{each.__name__}": function for each, function in _OPERATORS.items()},
    **{f"h_{each.__name__}": function for each, function in _SIGNS.items()},
    **{f"h_{each.__name__}": function for each, function in _COMPARISONS.items()},
}
_NUMBER, _TEXT, _BOOLEAN, _ANY = "number", "text", "boolean", ""
_SURE = 1e300
"""Numbers closer to zero than that need no further look."""


@attrs.frozen(kw_only=True)
class Expression:
    """An expression that can be evaluated.

    Attributes:
        fields: The paths of the fields that it needs.
        evaluate: Takes a record and returns the value, or None when a field that the expression needs is
            missing, null or empty text; raises ArithmeticError, TypeError or ValueError when the values can
            not be taken.
        explain: As `evaluate`, slower; what it raises is a ValueError that tells people what is wrong.
    """

    fields: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], Any]
    explain: Callable[[Mapping[str, Any]], Any]


class ExpressionError(ValueError):
    """Text that is no expression; says where."""


def compile_expression(text: str) -> Expression:
    """Compile an expression.

    Raises:
        ExpressionError: It has a form that is not taken.
    """
    if len(text) > _MOST_CHARS:
        raise ExpressionError(f"is longer than {_MOST_CHARS} characters")
    text = text.strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd forms that are refused here anyway
            tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"column {error.offset or len(text) + 1}: {error.msg}") from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise ExpressionError(f"can not be read: {error}") from error
    careful = _Builder()
    careful_body = careful.visit(tree.body).checked()
    fields = careful.fields
    quick = _Builder(fields, careful.uses)
    quick_body = quick.visit(tree.body).checked()
    careful_code = _unless_missing(fields, careful_body)
    quick_code = ast.IfExp(test=_guard(fields, careful.uses), body=quick_body, orelse=careful_code)
    names: dict[str, Any] = {f"g_{name}": each for name, each in FUNCTIONS.items()}
    names |= {f"r_{number}": path_reader(path) for path, number in fields.items() if "." in path}
    scope = {"__builtins__": {}, **names, **_HELPERS}
    return Expression(
        fields=tuple(fields),
        evaluate=_function(quick_code if fields else careful_code, scope),
        explain=_function(careful_code, scope),
    )


def _function(body: ast.expr, scope: dict[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    function = ast.Lambda(args=_one_argument("record"), body=body)
    code = compile(ast.fix_missing_locations(ast.Expression(body=function)), "<expression>", "eval")
    made: Callable[[Mapping[str, Any]], Any] = eval(code, scope)  # noqa: S307 - built from the forms below only
    return made


def _one_argument(name: str) -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=[ast.arg(arg=name)], kwonlyargs=[], kw_defaults=[], defaults=[])


def _load(name: str) -> ast.Name:
    return ast.Name(id=name, ctx=ast.Load())


def _call(name: str, *arguments: ast.expr) -> ast.expr:
    return ast.Call(func=_load(name), args=list(arguments), keywords=[])


def _bind(field: str, number: int) -> ast.expr:
    """`(f0 := record.get("a"))`."""
    if "." in field:
        value = _call(f"r_{number}", _load("record"))
    else:
        get = ast.Attribute(value=_load("record"), attr="get", ctx=ast.Load())
        value = ast.Call(func=get, args=[ast.Constant(value=field)], keywords=[])
    return ast.NamedExpr(target=ast.Name(id=f"f{number}", ctx=ast.Store()), value=value)


def _is(left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.expr:
    return ast.Compare(left=left, ops=[op], comparators=[right])


def _unless_missing(fields: Mapping[str, int], body: ast.expr) -> ast.expr:
    """`None if (f0 := record.get("a")) is None or f0 == "" or ... else body`."""
    tests: list[ast.expr] = []
    for field, number in fields.items():
        tests.append(_is(_bind(field, number), ast.Is(), ast.Constant(value=None)))
        tests.append(_is(_load(f"f{number}"), ast.Eq(), ast.Constant(value="")))
    if not tests:
        return body
    return ast.IfExp(test=ast.BoolOp(op=ast.Or(), values=tests), body=ast.Constant(value=None), orelse=body)


def _guard(fields: Mapping[str, int], uses: Mapping[str, str]) -> ast.expr:
    """Whether all fields are there and have the types that their uses suggest."""
    tests: list[ast.expr] = []
    for field, number in fields.items():
        bound, name = _bind(field, number), f"f{number}"
        use = uses.get(field, _ANY)
        kind = ast.Attribute(value=bound, attr="__class__", ctx=ast.Load())
        if use == _NUMBER:
            tests.append(_is(kind, ast.In(), _load("h_numbers")))
            continue
        if use == _TEXT:
            tests.append(_is(kind, ast.Is(), _load("h_text")))
        else:
            tests.append(_is(bound, ast.IsNot(), ast.Constant(value=None)))
        tests.append(_is(_load(name), ast.NotEq(), ast.Constant(value="")))
    return ast.BoolOp(op=ast.And(), values=[*tests, ast.Constant(value=True)])


@attrs.frozen
class _Code:
    """A part of the expression as Python code.

    Attributes:
        node: The code.
        kind: The type that its value surely has, `_ANY` when that is not known.
        is_open: The number may be infinite, NaN or too large yet.
        field: The path, when it is a field.
    """

    node: ast.expr
    kind: str = _ANY
    is_open: bool = False
    field: str | None = None

    def checked(self) -> ast.expr:
        """Code whose value is one that JSON has: `v if -1e300 < (v := node) < 1e300 else h_checked(v)`."""
        if not self.is_open:
            return self.node
        kept = ast.NamedExpr(target=ast.Name(id="v", ctx=ast.Store()), value=self.node)
        sure = ast.Compare(
            left=ast.Constant(value=-_SURE),
            ops=[ast.Lt(), ast.Lt()],
            comparators=[kept, ast.Constant(value=_SURE)],
        )
        return ast.IfExp(test=sure, body=_load("v"), orelse=_call("h_checked", _load("v")))


class _Builder:
    """Builds code of a tree, refusing all but the few forms; fields become variables."""

    def __init__(self, fields: Mapping[str, int] = {}, types: Mapping[str, str] = {}) -> None:
        self.fields = dict(fields)
        self.uses: dict[str, str] = {}
        self._types = types
        self._depth = 0
        self._bound = 0

    def visit(self, node: ast.expr) -> _Code:
        """The code of a node."""
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise _refusal(node, f"is nested more than {_MOST_DEPTH} deep")
        code = self._visit(node)
        self._depth -= 1
        return code

    def _visit(self, node: ast.expr) -> _Code:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None):
                return self._constant(node)
            case ast.Name():
                return self._name(node)
            case ast.Call():
                return self._call(node)
            case ast.BinOp() if type(node.op) in _OPERATORS:
                return self._binary(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.Compare() if all(type(op) in _COMPARISONS for op in node.ops):
                return self._comparison(node)
            case ast.Attribute():
                path = ast.unparse(node)
                raise _refusal(node, f'{path} is nothing that an expression may hold: write field("{path}")')
        raise _refusal(node, f"{ast.unparse(node)} is nothing that an expression may hold")

    def _use(self, code: _Code, kind: str) -> None:
        """Note as what a field is used; the first use counts."""
        if code.field is not None and kind != _ANY:
            self.uses.setdefault(code.field, kind)

    def _constant(self, node: ast.Constant) -> _Code:
        match node.value:
            case bool():
                kind = _BOOLEAN
            case int() | float():
                kind = _NUMBER
                try:
                    arithmetic.checked(node.value)
                except ValueError as error:
                    raise _refusal(node, "the number is beyond the range of numbers") from error
            case str():
                kind = _TEXT
            case _:
                kind = _ANY
        return _Code(ast.Constant(value=node.value), kind)

    def _name(self, node: ast.Name) -> _Code:
        if node.id in _CONSTANTS:
            return self._constant(ast.copy_location(ast.Constant(value=_CONSTANTS[node.id]), node))
        return self._field(node.id)

    def _field(self, path: str) -> _Code:
        number = self.fields.setdefault(path, len(self.fields))
        return _Code(_load(f"f{number}"), self._types.get(path, _ANY), field=path)

    def _call(self, node: ast.Call) -> _Code:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "field":
            match node.args:
                case [ast.Constant(value=str(field))] if field and not node.keywords:
                    return self._field(field)
            raise _refusal(
                node, 'field takes one path in quotes, as in field("dep time") or field("user.id")'
            )
        if name not in FUNCTIONS or node.keywords:
            raise _refusal(node, f"{ast.unparse(node)}: the functions are field, {', '.join(FUNCTIONS)}")
        least, most = _ARGUMENTS[name]
        values = [self.visit(argument) for argument in node.args]
        if not least <= len(values) <= most:
            count = f"{least}" if least == most else f"{least} or more" if most > 2 else f"{least} or {most}"
            raise _refusal(node, f"{name} takes {count} value{'s' if count != '1' else ''}")
        self._use(values[0], {"int": _TEXT, "float": _TEXT, "abs": _NUMBER, "round": _NUMBER}.get(name, _ANY))
        quick = self._quick_call(name, values)
        if quick is not None:
            return quick
        kind = (
            _NUMBER if name in ("abs", "round", "int", "float", "len") else _TEXT if name == "str" else _ANY
        )
        return _Code(_call(f"g_{name}", *[value.checked() for value in values]), kind)

    def _quick_call(self, name: str, values: list[_Code]) -> _Code | None:
        """Code in place of a call where types are known; None when there is none."""
        first = values[0]
        if name == "float" and first.kind == _TEXT and first.field is not None:
            return _Code(self._quick_float(first.node), _NUMBER)
        if name == "abs" and first.kind == _NUMBER:
            return _Code(_call("p_abs", first.node), _NUMBER, first.is_open)
        if name == "round" and first.kind == _NUMBER and len(values) == 2:
            places = values[1].node
            if (
                isinstance(places, ast.Constant)
                and type(places.value) is int
                and 0 <= places.value <= _ROUND_PLACES
            ):
                return _Code(self._quick_round(first.node, places.value), _NUMBER)
        return None

    def _quick_float(self, text: ast.expr) -> ast.expr:
        """`v if (v := float(f0)) - v == 0 and "_" not in f0 and f0.isascii() else g_float(f0)`."""
        kept, name = self._keep(_call("p_float", text))
        is_finite = _is(
            ast.BinOp(left=kept, op=ast.Sub(), right=_load(name)), ast.Eq(), ast.Constant(value=0.0)
        )
        is_plain = _is(ast.Constant(value="_"), ast.NotIn(), text)
        is_ascii = ast.Call(
            func=ast.Attribute(value=text, attr="isascii", ctx=ast.Load()), args=[], keywords=[]
        )
        test = ast.BoolOp(op=ast.And(), values=[is_finite, is_plain, is_ascii])
        return ast.IfExp(test=test, body=_load(name), orelse=_call("g_float", text))

    def _quick_round(self, number: ast.expr, places: int) -> ast.expr:
        """Python's rounding where no half is near, which also finds infinity and NaN."""
        kept, name = self._keep(number)
        scaled = ast.BinOp(left=kept, op=ast.Mult(), right=ast.Constant(value=float(10**places)))
        rest = ast.BinOp(left=scaled, op=ast.Mod(), right=ast.Constant(value=1))
        distance = ast.BinOp(left=rest, op=ast.Sub(), right=ast.Constant(value=0.5))
        is_clear = _is(_call("p_abs", distance), ast.Gt(), ast.Constant(value=arithmetic.NEAR_HALF))
        constant = ast.Constant(value=places)
        return ast.IfExp(
            test=is_clear,
            body=_call("p_round", _load(name), constant),
            orelse=_call("g_round", _load(name), constant),
        )

    def _binary(self, node: ast.BinOp) -> _Code:
        if isinstance(node.op, ast.Mult | ast.Mod) and any(
            _is_text(side) for side in (node.left, node.right)
        ):
            raise _refusal(node, "text can be added, but not multiplied or formatted")
        if isinstance(node.op, ast.Pow) and not _is_small(node.right):
            raise _refusal(node, f"an exponent must be a whole number up to {_LARGEST_EXPONENT}")
        left, right = self.visit(node.left), self.visit(node.right)
        is_sum = isinstance(node.op, ast.Add)
        if is_sum:
            self._use(left, right.kind or _NUMBER)
            self._use(right, left.kind or _NUMBER)
        else:
            self._use(left, _NUMBER)
            self._use(right, _NUMBER)
        if isinstance(node.op, _PASSING) and left.kind == right.kind == _NUMBER:
            first = left.checked() if isinstance(node.op, ast.Mult) else left.node
            second = right.node if isinstance(node.op, ast.Add | ast.Sub) else right.checked()
            return _Code(ast.BinOp(left=first, op=node.op, right=second), _NUMBER, is_open=True)
        name = "joined" if is_sum and left.kind == right.kind == _TEXT else type(node.op).__name__
        called = _call(f"h_{name}", left.checked(), right.checked())
        kind = _NUMBER if not is_sum else _TEXT if _TEXT in (left.kind, right.kind) else _ANY
        return _Code(called, kind)

    def _unary(self, node: ast.UnaryOp) -> _Code:
        operand = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return _Code(ast.UnaryOp(op=ast.Not(), operand=self._truth(operand)), _BOOLEAN)
        if type(node.op) not in _SIGNS:
            raise _refusal(node, f"{ast.unparse(node)} is nothing that an expression may hold")
        self._use(operand, _NUMBER)
        if operand.kind == _NUMBER:
            return _Code(ast.UnaryOp(op=node.op, operand=operand.node), _NUMBER, operand.is_open)
        return _Code(_call(f"h_{type(node.op).__name__}", operand.checked()), _NUMBER)

    def _truth(self, code: _Code) -> ast.expr:
        checked = code.checked()
        return checked if code.kind == _BOOLEAN else _call("h_true", checked)

    def _logic(self, node: ast.BoolOp) -> _Code:
        """`a and b` gives b when a counts as true, else a; `or` the other way round."""
        parts = [self.visit(value) for value in node.values]
        if all(part.kind == _BOOLEAN for part in parts):
            return _Code(ast.BoolOp(op=node.op, values=[part.node for part in parts]), _BOOLEAN)
        *firsts, last = [part.checked() for part in parts]
        code = last
        is_and = isinstance(node.op, ast.And)
        for first in reversed(firsts):
            kept, name = self._keep(first)
            other = _load(name)
            code = ast.IfExp(
                test=_call("h_true", kept), body=code if is_and else other, orelse=other if is_and else code
            )
        return _Code(code)

    def _comparison(self, node: ast.Compare) -> _Code:
        """`a < b < c` computes b once."""
        left = self.visit(node.left)
        tests: list[ast.expr] = []
        for number, (op, other) in enumerate(zip(node.ops, node.comparators, strict=True), start=1):
            right = self.visit(other)
            self._use(left, right.kind)
            self._use(right, left.kind)
            code, kept = right.checked(), right
            if number < len(node.ops):
                code, name = self._keep(code)
                kept = _Code(_load(name), right.kind)
            is_plain = left.kind == right.kind in (_NUMBER, _TEXT) and not (
                isinstance(op, ast.In | ast.NotIn) and left.kind == _NUMBER
            )
            if is_plain:
                tests.append(_is(left.checked(), op, code))
            else:
                tests.append(_call(f"h_{type(op).__name__}", left.checked(), code))
            left = kept
        return _Code(tests[0] if len(tests) == 1 else ast.BoolOp(op=ast.And(), values=tests), _BOOLEAN)

    def _keep(self, code: ast.expr) -> tuple[ast.expr, str]:
        """The code with its value kept under a name of its own."""
        self._bound += 1
        name = f"v{self._bound}"
        return ast.NamedExpr(target=ast.Name(id=name, ctx=ast.Store()), value=code), name


_ROUND_PLACES = 15
_ARGUMENTS = {
    "min": (1, 99),
    "max": (1, 99),
    "abs": (1, 1),
    "round": (1, 2),
    "int": (1, 1),
    "float": (1, 1),
    "str": (1, 1),
    "len": (1, 1),
}
"""How many values each function takes."""


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= _LARGEST_EXPONENT


def _refusal(node: ast.expr, why: str) -> ExpressionError:
    return ExpressionError(f"column {node.col_offset + 1}: {why}")
