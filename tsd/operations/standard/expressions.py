"""Small expressions over the fields of a record, such as `round(float(distance) / float(air_time) * 60, 1)`.

An expression is Python syntax of which only a few forms are taken: numbers, text, true and false, names of
fields, `field("any name")`, arithmetic, comparison, `and`, `or`, `not`, and a few functions. It becomes a
function of a record; nothing but these functions is within its reach.
"""

import ast
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import attrs

_MOST_CHARS = 1000
_LARGEST_EXPONENT = 16
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "abs": abs,
    "round": round,
    "int": int,
    "float": float,
    "str": str,
    "len": len,
}
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_SIGNS = (ast.UAdd, ast.USub, ast.Not)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn)
_CONSTANTS = {"true": True, "false": False, "null": None}


@attrs.frozen(kw_only=True)
class Expression:
    """An expression that can be evaluated.

    Attributes:
        fields: The fields that it needs.
        evaluate: Takes a record and returns the value, or None when a field that the expression needs is
            missing, null or empty text; raises what Python raises, such as ZeroDivisionError.
    """

    fields: tuple[str, ...]
    evaluate: Callable[[Mapping[str, Any]], Any]


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
    builder = _Builder()
    body = builder.visit(tree.body)
    function = ast.Lambda(args=_one_argument("record"), body=_unless_missing(builder.fields, body))
    code = compile(ast.fix_missing_locations(ast.Expression(body=function)), "<expression>", "eval")
    names = {f"g_{name}": each for name, each in FUNCTIONS.items()}
    made = eval(code, {"__builtins__": {}, **names})  # noqa: S307 - built from the forms below only
    return Expression(fields=tuple(builder.fields), evaluate=made)


def _one_argument(name: str) -> ast.arguments:
    return ast.arguments(posonlyargs=[], args=[ast.arg(arg=name)], kwonlyargs=[], kw_defaults=[], defaults=[])


def _unless_missing(fields: Mapping[str, int], body: ast.expr) -> ast.expr:
    """`None if (f0 := record.get("a")) in (None, "") or ... else body`: one function is faster than two."""
    missing = ast.Tuple(elts=[ast.Constant(value=None), ast.Constant(value="")], ctx=ast.Load())
    get = ast.Attribute(value=ast.Name(id="record", ctx=ast.Load()), attr="get", ctx=ast.Load())
    tests: list[ast.expr] = []
    for field, number in fields.items():
        value = ast.Call(func=get, args=[ast.Constant(value=field)], keywords=[])
        bound = ast.NamedExpr(target=ast.Name(id=f"f{number}", ctx=ast.Store()), value=value)
        tests.append(ast.Compare(left=bound, ops=[ast.In()], comparators=[missing]))
    if not tests:
        return body
    test = tests[0] if len(tests) == 1 else ast.BoolOp(op=ast.Or(), values=tests)
    return ast.IfExp(test=test, body=ast.Constant(value=None), orelse=body)


class _Builder:
    """Copies a tree, refusing all but the few forms; fields become variables, functions get a prefix."""

    def __init__(self) -> None:
        self.fields: dict[str, int] = {}

    def visit(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None):
                return ast.Constant(value=node.value)
            case ast.Name():
                return self._name(node)
            case ast.Call():
                return self._call(node)
            case ast.BinOp() if isinstance(node.op, _OPERATORS):
                return self._binary(node)
            case ast.UnaryOp() if isinstance(node.op, _SIGNS):
                return ast.UnaryOp(op=node.op, operand=self.visit(node.operand))
            case ast.BoolOp():
                return ast.BoolOp(op=node.op, values=[self.visit(value) for value in node.values])
            case ast.Compare() if all(isinstance(op, _COMPARISONS) for op in node.ops):
                others = [self.visit(other) for other in node.comparators]
                return ast.Compare(left=self.visit(node.left), ops=node.ops, comparators=others)
        raise _refusal(node, f"{ast.unparse(node)} is nothing that an expression may hold")

    def _name(self, node: ast.Name) -> ast.expr:
        if node.id in _CONSTANTS:
            return ast.Constant(value=_CONSTANTS[node.id])
        return self._field(node.id)

    def _field(self, name: str) -> ast.expr:
        return ast.Name(id=f"f{self.fields.setdefault(name, len(self.fields))}", ctx=ast.Load())

    def _call(self, node: ast.Call) -> ast.expr:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == "field":
            match node.args:
                case [ast.Constant(value=str(field))] if not node.keywords:
                    return self._field(field)
            raise _refusal(node, 'field takes one name in quotes, as in field("dep time")')
        if name not in FUNCTIONS or node.keywords:
            raise _refusal(node, f"{ast.unparse(node)}: the functions are field, {', '.join(FUNCTIONS)}")
        arguments = [self.visit(argument) for argument in node.args]
        return ast.Call(func=ast.Name(id=f"g_{name}", ctx=ast.Load()), args=arguments, keywords=[])

    def _binary(self, node: ast.BinOp) -> ast.expr:
        text = (node.left, node.right)
        if isinstance(node.op, ast.Mult | ast.Mod) and any(_is_text(side) for side in text):
            raise _refusal(node, "text can be added, but not multiplied or formatted")
        if isinstance(node.op, ast.Pow) and not _is_small(node.right):
            raise _refusal(node, f"an exponent must be a whole number up to {_LARGEST_EXPONENT}")
        return ast.BinOp(left=self.visit(node.left), op=node.op, right=self.visit(node.right))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= _LARGEST_EXPONENT


def _refusal(node: ast.expr, why: str) -> ExpressionError:
    return ExpressionError(f"column {node.col_offset + 1}: {why}")
