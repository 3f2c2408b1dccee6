"""Reading a torch file without executing anything in it.

``torch.load(weights_only=True)`` interprets the pickle and lets it ask for an allow-list of names. Two things are
added. The allow-list is ours alone while a file is read: torch's tensors, and the stand-ins of :mod:`inert`. And the
opcodes are looked through first, so that a refusal names what was asked for whatever the pickle protocol, and so that
nothing reaches the places where the interpreter itself can be crashed.
"""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
import threading
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import IO, Any

import torch

from fade_deploy.checkpoints.inert import STAND_INS
from fade_deploy.errors import CheckpointError

__all__ = ["one_line", "torch_file_content"]

_ALLOW_LIST = threading.Lock()
# What torch's restricted unpickler allows by itself; of these families of its own names it judges one by one.
_TORCH_ALLOWS = re.compile(
    r"torch\.(\w+|(_utils|_tensor|cuda|storage)\.\w+|nn\.parameter\.Parameter|serialization\._get_layout)"
    r"|collections\.(Counter|OrderedDict)|builtins\.(bytearray|complex|set)|_codecs\.encode"
)
# Hashing a tuple recurses in C without a guard: a million nested ones end the process (measured with torch 2.13).
# Real files nest three deep.
_DEEPEST_TUPLE = 100
_LEGACY_PICKLES = 5  # magic number, protocol, system, the object, the storage keys (torch < 1.6)
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_TUPLES = frozenset({"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"})

# All that torch, zipfile and pickle were seen to raise on damaged and on crafted input; nothing of ours runs inside.
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def one_line(text: object, *, limit: int = 120) -> str:
    """Text from a file, made fit for an error message: no control characters, no line breaks, not long."""
    shown = str(text)
    shown = shown if shown.isprintable() else ascii(shown)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def torch_file_content(stream: IO[bytes], name: str) -> Any:
    """Whatever ``torch.save`` put into a file, of the zip format or the legacy one, with tensors on the CPU.

    Args:
        stream: The open file, at its start.
        name: What to call it in errors.

    Raises:
        CheckpointError: It asks for a Python object that is not on the allow-list, or is damaged.
    """
    try:
        _look_through(stream, name)
        stream.seek(0)
        return _load(stream)
    except _DAMAGE as error:
        if asked := re.search(r"GLOBAL (\S+)|unrecognized function (.+)", str(error)):
            raise _refusal(name, asked[1] or asked[2]) from error
        # torch wraps its sentence in advice to load without protection, which is not for our users.
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().split("\n")[0] or type(error).__name__
        if reason.startswith("Unsupported operand"):
            raise CheckpointError(
                f"{name}: written with another pickle protocol than torch.save's own; expected protocol 2: re-save the "
                "weights with torch.save(model.state_dict(), 'weights.pth')"
            ) from error
        raise CheckpointError(
            f"{name}: damaged, cut short, or no checkpoint ({one_line(reason)}); "
            "expected a file written by torch.save: copy or download it again"
        ) from error


def _load(stream: IO[bytes]) -> Any:
    # torch's allow-list is one for the whole process: what others allowed in it must not count for this file, and two
    # threads that read files must not meet in it.
    with _ALLOW_LIST:
        others = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        try:
            allowed: list[Any] = [(value, name) for name, value in STAND_INS.items()]
            with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about old storages and protocols: the result is checked anyway
                return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
        finally:
            torch.serialization.add_safe_globals(others)


def _refusal(name: str, asked: str) -> CheckpointError:
    return CheckpointError(
        f"{name}: refused, because its pickle asks for '{one_line(asked)}', which may run code; expected weights only. "
        "On a machine where you trust the file, re-save them: torch.save(model.state_dict(), 'weights.pth')"
    )


def _look_through(stream: IO[bytes], name: str) -> None:
    """Refuse a file from its zip directory and opcodes, before anything is built from them."""
    is_zip = stream.read(4) == b"PK\x03\x04"  # torch's own test; zipfile's would also accept a zip at the end
    stream.seek(0)
    if not is_zip:
        for _ in range(_LEGACY_PICKLES):
            _look_through_pickle(stream, name)
        return
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if any(entry.endswith("constants.pkl") for entry in names):
            raise CheckpointError(
                f"{name}: this is a TorchScript archive, which holds code; expected weights: give the checkpoint that "
                "it was made from"
            )
        pickles = [entry for entry in names if entry.endswith("data.pkl") and entry.count("/") < 2]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise CheckpointError(
                f"{name}: this is a zip archive, but not one that torch.save wrote; expected a checkpoint: unpack it, "
                "or give the .pth file"
            )
        if sum(entry.file_size for entry in entries) > os.fstat(stream.fileno()).st_size:
            raise CheckpointError(
                f"{name}: this zip archive is compressed, which torch.save never does, and may unpack to any size; "
                "re-save it: torch.save(model.state_dict(), 'weights.pth')"
            )
        with archive.open(pickles[0]) as pickled:
            _look_through_pickle(pickled, name)


def _look_through_pickle(stream: IO[bytes], name: str) -> None:
    """Follow the opcodes of one pickle on a stack of (how deep its tuples nest, text), building nothing.

    Raises:
        CheckpointError: It asks for a name that isn't allowed, or nests tuples deeper than the interpreter survives.
    """
    stack: list[tuple[int, str]] = []
    memo: dict[Any, tuple[int, str]] = {}
    marks: list[int] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in _PUTS:
            memo[argument] = stack[-1]
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif opcode.name in _GETS:
            stack.append(memo[argument])
        elif opcode.name == "MARK":
            marks.append(len(stack))
        else:
            below = opcode.stack_before
            if pickletools.markobject in below:
                start = marks.pop() - below.index(pickletools.markobject)
            else:
                start = len(stack) - len(below)
            if start < 0:
                raise pickle.UnpicklingError("the pickle takes more from its stack than it put there")
            taken = stack[start:]
            del stack[start:]
            depth = max((depth for depth, _ in taken), default=0) + (opcode.name in _TUPLES)
            if depth > _DEEPEST_TUPLE:
                raise CheckpointError(
                    f"{name}: refused, because it nests more than {_DEEPEST_TUPLE} tuples; expected weights only: "
                    "re-save them with torch.save(model.state_dict(), 'weights.pth')"
                )
            if opcode.name in ("GLOBAL", "INST"):
                module, _, attribute = str(argument).partition(" ")
                _check_name(module, attribute, name)
            elif opcode.name == "STACK_GLOBAL":
                _check_name(taken[0][1], taken[1][1], name)
            text = argument if isinstance(argument, str) else ""
            stack.extend((depth, text) for _ in opcode.stack_after)


def _check_name(module: str, attribute: str, name: str) -> None:
    # Protocol 2 writes Python 2's names; torch translates them in the same way.
    if (module, attribute) in NAME_MAPPING:
        module, attribute = NAME_MAPPING[module, attribute]
    asked = f"{IMPORT_MAPPING.get(module, module)}.{attribute}"
    if asked not in STAND_INS and not _TORCH_ALLOWS.fullmatch(asked):
        raise _refusal(name, asked)
