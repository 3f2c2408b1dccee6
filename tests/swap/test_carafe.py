"""The function carafe, replaced in files that hold it in every way that Python has."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from fade_deploy.errors import InputError
from fade_deploy.ops import numpy_oracle
from fade_deploy.swap.carafe import carafe_replaced
from fade_deploy.tolerances import tolerance

# A package like mmcv: its function is an autograd function's apply, and needs a GPU.
PACKAGE = """
import torch


class CARAFEFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features, masks, kernel_size, group_size, scale_factor):
        raise RuntimeError("carafe_forward_impl: implementation for device cpu not found")


carafe = CARAFEFunction.apply


class CARAFE(torch.nn.Module):
    def forward(self, features, masks):
        return carafe(features, masks, 3, 2, 2)


def up(features, masks):
    return carafe(features, masks, 3, 2, 2)
"""

# How a user's file may hold the function; each defines Up(features, masks), K = 3, two groups, scale 2.
FILES = {
    "by its name": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    def forward(self, x, masks):
        return carafe(x, masks, 3, 2, 2)
""",
    "under another name, in a base class": """
from fakecv.ops.carafe import carafe as reassemble_features
class Base(nn.Module):
    def compute(self, x, masks):
        return reassemble_features(x, masks, 3, 2, 2)
class Up(Base):
    def forward(self, x, masks):
        return self.compute(x, masks)
""",
    "as an attribute of a module": """
import fakecv.ops as ops
class Up(nn.Module):
    def forward(self, x, masks):
        return ops.carafe(x, masks, 3, 2, 2)
""",
    "as an attribute of a package": """
import fakecv
class Up(nn.Module):
    def forward(self, x, masks):
        return fakecv.ops.carafe(x, masks, 3, 2, 2)
""",
    "as the autograd function": """
from fakecv.ops.carafe import CARAFEFunction
class Up(nn.Module):
    def forward(self, x, masks):
        return CARAFEFunction.apply(x, masks, 3, 2, 2)
""",
    "in a module made on the way": """
from fakecv.ops.carafe import CARAFE
class Up(nn.Module):
    def forward(self, x, masks):
        return CARAFE()(x, masks)
""",
    "in a function of another file": """
from fakecv.ops.carafe import up
class Up(nn.Module):
    def forward(self, x, masks):
        return [up(x, masks) for _ in range(1)][0]
""",
    "as an instance attribute": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = carafe
    def forward(self, x, masks):
        return self.op(x, masks, 3, 2, 2)
""",
    "as a class attribute": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    op = carafe
    def forward(self, x, masks):
        return self.op(x, masks, 3, 2, 2)
""",
    "as a static method": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    op = staticmethod(carafe)
    def forward(self, x, masks):
        return self.op(x, masks, 3, 2, 2)
""",
    "in a closure": """
from fakecv.ops.carafe import carafe
def make(op):
    class Up(nn.Module):
        def forward(self, x, masks):
            return op(x, masks, 3, 2, 2)
    return Up
