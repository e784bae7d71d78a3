"""Two mistakes made together, as one wrong answer, without a line written for each pair.

Most mistakes of an exercise call one function in common: the right answer, or that answer with its
parts open. Each changes what it gives to it, or what it makes of its result. So both together are
the first's code around the second's code around one call that has the changes of both. The mistake
that comes first in the exercise is the outer one; one that replaces a whole result hides what an
inner one does to it, so it comes last.
"""

import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, ModuleType, SimpleNamespace


class NoPairError(Exception):
    """The two mistakes change the same argument, each in another way."""


def common_function(mistakes: Sequence[Callable], answer: Callable) -> Callable | None:
    """The function of the chapter, or the answer, that most of the mistakes call."""
    called = Counter(
        function
        for mistake in map(inspect.unwrap, mistakes)
        for function in _called(mistake)
        if function is answer or function.__module__ == mistake.__module__
    )
    return max(called, key=called.get) if called else None


def together(first: Callable, second: Callable, common: Callable) -> Callable | None:
    """A wrong answer with both mistakes; None where one of them does not call the function."""
    outer, inner = inspect.unwrap(first), inspect.unwrap(second)
    if common not in _called(outer) or common not in _called(inner):
        return None
    signature = inspect.signature(common)

    def bound(*given, **named) -> dict:
        arguments = signature.bind(*given, **named)
        arguments.apply_defaults()
        return arguments.arguments

    def both(*given, **named):
        plain = {parameter.name: parameter.default for parameter in signature.parameters.values()}
        arguments = inspect.signature(outer).bind(*given, **named)
        arguments.apply_defaults()
        plain |= {name: arguments.arguments[name] for name in plain if name in arguments.arguments}

        def asked_by_first(*by_first, **named_by_first):
            changed = bound(*by_first, **named_by_first)

            def asked_by_second(*by_second, **named_by_second):
                merged = _merged(plain, changed, bound(*by_second, **named_by_second))
                call = inspect.BoundArguments(signature, merged)
                return common(*call.args, **call.kwargs)

            return _with(inner, common, asked_by_second)(*given, **named)

        return _with(outer, common, asked_by_first)(*given, **named)

    return both


def _merged(plain: dict, first: dict, second: dict) -> dict:
    """Each argument as the one mistake that changes it has it."""
    merged = {}
    for name, value in first.items():
        if value is not plain[name] and second[name] is not plain[name] is not value:
            raise NoPairError(name)
        merged[name] = second[name] if value is plain[name] else value
    return merged


def _called(function: Callable) -> set[Callable]:
    """The functions that a function's code names, as globals or as attributes of modules."""
    if not isinstance(function, FunctionType):
        return set()
    names, scope = _names(function.__code__), function.__globals__
    found = [scope[name] for name in names if name in scope]
    modules = [value for value in found if isinstance(value, ModuleType)]
    found += [getattr(module, name, None) for module in modules for name in names]
    return {value for value in found if isinstance(value, FunctionType)}


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _with(function: FunctionType, old: Callable, new: Callable) -> FunctionType:
    """The function, calling `new` where it calls `old`."""
    scope = dict(function.__globals__)
    for name in _names(function.__code__) & scope.keys():
        if scope[name] is old:
            scope[name] = new
        elif isinstance(scope[name], ModuleType):
            members = vars(scope[name])
            if replaced := {key: new for key, value in members.items() if value is old}:
                scope[name] = SimpleNamespace(**{**members, **replaced})
    copied = FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied
