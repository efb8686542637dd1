"""Triton's interpreter without the work that it does again at every call.

Before each call of a ``@triton.jit`` function, from a kernel too, the interpreter goes through all
names of triton.language to put its own functions in the place of the compiler's, though they stand
there since the launch began; before each operation it makes its table of NumPy's types anew, and
for each result it works out the same few shapes. Together that is more than half of the time of a
kernel in the interpreter, and most of the suite's kernels run there. What is computed is not
touched.
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
        _keep_shapes(interpreter.tl.core)


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


def _keep_shapes(core: ModuleType) -> None:
    make_block, make_tensor = core.block_type.__init__, core.tensor.__init__
    blocks, tensors = {}, {}
    own = ("handle", "type", "dtype")  # of a tensor; the rest follows from its type

    def block(self, element_ty, shape):
        sizes = tuple([one.value if isinstance(one, core.constexpr) else one for one in shape])
        key = (element_ty.name, sizes)
        if key in blocks and {*map(type, sizes)} == {int}:  # what is no size is still refused
            vars(self).update(blocks[key])
            self.element_ty = element_ty
        else:
            make_block(self, element_ty, shape)
            blocks[key] = dict(vars(self))

    def tensor(self, handle, type):
        kept = tensors.get(type.name)
        if kept is None:
            make_tensor(self, handle, type)
            tensors[type.name] = {k: v for k, v in vars(self).items() if k not in own}
        else:
            vars(self).update(kept)
            self.handle, self.type, self.dtype = handle, type, type.scalar

    core.block_type.__init__, core.tensor.__init__ = block, tensor