Up = make(carafe)
""",
    "as a default": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    def forward(self, x, masks, op=carafe):
        return op(x, masks, 3, 2, 2)
""",
    "as a keyword's default": """
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    def forward(self, x, masks, *, op=carafe):
        return op(x, masks, 3, 2, 2)
""",
    "in a table": """
from fakecv.ops.carafe import carafe
OPS = {"carafe": [carafe]}
class Up(nn.Module):
    def forward(self, x, masks):
        return OPS["carafe"][0](x, masks, 3, 2, 2)
""",
    "behind a property and a decorator": """
import functools
from fakecv.ops.carafe import carafe
def decorated(f):
    @functools.wraps(f)
    def wrapper(*args):
        return f(*args)
    return wrapper
class Up(nn.Module):
    @property
    def op(self):
        return lambda x, masks: carafe(x, masks, 3, 2, 2)
    @decorated
    def forward(self, x, masks):
        return self.op(x, masks)
""",
    "as a copy with keywords and defaults": """
def carafe(x, normed_mask, kernel_size, group=1, up=1):
    raise NotImplementedError
class Up(nn.Module):
    def forward(self, x, masks):
        return carafe(x, masks, kernel_size=3, up=2, group=2)
""",
    "as A2U's function": """
def biupsample_naive(features, masks, kernel_size, group_size, scale_factor):
    raise NotImplementedError
class Up(nn.Module):
    def forward(self, x, masks):
        return biupsample_naive(x, masks, 3, 2, 2)
""",
    "in tuples": """
import collections
from fakecv.ops.carafe import carafe
Ops = collections.namedtuple("Ops", "up scale")
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.ops = ("nearest", (Ops(carafe, 2),))
    def forward(self, x, masks):
        ops = self.ops[1][0]
        return ops.up(x, masks, 3, 2, ops.scale)
""",
    "in a plain object": """
import dataclasses
from fakecv.ops.carafe import carafe
@dataclasses.dataclass(frozen=True)
class Ops:
    up: object
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.ops = Ops(up=carafe)
    def forward(self, x, masks):
        return self.ops.up(x, masks, 3, 2, 2)
""",
    "in a namespace, a dict and a tuple, which hold each other": """
import types
from fakecv.ops.carafe import carafe
OPS = types.SimpleNamespace(table={"ups": (carafe,)})
OPS.table["self"] = OPS
class Up(nn.Module):
    def forward(self, x, masks):
        return OPS.table["self"].table["ups"][0](x, masks, 3, 2, 2)
""",
    "in the class of a plain object": """
from fakecv.ops.carafe import carafe
class Worker:
    def work(self, x, masks):
        return carafe(x, masks, 3, 2, 2)
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.run = Worker().work
    def forward(self, x, masks):
        return self.run(x, masks)
""",
    "in a module of a plain list": """
from fakecv.ops.carafe import carafe
class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = carafe
    def forward(self, x, masks):
        return self.op(x, masks, 3, 2, 2)
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.ups = [nn.ModuleDict({"a": Inner()})]
    def forward(self, x, masks):
        return self.ups[0]["a"](x, masks)
""",
    "in a configuration of attributes": """
from fakecv.ops.carafe import carafe
class AttrDict(dict):
    __getattr__ = dict.__getitem__
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.cfg = AttrDict(ops=AttrDict(up=carafe))
    def forward(self, x, masks):
        return self.cfg.ops.up(x, masks, 3, 2, 2)
""",
    "as an argument of a partial": """
import functools
from fakecv.ops.carafe import carafe
def mean(first, x, masks, *, second):
    return (first(x, masks, 3, 2, 2) + second(x, masks, 3, 2, 2)) / 2
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = functools.partial(mean, carafe, second=carafe)
    def forward(self, x, masks):
        return self.op(x, masks)
""",
    "behind a cache": """
import functools
from fakecv.ops.carafe import carafe
@functools.cache
def chosen(kind):
    return lambda x, masks: carafe(x, masks, 3, 2, 2)
class Up(nn.Module):
    def forward(self, x, masks):
        return chosen("up")(x, masks)
""",
    "as a partial": """
import functools
def carafe(x, normed_mask, kernel_size, group=1, up=1):
    raise NotImplementedError
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.op = functools.partial(carafe, kernel_size=3, group=2)
    def forward(self, x, masks):
        return self.op(x, masks, up=2)
""",
}


@pytest.fixture
def load(monkeypatch):
    """A function that makes a module of source text, beside a package ``fakecv.ops.carafe``."""
    package, ops, carafe_file = (types.ModuleType(name) for name in ("fakecv", "fakecv.ops", "fakecv.ops.carafe"))
    exec(PACKAGE, vars(carafe_file))
    package.ops, ops.carafe = ops, carafe_file.carafe  # as mmcv.ops: the function hides the file of its name
    for module in (package, ops, carafe_file):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def load(source: str, name: str = "their_network") -> types.ModuleType:
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        vars(module).update(nn=nn, torch=torch, F=torch.nn.functional, np=np)
        exec(source, vars(module))
        return module

    return load


def example(groups=2, kernel_size=3, scale=2):
    generator = np.random.default_rng(0)
    features = generator.standard_normal((2, 3 * groups, 3, 5))
    masks = generator.standard_normal((2, groups * kernel_size**2, 3 * scale, 5 * scale))
    return features, masks


@pytest.mark.parametrize("held", FILES)
def test_the_function_is_replaced_wherever_it_is_held_and_is_back_afterwards(held, load):
    model = nn.Sequential(load(FILES[held]).Up())
    features, masks = example()
    inputs = torch.from_numpy(features), torch.from_numpy(masks)
    with carafe_replaced(model) as places:
        given = model[0](*inputs)
    expected = numpy_oracle.reassemble(features, masks, kernel_size=3, scale=2, groups=2)
    np.testing.assert_allclose(given.numpy(), expected, atol=tolerance("NUMPY_FP64").atol, rtol=0)
    assert places
    with pytest.raises((RuntimeError, NotImplementedError)):
        model[0](*inputs)


