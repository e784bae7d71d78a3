"""Compare what a reader's function returned with what was wanted, and say in words how they differ.

Results are tensors, numbers, text, or tuples, lists, dicts and dataclasses of such. Axis names come
from the jaxtyping annotation of the wanted value, where it has one.
"""

import copy
import dataclasses
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from functools import partial

import numpy
import torch
from torch import Tensor

LARGEST_SNAPSHOT = 50_000_000  # numbers; a larger result is an expanded view or a mistake in shape
ON_META = "It is on the device `meta`, which keeps shapes but no numbers: use the input's device."
MASKED = 1e4  # numbers beyond this are masks ("minus infinity"), unless all are


@dataclasses.dataclass(frozen=True)
class Difference:
    """The first place where a result is not what was wanted."""

    place: str  # "" for the result itself, else such as '["W_Q"]' or ".logits"
    got: object
    wanted: object
    annotation: object
    tolerance: float
    reason: str  # what is wrong with its type, "" when only the shape or the values differ


def snapshot(value: object) -> object:
    """The value with its tensors detached and copied, so that nobody changes it afterwards."""
    if isinstance(value, Tensor):
        with torch._C.DisableTorchFunctionSubclass():  # a subclass must not answer for itself
            plain = Tensor.detach(value)
            if type(plain) is not Tensor:
                plain = Tensor.as_subclass(plain, Tensor)
            small = plain.layout == torch.strided and plain.numel() <= LARGEST_SNAPSHOT
            return plain.clone() if small else plain
    if isinstance(value, tuple | list):
        entries = [snapshot(entry) for entry in value]
        return tuple(entries) if isinstance(value, tuple) else entries
    if isinstance(value, Mapping):
        return {key: snapshot(value[key]) for key in value}
    if isinstance(value, numpy.ndarray):
        return value.copy()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {key: snapshot(entry) for key, entry in _fields(value).items()}
        duplicate = copy.copy(value)
        for key, entry in fields.items():
            object.__setattr__(duplicate, key, entry)
        return duplicate
    return value


def same(before: object, after: object) -> bool:
    """Whether a value is untouched: tensors, and what holds them, to the last bit."""
    if isinstance(before, Tensor):
        return (
            isinstance(after, Tensor)
            and (before.shape, before.dtype) == (after.shape, after.dtype)
            and before.device == after.device
            and (before.is_meta or bool(((before == after) | (before != before)).all()))
        )
    if isinstance(before, torch.nn.Module):
        return same(before.state_dict(), after.state_dict())
    if isinstance(before, tuple | list):
        return len(before) == len(after) and all(map(same, before, after))
    if isinstance(before, Mapping):
        return before.keys() == after.keys() and all(same(before[k], after[k]) for k in before)
    if dataclasses.is_dataclass(before):
        return same(_fields(before), _fields(after))
    if isinstance(before, numpy.ndarray):
        return isinstance(after, numpy.ndarray) and numpy.array_equal(before, after)
    if isinstance(before, int | float | str | None):
        return before == after or before != before
    return True


