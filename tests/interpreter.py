"""Triton's interpreter without the work that it does again at every call.

Before each call of a ``@triton.jit`` function, from a kernel too, the interpreter goes through all
names of triton.language to put its own functions in the place of the compiler's, though they stand
there since the launch began; and before each operation it makes its table of NumPy's types anew.
Together that is half of the time of a kernel in the interpreter, and most of the suite's kernels
run there. What is computed is not touched.
"""

from __future__ import annotations

from types import ModuleType


def hasten(interpreter: ModuleType) -> None:
    """``interpreter`` is triton.runtime.interpreter; one of another version, whose functions are
    others, is left as it is: the tests then take longer."""
    names = ("_patch_lang", "_LangPatchScope", "_get_np_dtype", "tl")
    if all(hasattr(interpreter, name) for name in names):
        _patch_once_a_launch(interpreter)
        _keep_types(interpreter)


def _patch_once_a_launch(interpreter: ModuleType) -> None:
    patch, scope = interpreter._patch_lang, interpreter._LangPatchScope
    language = interpreter.tl
    seen: dict[object, tuple[bool, bool]] = {}  # which of the two modules a function sees
    patched: set[tuple[bool, bool]] = set()

    class Scope(scope):
        def restore(self) -> None:  # the end of a launch
            patched.clear()
            super().restore()

    def patch_once(function):
        if function not in seen:
            modules = [v for v in function.__globals__.values() if isinstance(v, ModuleType)]
            seen[function] = (language in modules, language.core in modules)
        if seen[function] in patched:
            return Scope()  # with nothing to restore
        found = patch(function)
        patched.add(seen[function])
        return found

    interpreter._LangPatchScope = Scope  # of the launches: _patch_lang makes its scopes by name
    interpreter._patch_lang = patch_once


def _keep_types(interpreter: ModuleType) -> None:
    of_type = interpreter._get_np_dtype
    known = {}

    def get(dtype):
        scalar = dtype.scalar  # a block has the type of its elements
        if scalar.name not in known:
            known[scalar.name] = of_type(scalar)
        return known[scalar.name]

    interpreter._get_np_dtype = get
