"""Numba's cache on disk, for kernels: quick to load from, and never in the way."""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import uuid
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core.caching import CompileResultCacheImpl, FunctionCache, NullCache
from numba.core.runtime import _nrt_python as runtime

_RUN = uuid.uuid4().hex[:12]
_SEAL = 16  # bytes


class KernelCache:
    """Numba's cache of a function, looked for when the function is first compiled.

    Numba looks whether it may write there, which takes 0.2 ms each, and a network needs some
    twenty of more than fifty functions.

    Parameters
    ----------
    function : callable
        What is compiled.
    is_task : bool
        Whether it is only called by its address.
    """

    def __init__(self, function: Callable, is_task: bool) -> None:
        self._find = functools.partial(_find, _OfTask if is_task else _OfKernel, function)

    @functools.cached_property
    def _found(self) -> Any:
        return self._find()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)


def _find(kind: type, function: Callable) -> Any:
    try:
        found = kind(function)
    except RuntimeError:  # no directory to put the cache into can be written
        warn_of_no_cache()
        return NullCache()
    guard(found._cache_file)
    return found


class _Kept(CompileResultCacheImpl):
    """What is kept of a kernel: what Numba keeps, and the names of what its code refers to."""

    def reduce(self, compiled: Any) -> tuple:
        module = compiled.library._final_module
        names = [v.name for v in _values(module) if v.is_declaration]
        names = [name for name in names if not name.startswith("llvm.")]
        return names, compiled.reload_init, super().reduce(compiled)

    def rebuild(self, context: Any, kept: tuple) -> Any:
        names, reload_init, reduced = kept
        for begin in reload_init:  # Numba's threads, which have names, too; twice does no harm
            begin()
        if not _resolve(names):
            context.refresh()
        return super().rebuild(context, reduced)


class _KeptTask(_Kept):
    """The same without the bitcode by which a function is inlined, as nothing inlines a task.

    Numba reads it with every function that it loads, and learns from it what there is in the
    machine code: names suffice.
    """

    def reduce(self, compiled: Any) -> tuple:
        names, reload_init, (library, *others) = super().reduce(compiled)
        name, kind, (machine_code, bitcode) = library
        defined = ir.Module()
        for value in _values(llvm.parse_bitcode(bitcode)):
            if not value.is_declaration:
                variable = ir.GlobalVariable(defined, ir.IntType(8), value.name)
                variable.initializer = ir.Constant(ir.IntType(8), 0)
        bitcode = llvm.parse_assembly(str(defined)).as_bitcode()
        return names, reload_init, ((name, kind, (machine_code, bitcode)), *others)


def _values(module: llvm.ModuleRef) -> list[llvm.ValueRef]:
    return [*module.functions, *module.global_variables]


def _resolve(names: Iterable[str]) -> bool:
    """Return whether all these names stand for something: one that does not ends the process."""
    for name in names:
        if llvm.address_of_symbol(name) is None:
            prefix, _, own = name.partition("NRT_")
            if prefix or own not in runtime.c_helpers:
                return False
            llvm.add_symbol(name, runtime.c_helpers[own])
    return True


class _OfKernel(FunctionCache):
    """Numba's cache without its registries, of which machine code that is there needs nothing.

    Numba fills them before it loads anything: 0.07 s of a process. What they bring that such
    code may refer to has a name, so that it shows if they are needed.
    """

    _impl_class = _Kept

    def load_overload(self, signature: Any, context: Any) -> Any:
        with self._guard_against_spurious_io_errors():
            return self._load_overload(signature, context)


class _OfTask(_OfKernel):
    _impl_class = _KeptTask


def guard(files: Any) -> None:
    """Let no other process, full disk or damaged file stand in the way of a kernel."""
    # Numba numbers the files of a function's variants. Two processes that compile two of
    # them at once take the same number, and then the one's may lie where the index has the
    # other's, for good. Names of each process's own exclude it.
    name = f"{files._index_name.removesuffix('.nbi')}.{_RUN}"
    files._data_name = lambda number: f"{name}-{os.getpid()}.{number}.nbc"
    load, save, dump, load_index = files.load, files.save, files._dump, files._load_index

    def load_sound_index() -> Any:
        if os.path.exists(files._index_path):
            with open(files._index_path, "rb") as file:
                pickle.load(file)  # Numba's version
                _check(file.read())
        return load_index()

    def load_data(name: str) -> Any:
        with open(files._data_path(name), "rb") as file:
            content = file.read()
        _check(content)
        return pickle.loads(content)  # which reads no further than what was dumped

    def dump_and_seal(data: Any) -> bytes:
        content = dump(data)
        return content + _seal(content)

    def load_if_sound(key: Any) -> Any:
        try:
            return load(key)
        except Exception:  # a damaged file may raise anything: compile, then, and write it anew
            return None

    def save_if_possible(key: Any, data: Any) -> None:
        try:
            try:
                save(key, data)
            except OSError:
                raise
            except Exception:  # the index is damaged: begin a new one
                files.flush()
                save(key, data)
        except OSError:
            warn_of_no_cache()

    files.load, files.save = load_if_sound, save_if_possible
    files._load_index, files._load_data, files._dump = load_sound_index, load_data, dump_and_seal


def _seal(content: bytes) -> bytes:
    """Return what tells of content whether a bit of it has changed: LLVM might end the process."""
    return hashlib.blake2b(content, digest_size=_SEAL).digest()


def _check(content: bytes) -> None:
    if content[-_SEAL:] != _seal(content[:-_SEAL]):
        raise ValueError("This file is damaged.")


@functools.cache
def warn_of_no_cache() -> None:
    """Say once that compiled kernels are not kept."""
    warnings.warn(
        "Compiled kernels cannot be kept: no directory for them can be written. Each process "
        "will compile them anew, for ten seconds or so. Set NUMBA_CACHE_DIR to a directory that "
        "can be written.",
        UserWarning,
        stacklevel=2,
    )