def first_difference(
    got: object, wanted: object, tolerance: float, annotation: object = None, place: str = ""
) -> Difference | None:
    """Where a result first differs from the wanted one; None when they agree.

    Floats agree within `tolerance` times the size of the wanted values, float32 and float64 alike.
    """

    def differs(reason: str = "") -> Difference:
        return Difference(place, got, wanted, annotation, tolerance, reason)

    if isinstance(wanted, Tensor) and wanted.ndim > 0:
        return differs(_tensor_reason(got, wanted)) if not _agree(got, wanted, tolerance) else None
    if isinstance(wanted, Tensor | bool | int | float | complex | numpy.generic):
        if (number := _number(got)) is None:
            return differs(_scalar_reason(got))
        if isinstance(wanted, Tensor | numpy.generic):
            wanted = wanted.item()
        if _kind(number) != _kind(wanted) and not (
            _kind(wanted) == "a whole number" and _kind(number) == "a float" and number == wanted
        ):
            return differs(f"It is {_kind(number)}; wanted is {_kind(wanted)}.")
        if isinstance(wanted, bool | int):
            return None if number == wanted else differs()
        both = torch.tensor([number, wanted], dtype=torch.complex128)
        return None if bool(_right(both[0], both[1], tolerance)) else differs()
    if isinstance(wanted, str):
        return None if type(got) is str and got == wanted else differs(_type_reason(got, str))
    if wanted is None:
        return None if got is None else differs("Wanted is None.")

    if isinstance(wanted, tuple | list):
        if not isinstance(got, tuple | list):
            return differs(f"Wanted are {len(wanted)} values, as a {type(wanted).__name__}.")
        if len(got) != len(wanted):
            return differs(f"It has {len(got)} entries; wanted are {len(wanted)}.")
        if order := _order(got, wanted, tolerance):
            return differs(f"The entries are right, but in another order: {order} of the wanted.")
        parts = [
            (f"[{i}]", got[i], wanted[i], _inner(annotation, i, len(wanted)))
            for i in range(len(wanted))
        ]
    elif isinstance(wanted, Mapping):
        if not isinstance(got, Mapping):
            return differs(f"Wanted is a dict with the keys {_listed(map(repr, wanted))}.")
        if missing := [repr(key) for key in wanted if key not in got]:
            return differs(f"The key {missing[0]} is missing; there is {_listed(map(repr, got))}.")
        if extra := [repr(key) for key in got if key not in wanted]:
            return differs(f"The key {extra[0]} is not wanted; {_listed(map(repr, wanted))} are.")
        parts = [(f"[{k!r}]", got[k], wanted[k], _inner(annotation, -1, 2)) for k in wanted]
    elif dataclasses.is_dataclass(wanted):
        if missing := [name for name in _fields(wanted) if not hasattr(got, name)]:
            return differs(f"Wanted is a {type(wanted).__name__}, which has `.{missing[0]}`.")
        types = {field.name: field.type for field in dataclasses.fields(wanted)}
        parts = [
            (f".{name}", getattr(got, name), value, types[name])
            for name, value in _fields(wanted).items()
        ]
    else:
        agree = type(got) is type(wanted) and got == wanted
        return None if agree else differs(_type_reason(got, type(wanted)))
    differences = (
        first_difference(part, wanted_part, tolerance, inner, place + where)
        for where, part, wanted_part, inner in parts
    )
    return next((difference for difference in differences if difference is not None), None)


def explanation(difference: Difference) -> tuple[str, str]:
    """What kind of difference it is, and, in lines, what came and what was wanted."""
    got, wanted = difference.got, difference.wanted
    names = axis_names(difference.annotation, wanted.ndim if isinstance(wanted, Tensor) else 0)
    if difference.reason:
        kind, where = difference.reason, "what came is of another kind."
    elif isinstance(wanted, Tensor) and wanted.ndim > 0 and got.shape != wanted.shape:
        kind, where = _shape_kind(got, wanted, names, difference.tolerance), "the shape differs."
    elif isinstance(wanted, Tensor) and wanted.ndim > 0:
        right = _right(got, wanted, difference.tolerance)
        kind = _values_kind(got, wanted, right, names, difference.tolerance)
        where = _first_place(got, wanted, right, names)
    elif isinstance(wanted, str):
        part = next(i for i in itertools.count() if got[i : i + 1] != wanted[i : i + 1])
        kind, where = f"The text differs from character {part + 1} on.", "the text differs."
    else:
        kind, where = _number_kind(got, wanted, difference.tolerance), "the value differs."
    if difference.place:
        where = f"at `result{difference.place}`, {where}"
    lines = where, f"Came: {described(got, names)}", f"Wanted: {described(wanted, names)}"
    return kind, "\n".join(lines)