# Objects of users whose every attribute raises, or runs code of theirs.
ODD_OBJECTS = """
from fakecv.ops.carafe import carafe
class AttrDict(dict):
    __getattr__ = dict.__getitem__
    def items(self):
        raise RuntimeError("items ran")
class Lazy:
    def __getattribute__(self, name):
        raise RuntimeError(f"{name} ran")
class Proxy:
    __class__ = __dict__ = property(lambda self: 1 / 0)
    __hash__ = None
class Raising:
    @property
    def func(self):
        raise RuntimeError("func ran")
    __wrapped__ = __func__ = fget = __name__ = func
    def __call__(self):
        raise RuntimeError("it was called")
    def __eq__(self, other):
        raise RuntimeError("it was compared")
    __hash__ = object.__hash__
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.cfg = AttrDict(a=AttrDict(), lazy=Lazy())
        self.objects = [Lazy(), Proxy(), (Raising(), Proxy()), {Raising(): Lazy(), ("key",): Raising()}]
        self.raising = Raising()
    def forward(self, x, masks):
        return carafe(x, masks, 3, 2, 2)
"""


def test_objects_whose_attributes_raise_are_looked_at_from_outside(load):
    model = load(ODD_OBJECTS).Up()
    features, masks = map(torch.from_numpy, example())
    with carafe_replaced(model) as places:
        assert model(features, masks).shape == (2, 6, 6, 10)
    assert places == ("their_network.carafe",)


def test_a_set_is_not_listed_and_the_attribute_beside_it_is(load):
    model = load("""
from fakecv.ops.carafe import carafe
class Up(nn.Module):
    def __init__(self, op=None):
        super().__init__()
        self.ops, self.up = {carafe}, carafe
""").Up()
    with carafe_replaced(nn.Sequential(model)) as places:
        assert places == ("0.up", "their_network.carafe")


def test_a_chain_of_a_thousand_objects_is_followed(load):
    file = load("""
from fakecv.ops.carafe import carafe
class Node:
    def __init__(self, next):
        self.next = next
class Up(nn.Module):
    def __init__(self):
        super().__init__()
        self.chain = carafe
        for _ in range(2000):
            self.chain = Node(self.chain)
""")
    model = file.Up()
    held = file.carafe
    del file.carafe
    with carafe_replaced(model) as places:
        node = model.chain
        while isinstance(node, file.Node):
            node = node.next
        assert node is not held
    assert len(places) == 1


def test_a_method_of_that_name_is_left_alone(load):
    model = load("""
class Up(nn.Module):
    def carafe(self, x, masks, kernel_size, scale):
        return x
    def forward(self, x, masks):
        return self.carafe(x, masks, 3, 2)
""").Up()
    features, masks = map(torch.from_numpy, example())
    with carafe_replaced(model) as places:
        assert places == ()
        assert model(features, masks) is features


def test_what_is_no_module_is_refused_in_one_line():
    message = r"^the model is a NoneType, expected a torch\.nn\.Module$"
    with pytest.raises(InputError, match=message), carafe_replaced(None):
        pass


def test_a_copy_that_returns_no_tensor_is_refused(load):
    model = load("""
def carafe(x, masks, kernel_size, group=1, up=1):
    return None
class Up(nn.Module):
    def forward(self, x, masks):
        return carafe(x, masks, 3)
""").Up()
    with pytest.raises(InputError, match=r"their_network.carafe: .* check=False"), carafe_replaced(model):
        pass


# A network like FreqFusion: low-pass kernels (K = 5) upsample by 2, high-pass kernels (K = 3) filter at scale 1, both
# in groups, normalised by a softmax and a Hamming window; the kernels are refined by reassemblies of their own logits.
FREQUENCY_NETWORK = """
from fakecv.ops.carafe import carafe


class Fusion(nn.Module):
    def __init__(self, channels=6, width=8, groups=2):
        super().__init__()
        self.groups = groups
        self.compress_high = nn.Conv2d(channels, width, 1)
        self.compress_low = nn.Conv2d(channels, width, 1)
        self.low_pass = nn.Conv2d(width, 25 * groups, 3, padding=1)
        self.high_pass = nn.Conv2d(width, 9 * groups, 3, padding=1)
        for size in (3, 5):
            window = np.outer(np.hamming(size), np.hamming(size))
            self.register_buffer(f"window{size}", torch.tensor(window.reshape(1, 1, -1, 1, 1)))

    def kernels(self, logits, size):
        n, _, h, w = logits.shape
        weights = logits.view(n, self.groups, size * size, h, w).softmax(2) * getattr(self, f"window{size}")
        return (weights / weights.sum(2, keepdim=True)).view(n, -1, h, w)

    def forward(self, high, low):
        a, b = self.compress_high(high), self.compress_low(low)
        high_logits = self.high_pass(a)
        a = 2 * a - carafe(a, self.kernels(high_logits, 3), 3, self.groups, 1)
        low_logits = self.low_pass(a)
        first = self.kernels(low_logits, 5)
        kernels = self.kernels(low_logits + carafe(self.low_pass(b), first, 5, self.groups, 2), 5)
        high_logits = high_logits + carafe(self.high_pass(b), kernels, 5, self.groups, 2)
        up = carafe(low, kernels, 5, self.groups, 2)
        return up + 2 * high - carafe(high, self.kernels(high_logits, 3), 3, self.groups, 1)
"""


