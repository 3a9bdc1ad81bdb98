"""The CUDA kernels: they compile for every GPU generation, and (emulated on the CPU, or on a GPU) equal their twins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_transformer
from emulation import COMPILER, EmulatedLauncher

from kernels import operations
from kernels.launch import FILES, OPTIONS, CupyLauncher, functions, has_cupy, source
from kernels.sampling import GREEDY, Sampler, sample
from kernels.sampling_device import Settings
from kernels.weight_only import StoredWeight, linear, store
from worldmodel.engine.cuda.frame_step import FrameStep
from worldmodel.engine.cuda.graph import GraphDecoder
from worldmodel.engine.cuda.kernel_ops import KERNELS, KernelOps, usable
from worldmodel.engine.cuda.ops import LibraryOps
from worldmodel.engine.cuda.ring import Ring
from worldmodel.model.layout import BlockLayout
from worldmodel.tokenizers.image import ImageTokenizer

GPU = torch.cuda.is_available() and has_cupy()
RUNNERS = [
    pytest.param("emulated", marks=pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")),
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not GPU, reason="needs a CUDA device and CuPy")]),
]
SAMPLERS = [GREEDY, Sampler(), Sampler(0.7, 3, 1.0), Sampler(2.0, 0, 1.0), Sampler(1.0, 50, 0.3), Sampler(0.5, 1, 0.9)]


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    return EmulatedLauncher(tmp_path_factory.mktemp("emulated"))


@pytest.fixture(params=RUNNERS)
def runner(request):
    """A launcher and its device."""
    if request.param == "cuda":
        return CupyLauncher(), torch.device("cuda")
    return request.getfixturevalue("emulated"), torch.device("cpu")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("scalar", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@pytest.mark.parametrize("file", FILES)
def test_every_kernel_compiles_for_every_generation(file, scalar, architecture):
    """By NVRTC, the compiler that CuPy uses; no GPU and no driver are needed."""
    core = pytest.importorskip("cuda.core", reason="needs the packages cuda-core and nvidia-cuda-nvrtc")
    options = core.ProgramOptions(std=OPTIONS[0].removeprefix("--std="), arch=architecture)
    binary = core.Program(source(file, scalar), code_type="c++", options=options).compile("cubin")
    for function in functions(file):
        assert function.encode() in binary.code
    with pytest.raises(Exception, match="error"):
        core.Program(source(file) + "\nint broken(", code_type="c++", options=options).compile("cubin")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("codes", [61, 700])
def test_sampling_is_the_cpus(runner, sampler, codes):
    launch, device = runner
    logits = np.random.default_rng(codes).normal(0, 3, (24, codes)).astype(np.float32)
    logits[3, 10:20] = logits[3].max()  # ties
    settings = Settings.empty(device)
    settings.set(sampler, 2**40 + 5, 2**33 + 6)
    places = np.random.default_rng(1).permutation(60)[:24]
    known = torch.full((61,), -1, dtype=torch.int64, device=device)
    operations.sample(launch, torch.from_numpy(logits).to(device), settings, torch.from_numpy(places).to(device), known)
    made = known.cpu().numpy()
    expected = sample(logits, sampler, 2**40 + 5, 2**33 + 6, places)
    # exp may differ in its last bit: a draw on a boundary may fall to either side
    assert (made[places] == expected).sum() >= (24 if sampler.greedy else 23)
    assert (np.delete(made, places) == -1).all()


def ring_of(offsets, groups, kv_heads, blocks, device, dtype, head_dim=64, bits8=False):
    config = tiny_config(offsets=offsets, heads=groups * kv_heads, kv_heads=kv_heads, head_dim=head_dim)
    layout = BlockLayout(config.decode_order())
    ring = Ring.empty(config, layout, device, dtype, bits8)
    torch.manual_seed(0)
    for _ in range(blocks):
        ring.advance()
    shape = (ring.keys.shape[2], kv_heads, head_dim)
    for layer in range(len(ring.keys)):
        keys, values = (torch.randn(shape).to(device, dtype) for _ in range(2))
        ring.write(layer, torch.arange(shape[0], device=device), keys, values)
    return layout, ring


def entries_of(ring, layer=1):
    scales = [None if part is None else part[layer] for part in (ring.key_scales, ring.value_scales)]
    return operations.Entries(ring.keys[layer], ring.values[layer], *scales)


def read(ring):
    return torch.stack([torch.stack(ring.read(layer)) for layer in range(len(ring.keys))]).float()


@pytest.mark.parametrize(
    ("blocks", "groups", "n", "outro", "stop"),
    [(1, 1, 1, 0, 1), (2, 4, 3, 0, 9), (5, 2, 15, 14, 1), (29, 4, 26, 20, 15), (28, 8, 5, 0, 15)],
)
@pytest.mark.parametrize("offsets", [(1, 2), (1, 2, 5, 9)])
@pytest.mark.parametrize("bits8", [False, True], ids=["bf16", "int8"])
def test_attention_is_the_librarys(runner, blocks, groups, n, outro, stop, bits8, offsets):
    """Rings that are filling and that have rolled; passes with and without the outro of the frame before."""
    launch, device = runner
    _, ring = ring_of(offsets, groups, 2, blocks, device, torch.bfloat16, bits8=bits8)
    q = torch.randn(n, 2 * groups, 64).to(device, torch.bfloat16)
    frames = None if ring.gathered is None else ring.gathered.read_by(outro)
    assert (frames is None) == (offsets == (1, 2))
    sizes = (ring.length, ring.window, stop, outro)
    made = operations.attention(launch, q, entries_of(ring), ring.block, *sizes, frames)
    expected = LibraryOps().attention(q.float(), _float(ring), 1, ring.bias(stop, outro, n).float(), stop, outro)
    assert (made.float() - expected).abs().max() < 0.02
    # The test can fail: one slot more is visible, one frame more is there.
    wider = replace(ring, attended=torch.arange(ring.slots + 1, device=device) < ring.slots)
    other = LibraryOps().attention(q.float(), _float(ring), 1, wider.bias(stop + 1, outro, n).float(), stop, outro)
    assert (other - expected).abs().max() > 0.05


def _float(ring):
    keys, values = read(ring).unbind(1)
    return replace(ring, keys=keys, values=values, key_scales=None, value_scales=None, dtype=torch.float32)


@pytest.mark.parametrize("bits8", [False, True], ids=["whole", "int8"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotation_and_cache_write_are_the_librarys(runner, dtype, bits8):
    launch, device = runner
    layout, ring = ring_of((1, 2), 2, 2, 5, device, dtype, head_dim=16, bits8=bits8)
    _, other = ring_of((1, 2), 2, 2, 5, device, dtype, head_dim=16, bits8=bits8)
    before = read(ring)
    n, targets = 7, ring.targets[3:10]
    qkv = torch.randn(n, (4 + 4) * 16).to(device, dtype)
    angles = torch.rand(layout.length, 8, device=device) * 7
    cos, sin = angles.cos()[3:10], angles.sin()[3:10]
    made = operations.rotate_and_store(launch, qkv, cos, sin, targets, entries_of(ring))
    expected = LibraryOps().rotate_and_store(qkv, cos, sin, targets, other, 1)
    near = 1e-5 if dtype == torch.float32 else 0.04
    assert (made - expected).abs().max() < near
    # A number that lies between two steps of int8 may be rounded to either: a step is a 127th of the largest.
    assert (read(ring) - read(other)).abs().max() < near + bits8 * read(other).abs().max() / 127
    changed = (read(ring) - before).abs().amax((1, 2, 4))  # by layer and entry
    assert (changed[1, targets] > 0.5).all()
    assert (changed > 0).sum() == n


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_swiglu_is_the_librarys(runner, dtype):
    launch, device = runner
    gate_up = (4 * torch.randn(5, 2 * 300)).to(device, dtype)
    made, expected = operations.swiglu(launch, gate_up).float(), LibraryOps().swiglu(gate_up.float())
    assert torch.allclose(made, expected, atol=1e-6, rtol=1e-5 if dtype == torch.float32 else 2**-8)


@pytest.mark.parametrize("scale", [1, 3])
def test_pictures_are_the_librarys(runner, scale):
    launch, device = runner
    pixels = (1.5 * torch.randn(3, 6, 150)).to(device)  # some beyond the range
    picture = torch.zeros(6 * scale, 150 * scale, 3, dtype=torch.uint8, device=device)
    operations.to_rgb(launch, pixels, picture)
    assert torch.equal(picture, operations.to_rgb_reference(pixels, scale))


def test_a_whole_frame_by_kernels_has_the_librarys_tokens(runner):
    """All kernels that fit float32, in the frame step, over a ring that rolls."""
    launch, device = runner
    config = tiny_config()
    model = tiny_transformer(config).to(device)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False).to(device)
    kernels = KernelOps(launch, usable(config, torch.float32))
    assert "attention" not in kernels.use
    assert not kernels.use - set(KERNELS)
    ours, library = (GraphDecoder(FrameStep(model, tokenizer, ops), graph=False) for ops in (kernels, None))
    tokens, actions = random_steps(config, 8)
    for decoder in (ours, library):
        decoder.open(list(tokens[:2]), list(actions[:1]))
    for index, action in enumerate(actions):
        sampler = GREEDY if index < 5 else Sampler(1.0, 0, 0.9)
        made, expected = (decoder.decode(action, sampler, 9, index)[0] for decoder in (ours, library))
        assert (made == expected).all(), index
        assert (ours.pixels(made) == library.pixels(expected)).all()


@pytest.mark.parametrize("offsets", [(1, 2), (1, 3)])
def test_a_whole_frame_in_bfloat16_is_near_float32(runner, offsets):
    """All kernels, attention too: forced logits differ from the float32 library's no more than bf16's rounding does."""
    launch, device = runner
    config = tiny_config(offsets=offsets, heads=2, kv_heads=1, head_dim=64, layers=2)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False).to(device)
    tokens, actions = random_steps(config, 7)
    made = {}
    for name, dtype, ops in (
        ("reference", torch.float32, LibraryOps()),
        ("library", torch.bfloat16, LibraryOps()),
        ("kernels", torch.bfloat16, KernelOps(launch)),
    ):
        decoder = GraphDecoder(FrameStep(tiny_transformer(config).to(device, dtype), tokenizer, ops), graph=False)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        made[name] = np.concatenate(
            [decoder.decode(actions[i - 1], GREEDY, 0, i, forced=tokens[i])[1] for i in range(2, 7)]
        )
    errors = {name: np.abs(made[name] - made["reference"]) for name in ("library", "kernels")}
    assert errors["library"].mean() > 0
    assert errors["kernels"].mean() < 1.3 * errors["library"].mean()
    assert errors["kernels"].max() < 2 * errors["library"].max()


@pytest.mark.parametrize("offsets", [(1, 2), (1, 3)])
def test_a_whole_frame_with_an_eight_bit_cache(runner, offsets):
    """It has the tokens and, nearly, the logits of the library on the same cache; both lie near the whole one's."""
    launch, device = runner
    config = tiny_config(offsets=offsets, hidden=64, mlp=64, heads=2, kv_heads=1, head_dim=64, layers=2)
    model = tiny_transformer(config).to(device, torch.bfloat16)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False).to(device)
    tokens, actions = random_steps(config, 7)  # the ring rolls
    made = []
    for ops, cache8 in ((KernelOps(launch), True), (LibraryOps(), True), (LibraryOps(), False)):
        decoder = GraphDecoder(FrameStep(model, tokenizer, ops, cache8=cache8), graph=False)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        made.append(np.concatenate([decoder.decode(actions[i - 1], GREEDY, 0, i, tokens[i])[1] for i in range(2, 7)]))
    kernels, library, whole = made
    assert np.abs(kernels - library).mean() < 0.02 * np.abs(whole).mean()
    assert 0 < np.abs(library - whole).mean() < 0.03 * np.abs(whole).mean()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize(
    ("n", "inputs", "outputs", "added"), [(1, 64, 16, False), (14, 704, 48, True), (41, 128, 32, True)]
)
def test_eight_bit_products_are_the_librarys(runner, kind, n, inputs, outputs, added):
    launch, device = runner
    torch.manual_seed(n)
    weight = store(torch.randn(outputs, inputs).to(device), kind)
    x = torch.randn(n, inputs).to(device, torch.bfloat16)
    rest = torch.randn(n, outputs).to(device, torch.bfloat16) if added else None
    made = operations.linear8(launch, x, weight, rest).float()
    expected = linear(x.float(), weight) + (rest.float() if rest is not None else 0)
    assert torch.allclose(made, expected, rtol=2**-7, atol=2e-3 * inputs**0.5)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_every_byte_is_the_number_it_means(runner, kind):
    """All 256 bytes (without fp8's two NaNs), through the kernel, times one."""
    launch, device = runner
    codes = torch.arange(256, dtype=torch.uint8)
    codes = codes[(codes & 0x7F) != 0x7F][:240] if kind == "fp8" else codes
    values = torch.zeros(len(codes), 64, dtype=torch.uint8)
    values[:, 5] = codes
    weight = StoredWeight(
        values.view(torch.float8_e4m3fn if kind == "fp8" else torch.int8).to(device),
        torch.ones(len(codes), device=device),
    )
    made = operations.linear8(launch, torch.ones(1, 64, device=device, dtype=torch.bfloat16), weight)
    assert (made[0].float() == weight.values[:, 5].float()).all()


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_whole_frame_with_eight_bit_weights(runner, kind):
    """The kernel in the frame step has the tokens and, nearly, the logits of the library on the same 8-bit weights."""
    launch, device = runner
    config = tiny_config(hidden=64, mlp=64, heads=2, kv_heads=1, head_dim=64, layers=2)
    model = tiny_transformer(config).to(device, torch.bfloat16)
    tokenizer = ImageTokenizer(config.image_tokenizer).eval().requires_grad_(False).to(device)
    tokens, actions = random_steps(config, 5)
    made = []
    for ops in (KernelOps(launch, ["linear8"]), LibraryOps()):
        decoder = GraphDecoder(FrameStep(model, tokenizer, ops, kind), graph=False)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        made.append(np.concatenate([decoder.decode(actions[i - 1], GREEDY, 0, i, tokens[i])[1] for i in range(2, 5)]))
    assert np.abs(made[0] - made[1]).mean() < 0.02 * np.abs(made[1]).mean()


def test_unknown_kernels_are_refused(emulated):
    with pytest.raises(ValueError, match="known are attention"):
        KernelOps(emulated, ["warp"])