def relation(difference: Difference) -> str:
    """One sentence that gives every number of the result out of the wanted ones; else ""."""
    got, wanted = difference.got, difference.wanted
    if difference.reason or not isinstance(wanted, Tensor) or got.shape != wanted.shape:
        return ""
    return _relation(
        got, wanted, axis_names(difference.annotation, wanted.ndim), difference.tolerance
    )


def described(value: object, names: Sequence[str] = ()) -> str:
    """A value's type, shape and first numbers, without anything that changes from run to run."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        if value.ndim == 0:
            return f"{kind} {_shown(value)}" if not value.is_meta else f"{kind} on `meta`"
        device = "" if value.device.type == "cpu" else f" on `{value.device}`"
        text = f"{kind} {shape(value.shape, names)}{device}"
        if value.is_meta or value.layout != torch.strided or value.numel() == 0:
            return text
        places = [numpy.unravel_index(i, value.shape) for i in range(min(4, value.numel()))]
        first = [_shown(value[place]) for place in places]
        return f"{text}: {', '.join(first)}{', ...' if value.numel() > 4 else ''}"
    if isinstance(value, numpy.ndarray):
        return f"a numpy array {shape(value.shape)}"
    if isinstance(value, bool | int | float | complex | numpy.generic):
        return f"{_shown(value)}"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:60] + "...")
    if value is None or value is Ellipsis:
        return repr(value)
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def shape(sizes: Sequence[int], names: Sequence[str] = ()) -> str:
    """Such as "[batch 2, pos 5]", or "[2, 5]" where the axes have no names."""
    if len(names) != len(sizes) or all(name.startswith("axis ") for name in names):
        return f"[{', '.join(map(str, sizes))}]"
    return f"[{', '.join(f'{name} {size}' for name, size in zip(names, sizes, strict=True))}]"


def axis_names(annotation: object, n_axes: int) -> tuple[str, ...]:
    """One name per axis out of a jaxtyping annotation, "axis 1" and so on where it gives none."""
    dims = str(getattr(annotation, "dim_str", "")).split()
    several = [i for i, dim in enumerate(dims) if dim.startswith(("...", "*", "#*", "_*"))]
    if several:
        dims[several[0] : several[0] + 1] = [""] * (n_axes - len(dims) + 1)
    if len(dims) != n_axes:
        dims = [""] * n_axes
    names = [re.match(r"[#?]?([A-Za-z]\w*)?", dim).group(1) for dim in dims]  # "q_pos=pos" is q_pos
    return tuple(name or f"axis {i}" for i, name in enumerate(names))


# --- what kind of thing came ---------------------------------------------------------------------


def _tensor_reason(got: object, wanted: Tensor) -> str:
    """Why it cannot be compared with the wanted tensor at all; "" when it can."""
    if isinstance(got, numpy.ndarray):
        return (
            "It is a numpy array; wanted is a torch.Tensor: stay in torch from the first line to "
            "the last, without `.numpy()` and `numpy` functions."
        )
    if not isinstance(got, Tensor):
        return f"It is a {type(got).__name__}; wanted is one torch.Tensor{_of_tensors(got, wanted)}"
    if got.is_meta:
        return ON_META
    if got.device != wanted.device:
        return (
            f"It is on the device `{got.device}`; wanted is `{wanted.device}`, where the input is: "
            "make new tensors with `device=` of the input."
        )
    if got.layout != torch.strided:
        return "It is a sparse tensor; wanted is a dense one: `.to_dense()`."
    if _kind(got) != _kind(wanted):
        came, target = (f"{_kind(each)} ({_dtype(each)})" for each in (got, wanted))
        return f"It holds {came}; wanted {target}."
    return ""


def _of_tensors(got: object, wanted: Tensor) -> str:
    """What to do where several tensors came for one."""
    if not isinstance(got, tuple | list) or not any(isinstance(part, Tensor) for part in got):
        return "."
    parts = wanted.shape[1:], len(got) == len(wanted)
    if parts == (getattr(got[0], "shape", None), True) and got[0].shape != wanted.shape:
        return ": put them together with `torch.stack`."
    return ": return only that one."


def _scalar_reason(got: object) -> str:
    if isinstance(got, Tensor | numpy.ndarray) and len(got.shape) > 0:
        return f"It has the shape {shape(got.shape)}; wanted is a single number."
    if isinstance(got, Tensor):
        return ON_META
    return f"It is a {type(got).__name__}; wanted is a single number."


def _type_reason(got: object, wanted: type) -> str:
    came = type(got).__name__
    return "" if type(got) is wanted else f"It is a {came}; wanted is a {wanted.__name__}."


def _number(value: object) -> bool | int | float | complex | None:
    """A single number out of Python, numpy or a tensor without axes; None for anything else."""
    if isinstance(value, Tensor):
        return value.item() if value.ndim == 0 and not value.is_meta else None
    if isinstance(value, numpy.generic) or (isinstance(value, numpy.ndarray) and not value.ndim):
        value = value.item()
    return value if isinstance(value, bool | int | float | complex) else None


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        kinds = "True and False", "whole numbers", "complex numbers", "floats"
        is_bool, is_whole = value.dtype == torch.bool, not value.dtype.is_floating_point
        is_complex = value.dtype.is_complex
    else:
        kinds = "True or False", "a whole number", "a complex number", "a float"
        is_bool, is_whole = isinstance(value, bool), isinstance(value, int)
        is_complex = isinstance(value, complex)
    if is_bool:
        return kinds[0]
    if is_complex:
        return kinds[2]
    return kinds[1] if is_whole else kinds[3]


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _fields(value: object) -> dict[str, object]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _inner(annotation: object, index: int, n_entries: int) -> object:
    """What the annotation of a tuple, list or dict says of the entry at `index`."""
    inner = [entry for entry in typing.get_args(annotation) if entry is not Ellipsis]
    if not inner or (len(inner) != n_entries and len(inner) != 1):
        return None
    return inner[0] if len(inner) == 1 else inner[index]


def _listed(words) -> str:
    return ", ".join(itertools.islice(words, 12)) or "none"


# --- values --------------------------------------------------------------------------------------


def _right(got: Tensor, wanted: Tensor, tolerance: float) -> Tensor:
    """True at each number that is as wanted, for two tensors of the same shape."""
    if not wanted.dtype.is_floating_point and not wanted.dtype.is_complex:
        return got == wanted
    widest = torch.complex128 if wanted.dtype.is_complex else torch.float64
    got, wanted = got.to(widest), wanted.to(widest)
    sizes = wanted.abs()[wanted.isfinite()]
    sizes = sizes[sizes < MASKED] if (sizes < MASKED).any() else sizes
    size = float(sizes.max()) if len(sizes) and sizes.max() > 0 else 1.0
    near = (got - wanted).abs() <= tolerance * wanted.abs().clamp(min=size)
    equal = (got == wanted) | (got.isnan() & wanted.isnan())
    return equal | (near & got.isfinite() & wanted.isfinite())


def _agree(got: object, wanted: Tensor, tolerance: float) -> bool:
    if _tensor_reason(got, wanted):
        return False
    return got.shape == wanted.shape and bool(_right(got, wanted, tolerance).all())


def _shape_kind(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """What may have happened to the axes."""
    if rearranged := _rearranged(got, wanted, names, tolerance):
        return rearranged
    for i in range(wanted.ndim):
        if got.shape == wanted.shape[:i] + wanted.shape[i + 1 :]:
            number = wanted.to(torch.float64) if wanted.dtype == torch.bool else wanted
            if _agree(got, number.sum(dim=i), tolerance):
                return f"{names[i]} is missing: you summed over it."
            if wanted.dtype.is_floating_point and _agree(got, wanted.mean(dim=i), tolerance):
                return f"{names[i]} is missing: you averaged over it."
            return f"{names[i]} is missing."
    for i in range(got.ndim):
        if got.shape[:i] + got.shape[i + 1 :] == wanted.shape:
            return f"There is one axis too many: axis {i}, of size {got.shape[i]}."
    if got.numel() == wanted.numel() and _agree(got.reshape(wanted.shape), wanted, tolerance):
        return "The numbers are right, and in the right order; only the shape differs."
    if got.ndim == wanted.ndim:
        i = next(i for i in range(wanted.ndim) if got.shape[i] != wanted.shape[i])
        return f"{names[i]} has size {got.shape[i]}; wanted is {wanted.shape[i]}."
    return f"It has {got.ndim} axes; wanted are {wanted.ndim}."


def _rearranged(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    if got.ndim != wanted.ndim or wanted.ndim > 5:
        return ""
    for order in itertools.permutations(range(wanted.ndim)):
        if order != tuple(sorted(order)) and _agree(got, wanted.permute(order), tolerance):
            moved = [i for i in range(wanted.ndim) if order[i] != i]
            if len(moved) == 2:
                first, second = (names[i] for i in moved)
                return f"It is what was wanted, transposed over {first} and {second}."
            came, target = ", ".join(names[i] for i in order), ", ".join(names)
            return f"The numbers are right, but the axes came as {came}; wanted {target}."
    return ""


def _values_kind(
    got: Tensor, wanted: Tensor, right: Tensor, names: Sequence[str], tolerance: float
) -> str:
    """The first of these that is true, found by comparing."""
    return (
        _relation(got, wanted, names, tolerance)
        or _not_finite(got, wanted, right, names)
        or _nearly(got, wanted, tolerance)
        or _same_along(got, wanted, names, tolerance)
        or _wrong_in_part(right, names)
        or _relation_along(got, wanted, names, tolerance)
        or _sums(got, wanted, names)
        or "It has the right shape, but the numbers differ."
    )


def _relation(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """What was done to the wanted tensor to get this one, where one deed explains every number."""
    if wanted.numel() < 2:
        return ""
    if wanted.dtype == torch.bool:
        inverted = got.dtype == torch.bool and bool((got != wanted).all())
        return "True and False are the other way round." if inverted else ""
    return (
        _rearranged(got, wanted, names, tolerance)
        or (_scaled_or_shifted(got, wanted, tolerance) if wanted.numel() > 2 else "")
        or _function_of(got, wanted, names, tolerance)
        or _reordered(got, wanted, names, tolerance)
        or _moved(got, wanted, names, tolerance)
    )


def _function_of(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """Whether each number is the same function of the wanted one, or of the wanted ones in line."""
    if wanted.dtype.is_complex or bool((got == got.flatten()[0]).all()):
        return ""
    wide = wanted.double()
    functions = {f"{name} of what was wanted": function for name, function in FUNCTIONS.items()}
    for i in reversed(range(wanted.ndim)):
        functions |= {
            f"the softmax over {names[i]} of what was wanted": partial(torch.softmax, dim=i),
            f"what was wanted, summed up along {names[i]}": partial(torch.cumsum, dim=i),
        }
    for name, function in functions.items():
        made = function(wide)
        if bool(made.isfinite().any()) and _agree(got.double(), made, tolerance):
            return f"It is {name}."
    return ""


FUNCTIONS = {
    "the absolute value": torch.abs,
    "the square": torch.square,
    "the square root": torch.sqrt,
    "e to the power": torch.exp,
    "the logarithm": torch.log,
    "1 divided by each number": torch.reciprocal,
    "1 minus each number": lambda wanted: 1 - wanted,
    "the positive part": torch.relu,
    "the whole part": torch.round,
}


def _reordered(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """Whether it is the wanted tensor with its parts along one axis in another order."""
    for i, n in enumerate(wanted.shape):
        if not 2 <= n <= 64 or n * wanted.numel() > LARGEST_SNAPSHOT // 100:
            continue
        came, target = (each.movedim(i, 0).reshape(n, -1) for each in (got, wanted))
        fits = _right(came[:, None].expand(n, n, -1), target.expand(n, n, -1), tolerance).all(dim=2)
        order = fits.int().argmax(dim=1).tolist()
        if bool(fits.any(dim=1).all()) and sorted(order) == list(range(n)) != order:
            first = ", ".join(map(str, order[:6])) + ", ..." * (n > 6)
            return f"The numbers are right, but {names[i]} is in another order: {first}."
    return ""


def _moved(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """Whether each place has what belongs to its neighbour, whatever came in at the end."""
    for i, n in enumerate(wanted.shape):
        if n < 3 or wanted.numel() < 6:
            continue
        for n_to, n_from in ((1, 0), (0, 1)):
            came, target = got.narrow(i, n_to, n - 1), wanted.narrow(i, n_from, n - 1)
            if _agree(came, target, tolerance) and not _agree(
                wanted.narrow(i, n_to, n - 1), target, tolerance
            ):
                one, other = (_index(names[i], str(number)) for number in (n_from, n_to))
                return f"It is moved by one place: what belongs at {one} came at {other}."
    return ""


def _not_finite(got: Tensor, wanted: Tensor, right: Tensor, names: Sequence[str]) -> str:
    if not wanted.dtype.is_floating_point:
        return ""
    for word, bad in (("NaN", got.isnan() & ~wanted.isnan()), ("infinite", got.isinf())):
        bad = bad & ~right
        if bad.any():
            return f"{int(bad.sum())} of {bad.numel()} numbers are {word}{_region(bad, names)}."
    return ""


def _nearly(got: Tensor, wanted: Tensor, tolerance: float) -> str:
    if not wanted.dtype.is_floating_point or not _agree(got, wanted, max(0.01, 10 * tolerance)):
        return ""
    if got.dtype in (torch.float16, torch.bfloat16):
        return f"It is right, but only to the few digits that {_dtype(got)} keeps: stay in float32."
    finite = got.isfinite() & wanted.isfinite()
    largest = (got.double() - wanted.double())[finite].abs().max()
    return f"It is nearly right: no number is off by more than {float(largest):.2g}."


def _wrong_in_part(right: Tensor, names: Sequence[str]) -> str:
    if region := _region(~right, names):
        return f"It is wrong only{region}."
    if region := _between_positions(right, names):
        return f"It is right only{region}."
    for i, name in enumerate(names):
        bad = (~right).movedim(i, 0).flatten(1).any(dim=1) if right.ndim > 1 else ~right
        few = (~bad).nonzero().flatten().tolist()
        if 0 < len(few) <= len(bad) // 2:
            return f"It is right only at {_index(name, _counted(few))}."
    return ""


def _same_along(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """Whether every place along an axis has the same, which it should not."""
    if got.numel() > 2 and bool((got == got.flatten()[0]).all()):
        return f"Every number is {_shown(got.flatten()[0])}."
    for i, n in enumerate(wanted.shape):
        is_same = bool((got == got.narrow(i, 0, 1)).all())
        if n < 2 or not is_same or bool((wanted == wanted.narrow(i, 0, 1)).all()):
            continue
        of = f"every index of {names[i]}" if names[i].startswith("axis ") else f"every {names[i]}"
        for j in range(n):
            if _agree(got.select(i, 0), wanted.select(i, j), tolerance):
                return f"It has at {of} what belongs at {_index(names[i], str(j))}."
        return f"It is the same at {of}; wanted is not."
    return ""


def _sums(got: Tensor, wanted: Tensor, names: Sequence[str]) -> str:
    """Over which axis the numbers sum to 1, where the wanted ones do over one."""

    def axes(tensor: Tensor) -> list[str]:
        wide = tensor.double()
        return [
            names[i]
            for i, n in enumerate(tensor.shape)
            if n > 1 and bool((wide >= -1e-6).all() & ((wide.sum(dim=i) - 1).abs() < 1e-3).all())
        ]

    if wanted.dtype.is_complex or wanted.dtype == torch.bool or not (target := axes(wanted)):
        return ""
    came = axes(got)
    if set(came) & set(target):
        return ""
    if came:
        return f"It sums to 1 over {_listed(came)}; wanted sums to 1 over {_listed(target)}."
    return f"It does not sum to 1 over {_listed(target)}; wanted does."


def _number_kind(got: object, wanted: object, tolerance: float) -> str:
    """What was done to the one wanted number, or at least whether it is too large."""
    came, target = _number(got), _number(wanted)
    if came is None or isinstance(target, bool | complex | None):
        return ""
    if not numpy.isfinite(came):
        return "It is NaN." if came != came else "It is infinite."
    other = f"It is another number: too {'large' if came > target else 'small'}."
    if not numpy.isfinite(target):
        return ""
    if isinstance(target, int) and abs(came - target) == 1:
        return f"It is one too {'many' if came > target else 'few'}."
    if came == 0 or target == 0:
        return other
    if abs(came - target) <= max(0.01, 10 * tolerance) * abs(target):
        return f"It is nearly right: off by {abs(came - target):.2g}."
    for factor in [-1, *range(2, 21)]:
        if abs(came - factor * target) <= tolerance / 10 * abs(came):
            return "The sign is wrong." if factor < 0 else f"It is {factor} times what was wanted."
        if abs(factor * came - target) <= tolerance / 10 * abs(target):
            return f"It is 1/{factor} of what was wanted."
    wide = torch.tensor(float(target), dtype=torch.float64)
    for name, function in FUNCTIONS.items():
        if abs(float(function(wide)) - came) <= tolerance / 10 * abs(came):
            return f"It is {name} of what was wanted.".replace(" each number of what", " what")
    return other


def _order(got: Sequence, wanted: Sequence, tolerance: float) -> str:
    """Which of the wanted entries came, such as "2, 0, 1", where they came in another order."""
    n = len(wanted)
    if not 2 <= n <= 12:
        return ""
    fits = [
        [j for j in range(n) if first_difference(entry, wanted[j], tolerance) is None]
        for entry in got
    ]
    order = [places[0] for places in fits if len(places) == 1]
    in_another = sorted(order) == list(range(n)) != order
    return f"number {_counted(order)}" if in_another else ""


def _scaled_or_shifted(got: Tensor, wanted: Tensor, tolerance: float) -> str:
    """Whether one factor, or one added constant, explains all numbers."""
    if wanted.dtype.is_complex:
        return ""
    factor, shift = _factor_and_shift(got, wanted, tuple(range(wanted.ndim)))
    number = float(factor)
    if not factor.isfinite() or not shift.isfinite():
        return ""
    if number != 0 and _agree(got.double(), wanted * factor, tolerance):
        if abs(number + 1) < 1e-3:
            return "The sign is the other way round."
        whole = 1 < 1 / number < 1000 and abs(1 / number - round(1 / number)) < 1e-3
        return (
            f"It is right up to a factor of {f'1/{1 / number:.3g}' if whole else f'{number:.3g}'}."
        )
    if _agree(got.double(), wanted + shift, tolerance):
        return f"It is off by a constant: {float(shift):.3g} everywhere."
    return ""


def _relation_along(got: Tensor, wanted: Tensor, names: Sequence[str], tolerance: float) -> str:
    """Whether one factor, or one constant, for each line along some axis explains all numbers."""
    if wanted.dtype.is_complex or wanted.dtype == torch.bool or wanted.ndim < 2:
        return ""
    for i in reversed(range(wanted.ndim)):
        if wanted.shape[i] < 3:
            continue
        factor, shift = _factor_and_shift(got, wanted, (i,))
        if not (factor.isfinite() & shift.isfinite()).all():
            continue
        several = [
            f"{', '.join(f'{number:.3g}' for number in each.flatten()[:3].tolist())}, ..."
            for each in (factor, shift)
        ]
        if bool((factor != 0).all()) and _agree(got.double(), wanted * factor, tolerance):
            return f"Along {names[i]} it is right up to a factor: {several[0]}"
        if _agree(got.double(), wanted + shift, tolerance):
            return f"Along {names[i]} it is off by a constant: {several[1]}"
    return ""


def _factor_and_shift(got: Tensor, wanted: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """What to multiply the wanted numbers by, or add to them, to come nearest to what came."""
    finite = got.isfinite() & wanted.isfinite()
    came, target = (each.double().where(finite, 0.0) for each in (got, wanted))
    factor = (came * target).sum(axes, keepdim=True) / target.square().sum(axes, keepdim=True)
    return factor, (came - target).sum(axes, keepdim=True) / finite.sum(axes, keepdim=True)


def _region(wrong: Tensor, names: Sequence[str]) -> str:
    """Such as " where k_pos > q_pos" or " at pos 0", when that says where; else ""."""
    if positions := _between_positions(wrong, names):
        return positions
    parts = []
    for i, name in enumerate(names):
        bad = wrong.movedim(i, 0).reshape(wrong.shape[i], -1).any(dim=1)
        if bad.all():
            continue
        wrong_at = bad.nonzero().flatten().tolist()
        if wrong_at == list(range(wrong_at[0], len(bad))) and len(wrong_at) > 1:
            parts.append(f"from {_index(name, str(wrong_at[0]))} on")
        elif 2 * len(wrong_at) <= len(bad):
            last = ", the last" if wrong_at == [len(bad) - 1] and len(bad) > 2 else ""
            parts.append(f"at {_index(name, _counted(wrong_at))}{last}")
    return f" {' and '.join(parts)}" if parts else ""


def _between_positions(marked: Tensor, names: Sequence[str]) -> str:
    """Such as " where k_pos > q_pos", when most of what lies there is marked, and nothing else."""
    if "q_pos" not in names or "k_pos" not in names or not marked.any():
        return ""
    places = torch.meshgrid(*map(torch.arange, marked.shape), indexing="ij")
    q_pos, k_pos = places[names.index("q_pos")], places[names.index("k_pos")]
    relations = {"=": k_pos == q_pos, ">": k_pos > q_pos, "<": k_pos < q_pos}
    relations |= {"≥": k_pos >= q_pos, "≤": k_pos <= q_pos}
    for sign, there in relations.items():
        mostly = 2 * marked.sum() >= there.sum() > 0
        if mostly and not there.all() and not marked[~there].any():
            return f" where k_pos {sign} q_pos"
    return ""


def _counted(places: Sequence[int]) -> str:
    return ", ".join(map(str, places[:4])) + ", ..." * (len(places) > 4)


def _index(name: str, indices: str) -> str:
    """Such as "pos 3", or "index 3 of axis 0" where the axis has no name."""
    return f"index {indices} of {name}" if name.startswith("axis ") else f"{name} {indices}"


def _first_place(got: Tensor, wanted: Tensor, right: Tensor, names: Sequence[str]) -> str:
    place = tuple((~right).nonzero()[0].tolist())
    where = ", ".join(f"{name} {index}" for name, index in zip(names, place, strict=True))
    where = str(list(place)) if names[0].startswith("axis ") else where
    return (
        f"{int((~right).sum())} of {right.numel()} numbers differ, the first at {where}: "
        f"came {_shown(got[place])}, wanted {_shown(wanted[place])}."
    )


def _shown(number: object) -> str:
    number = number.item() if isinstance(number, Tensor | numpy.generic) else number
    if isinstance(number, bool | int):
        return str(number)
    return f"{number:.3g}".replace("inf", "∞").replace("nan", "NaN")