def oracle(features, masks, kernel_size, group, scale):
    out = numpy_oracle.reassemble(features.numpy(), masks.numpy(), kernel_size=kernel_size, scale=scale, groups=group)
    return torch.from_numpy(out)


@torch.no_grad()
def test_a_network_like_freqfusion_computes_what_the_loops_compute(load):
    torch.manual_seed(0)
    file = load(FREQUENCY_NETWORK)
    model = file.Fusion().double()
    high, low = torch.randn(1, 6, 6, 8).double(), torch.randn(1, 6, 3, 4).double()
    with carafe_replaced(model):
        given = model(high, low)
    file.carafe = oracle
    np.testing.assert_allclose(given, model(high, low), atol=tolerance("NUMPY_FP64").atol * 100, rtol=0)


def test_torch_export_sees_the_fade_operator(load):
    model = load(FREQUENCY_NETWORK).Fusion().double()
    inputs = torch.randn(1, 6, 6, 8).double(), torch.randn(1, 6, 3, 4).double()
    with carafe_replaced(model):
        program = torch.export.export(model, inputs)
    targets = [str(node.target) for node in program.graph.nodes]
    assert targets.count("fade.reassemble.default") == 5


def test_nested_use_finds_nothing_more_and_the_outer_block_restores(load):
    file = load(FREQUENCY_NETWORK)
    model, held = file.Fusion(), file.carafe
    with carafe_replaced(model) as outer:
        ours = file.carafe
        with carafe_replaced(model) as inner:
            assert file.carafe is ours
        assert file.carafe is ours
    assert file.carafe is held
    assert outer == ("their_network.carafe",)
    assert inner == ()


def test_everything_is_back_after_an_exception(load):
    file = load(FREQUENCY_NETWORK)
    model, held = file.Fusion(), file.carafe
    with pytest.raises(TypeError), carafe_replaced(model):
        model("no tensor", "at all")
    assert file.carafe is held


def test_an_autograd_function_gets_its_inherited_apply_back(load):
    file = load(FILES["as the autograd function"])
    with carafe_replaced(file.Up()):
        assert "apply" in vars(file.CARAFEFunction)
    assert "apply" not in vars(file.CARAFEFunction)


def test_a_model_without_the_function_is_left_alone():
    with carafe_replaced(nn.Sequential(nn.Conv2d(1, 1, 1))) as places:
        assert places == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((9, 1, 2), r"carafe\(kernel_size=9, group=1, scale=2\): kernel_size is 9, expected one of \(1, 3, 5, 7\)"),
        ((5, 1, 3), r"scale is 3, expected one of \(1, 2, 4\)"),
        ((3, 4, 2), r"kernels has shape \[2, 18, 6, 10\], expected \[2, 36, 6, 10\]"),
    ],
)
def test_a_call_outside_the_contract_is_one_clear_line(arguments, message, load):
    file = load(
        "from fakecv.ops.carafe import carafe\nclass Up(nn.Module):\n    def forward(self, *a): return carafe(*a)"
    )
    model = file.Up()
    with carafe_replaced(model), pytest.raises(InputError, match=message):
        model(*map(torch.from_numpy, example()), *arguments)


# As FreqFusion's own copy, for machines without mmcv: it pads by reflection, and prints.
REFLECTING = """
def carafe(x, normed_mask, kernel_size, group=1, up=1):
    print("x", x.shape)
    n, c, h, w = x.shape
    padded = F.pad(x, [kernel_size // 2] * 4, mode="{mode}")
    seen = F.unfold(padded, kernel_size).view(n, -1, h, w)
    seen = F.interpolate(seen, scale_factor=up, mode="nearest").view(n, c, -1, up * h, up * w)
    return (seen * normed_mask.unsqueeze(1)).sum(2)
class Up(nn.Module):
    def forward(self, x, masks):
        return carafe(x, masks, 3, 1, 2)
"""


def test_a_copy_that_computes_something_else_is_refused_unless_told(load, capsys):
    model = load(REFLECTING.format(mode="reflect")).Up()
    with pytest.raises(InputError, match=r"their_network.carafe: .* check=False"), carafe_replaced(model):
        pass
    features, masks = example(groups=1)
    with carafe_replaced(model, check=False):
        given = model(torch.from_numpy(features), torch.from_numpy(masks))
    expected = numpy_oracle.reassemble(features, masks, kernel_size=3, scale=2)
    np.testing.assert_allclose(given.numpy(), expected, atol=tolerance("NUMPY_FP64").atol, rtol=0)
    assert capsys.readouterr().out == ""


def test_a_copy_that_computes_the_same_is_replaced(load):
    model = load(REFLECTING.format(mode="constant")).Up()
    with carafe_replaced(model) as places:
        assert places == ("their_network.carafe",)
