"""Tensors that say they are on a GPU, computed by the CPU under the rules of a GPU."""

from __future__ import annotations

from typing import Any

import torch
from capture import DEVICE, tensors_in
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")

_aten = torch.ops.aten

_COPIES = {_aten.copy_.default, _aten._to_copy.default}
_PICKS = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_WAITS = {
    _aten._local_scalar_dense.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten.equal.default,
    _aten.bincount.default,
    _aten._unique2.default,
}
_FILLS = {_aten.fill_.Tensor, _aten.fill.Tensor, _aten.masked_fill_.Tensor, _aten.masked_fill.Tensor}
_MATH = 0  # of the ways to attend, the one that is made of other operations


class SimulatedTensor(Tensor):
    """A tensor of the device.

    Args:
        values: A CPU tensor with its values and strides.
    """

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor) -> SimulatedTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=GPU,
        )

    def __init__(self, values: Tensor) -> None:
        self.values = values
        DEVICE.memory.add(values)

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(operation, args, kwargs or {})

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # torch then swaps parameters on `Module.to`
        return ["values"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> SimulatedTensor:
        return SimulatedTensor(inner["values"])

    def __repr__(self) -> str:
        return f"{self.values!r} on {GPU}"

    def tolist(self) -> Any:
        DEVICE.wait("tolist")
        return self.values.tolist()

    def record_stream(self, stream: Any) -> None:
        """Do nothing: memory is not given to another stream here."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copied: Tensor = SimulatedTensor(self.values.detach().clone())
        if isinstance(self, nn.Parameter):
            copied = nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be saved as the CPU tensor; a reader says where it goes."""
        values = self.values.detach().clone()
        whole = nn.Parameter(values, self.requires_grad) if isinstance(self, nn.Parameter) else values
        return whole.__reduce_ex__(protocol)


class Operations(TorchDispatchMode):
    """Sees operations that make tensors of the device from none."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(operation, args, kwargs or {})


class Calls(TorchFunctionMode):
    """Sees calls that torch's C++ code would not pass on as operations, and generators before they are unpacked."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("generator"), Generator):
            _check_generator(function, args, kwargs)
        if function in (torch.tensor, torch.as_tensor) and _names_gpu(kwargs.get("device")):
            requires_grad = kwargs.pop("requires_grad", False)
            device = kwargs.pop("device")
            return function(*args, **kwargs).to(device).requires_grad_(requires_grad)
        return function(*args, **kwargs)


class Generator(torch.Generator):
    """A generator that knows whether it is one of the device."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, CPU)
        made.on_gpu = _names_gpu(device)
        return made

    @property
    def device(self) -> torch.device:
        return GPU if self.on_gpu else CPU


def run(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run ``operation`` by the CPU, after the rules have been checked."""
    kwargs = {name: value for name, value in kwargs.items() if name != "pin_memory"}  # a page of the host is a page
    if operation is _aten._pin_memory.default:
        return args[0].clone()
    tensors = tensors_in([*args, *kwargs.values()])
    on_gpu = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
    result_on_gpu = bool(on_gpu) if kwargs.get("device") is None else _names_gpu(kwargs["device"])
    if not on_gpu and not result_on_gpu:
        return operation(*args, **kwargs)
    _check_devices(operation, args, on_gpu, tensors)
    _check_waiting(operation, args, kwargs, result_on_gpu=result_on_gpu)
    _check_determinism(operation, args)
    if operation is _aten._fused_sdp_choice.default:
        return _MATH
    if operation is _aten.is_pinned.default:
        return False
    found = DEVICE.run(operation, _plain(args), {name: _plain(value) for name, value in kwargs.items()})
    if operation is _aten.copy_.default:
        return args[0]
    if not result_on_gpu:
        return found
    found = _on_gpu(found)
    return return_and_correct_aliasing(operation, args, kwargs, found) if on_gpu else found


def _check_devices(operation: Any, args: Any, on_gpu: list[Any], tensors: list[Tensor]) -> None:
    others = [tensor for tensor in tensors if not isinstance(tensor, SimulatedTensor)]
    if not on_gpu or not others or operation in _COPIES:
        return
    if operation in _PICKS:
        of_picked = args[0] if operation is _aten.index.Tensor else (args[0], args[2])
        if all(isinstance(one, SimulatedTensor) or one.dim() == 0 for one in tensors_in(of_picked)):
            return  # places may be on the host
    elif (torch.Tag.pointwise in operation.tags or operation in _FILLS) and all(tensor.dim() == 0 for tensor in others):
        return
    shapes = [tuple(tensor.shape) for tensor in others]
    raise RuntimeError(
        f"Expected all tensors to be on the same device, {GPU}, but of {operation} {shapes} are on the cpu."
    )


def _check_waiting(operation: Any, args: Any, kwargs: Any, *, result_on_gpu: bool) -> None:
    if operation in _WAITS:
        DEVICE.wait(str(operation))
    if operation not in _COPIES:
        return
    source = args[1] if operation is _aten.copy_.default else args[0]
    target_on_gpu = isinstance(args[0], SimulatedTensor) if operation is _aten.copy_.default else result_on_gpu
    if isinstance(source, SimulatedTensor) == target_on_gpu:
        return
    non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
    if not non_blocking or DEVICE.recording is not None:
        DEVICE.wait(f"{operation} from {source.device}")


def _check_determinism(operation: Any, args: Any) -> None:
    """Refuse what has no deterministic kernel on a GPU, of the operations that a network or a loss might use."""
    if not torch.are_deterministic_algorithms_enabled() or torch.is_deterministic_algorithms_warn_only_enabled():
        return
    name = operation._schema.name.removeprefix("aten::")
    if name in ("kthvalue", "histc", "median") or (name.startswith("cumsum") and args[0].is_floating_point()):
        raise RuntimeError(f"{name}_cuda does not have a deterministic implementation, but you set ...")


def _check_generator(function: Any, args: Any, kwargs: Any) -> None:
    generator, device = kwargs["generator"], kwargs.get("device")
    if device is None:
        device = next((tensor.device for tensor in tensors_in(args)), CPU)
    if _names_gpu(device) != generator.on_gpu:
        raise RuntimeError(f"Expected a {device} generator in {function}, but got one of {generator.device}.")
    if DEVICE.recording is not None and not any(generator is known for known in DEVICE.recording.generators):
        raise RuntimeError("A generator that is not registered with the graph cannot be captured.")


def _on_gpu(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_on_gpu(one) for one in value)
    return SimulatedTensor(value) if isinstance(value, Tensor) else value


def _plain(value: Any) -> Any:
    if isinstance(value, SimulatedTensor):
        return value.values
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return CPU if isinstance(value, torch.device) and value.type == "cuda" else value


def _names_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"
