"""Building blocks of decoder and towers: weights, projections, norms, rotary embedding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def weight(
    rngs: nnx.Rngs | None,
    shape: tuple[int, ...],
    axes: str,
    scale: float | None = None,
    inputs: int = 0,
):
    """A normal weight, or zeros without `rngs`.

    `axes` names each dimension of `shape` for the mesh ('_' = no name).
    `scale` is the standard deviation, by default 1/√(first dimension). `inputs` is the number of
    leading dimensions that a product contracts; a checkpoint stores them last. With 0 inputs a
    checkpoint stores the weight in this order.
    """
    names = tuple(None if name == '_' else name for name in axes.split())
    assert len(names) == len(shape), f'axes={axes!r} must name each dimension of {shape}'
    scale = shape[0] ** -0.5 if scale is None else scale
    if rngs is None:
        value = jnp.zeros(shape, jnp.float32)
    else:
        value = scale * jax.random.normal(rngs.params(), shape, jnp.float32)
    return nnx.Param(value, axes=names, inputs=inputs)


def constant(value: float, shape: tuple[int, ...], axes: str):
    """A weight with one initial value: biases 0, norms 1."""
    names = tuple(None if name == '_' else name for name in axes.split())
    return nnx.Param(jnp.full(shape, value, jnp.float32), axes=names, inputs=0)


def narrowed(x, dtype):
    """x rounded to `dtype`, once and in every program alike.

    XLA may leave out a cast to bfloat16 between two float32 operations. This rounding stays, so
    that decoding and scoring do not differ by where XLA fuses operations.
    """
    if x.dtype == dtype:
        return x
    kind = jnp.finfo(dtype)
    return jax.lax.reduce_precision(x, kind.nexp, kind.nmant).astype(dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def product(x, w, inputs: int, dtype):
    """x f[..., in…] · w f[in…, out…] over the `inputs` leading dimensions of w, in `dtype`.

    Its gradients are written by hand for the CPU, where XLA keeps the order of operands: the
    derived gradient of w would transpose the cotangent, the wider operand; contracting x with the
    cotangent, in this order, does not. Other backends choose layouts by themselves: for them the
    products are the same ones in either order.
    """
    axes = tuple(range(x.ndim - inputs, x.ndim)), tuple(range(inputs))
    return jax.lax.dot_general(x, w, (axes, ((), ())), preferred_element_type=dtype)


def _product_forward(x, w, inputs, dtype):
    return product(x, w, inputs, dtype), (x, w)


def _product_backward(inputs, dtype, kept, dy):
    x, w = kept
    dy = dy.astype(x.dtype)
    outputs, rows = w.ndim - inputs, tuple(range(x.ndim - inputs))
    axes = tuple(range(dy.ndim - outputs, dy.ndim)), tuple(range(inputs, w.ndim))
    return (
        jax.lax.dot_general(dy, w, (axes, ((), ()))),
        jax.lax.dot_general(x, dy, ((rows, rows), ((), ()))),
    )


product.defvjp(_product_forward, _product_backward)


class Factor(nnx.Module):
    """One of the two matrices of a low-rank adapter (models.lora)."""

    def __init__(self, weight: nnx.Param):
        self.weight = weight

    def __call__(self, x):
        y = product(x, self.weight[...].astype(x.dtype), self.weight.inputs, jnp.float32)
        return narrowed(y, x.dtype)


class Projection(nnx.Module):
    """y = x·W + b, with W of `shape`: the (out, in) matrix of a checkpoint, transposed and split.

    The `inputs` leading dimensions of W are contracted with the last dimensions of x. Sums over
    devices and the bias are added in float32, and the result is rounded once. With an adapter
    (`models.lora.attach`), lora_scale · (x·A)·B is added too.
    """

    def __init__(self, rngs, shape, axes, bias=False, inputs=1):
        fan_in = int(np.prod(shape[:inputs]))
        self.weight = weight(rngs, shape, axes, fan_in**-0.5, inputs)
        outputs = ' '.join(axes.split()[inputs:])
        self.bias = constant(0.0, shape[inputs:], outputs) if bias else None
        self.lora_A, self.lora_B = nnx.data(None), nnx.data(None)
        self.lora_scale = 0.0

    def __call__(self, x):
        y = product(x, self.weight[...].astype(x.dtype), self.weight.inputs, jnp.float32)
        if self.lora_A is not None:
            y = y + self.lora_scale * self.lora_B(self.lora_A(x)).astype(jnp.float32)
        return narrowed(y if self.bias is None else y + narrowed(self.bias[...], x.dtype), x.dtype)


class RMSNorm(nnx.Module):
    """weight · x / rms(x) in float32, rounded once; Qwen2 rounds before the product, too."""

    def __init__(self, width: int, eps: float):
        self.eps = eps
        self.weight = constant(1.0, (width,), '_')

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.eps)
        return narrowed(wide * narrowed(self.weight[...], x.dtype), x.dtype)


class LayerNorm(nnx.Module):
    """Layer norm with scale and bias, in float32."""

    def __init__(self, width: int, eps: float = 1e-5):
        self.eps = eps
        self.weight = constant(1.0, (width,), '_')
        self.bias = constant(0.0, (width,), '_')

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(-1, keepdims=True)
        wide = wide * jax.lax.rsqrt(jnp.mean(wide * wide, -1, keepdims=True) + self.eps)
        return (wide * self.weight[...] + self.bias[...]).astype(x.dtype)


def rotate(x, cos, sin):
    """x with its rotary embedding ('rotate half' layout); cos and sin broadcast against x.

    It is computed in the dtype of cos and sin and rounded once to that of x.
    """
    half = x.shape[-1] // 2
    turned = jnp.concatenate([-x[..., half:], x[..., :half]], -1)
    return narrowed(x * cos + turned * sin, x.dtype)


def stack(make, rngs: nnx.Rngs | None, depth: int):
    """`depth` layers as one module: weights of make(rngs), stacked along a leading layer axis."""
    if rngs is None:
        return jax.vmap(lambda _: make(None), axis_size=depth)(None)
    keys = jax.random.split(rngs.params(), depth)
    return jax.vmap(lambda key: make(nnx.Rngs(params=key)))(keys)
