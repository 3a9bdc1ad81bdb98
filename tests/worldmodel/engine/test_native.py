"""The native engine: compiled at first use, exact in float32, the same bits on every path and with any threads."""

import errno
import os
import re
import shutil
import stat
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import random_steps, tiny_config, tiny_tokenizer, tiny_transformer, with_detail, with_signs

import kernels.native_build as library
from kernels.native_build import NativeError, build, cpu_flags, own_paths, usable_paths
from kernels.sampling import GREEDY, Sampler
from worldmodel.config import PRESETS
from worldmodel.engine import choice
from worldmodel.engine.decoder import FrameDecoder, InputTables
from worldmodel.engine.host import native
from worldmodel.engine.host.eager import EagerBackend
from worldmodel.engine.host.native import NativeDecoder, native_problem
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.engine.memory import count_parameters
from worldmodel.measure.random_play import fill_context
from worldmodel.settings import EngineOptions
from worldmodel.types import NO_ACTION, Action
from worldmodel.worlds.neural import NeuralWorld

COMPILER = next(filter(None, map(shutil.which, library.COMPILERS)), None)
PATHS = own_paths()
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
SHAPES = {
    "plain": tiny_config(),
    "far": tiny_config("diagonal-1", (1, 3, 7)),
    "rows": tiny_config("rows", (1, 2, 4)),
    "raster": tiny_config("raster", (1,)),
    "detail": with_detail(tiny_config("diagonal-2", (1, 2, 5))),
    "signs": with_signs(tiny_config("rows", (1, 2, 4))),
    "odd": tiny_config("diagonal-1", (1, 2), hidden=36, mlp=50, heads=3, kv_heads=1, head_dim=10),
    "wide": tiny_config("diagonal-1", (1, 2), hidden=200, mlp=300, heads=4, kv_heads=1, head_dim=72),
    "tiles": tiny_config("rows", (1, 2), hidden=128, mlp=192, heads=4, kv_heads=1, head_dim=64),
    "mineworld": tiny_config(
        rotary="sequence", rotary_theta=(10000.0,), previous_frame=False, action_input=False, place_embedding=False
    ),
}


def eager_of(model):
    return FrameDecoder(model.config, InputTables.of(model), EagerBackend(model))


def played(config, count, seed=0):
    """Tokens and actions, of which two thirds are guided or work."""
    tokens, actions = random_steps(config, count, seed)
    encode = config.action_tokenizer().encode
    for index in range(count):
        if index % 3 == 0:
            actions[index] = encode(NO_ACTION)
        elif index % 3 == 1:
            actions[index] = encode(Action(frozenset({"use", "forward"}), 3.0, -2.0))
    return tokens, actions


def forced_logits(decoder, tokens, actions, sampler, context=2):
    decoder.open(list(tokens[:context]), list(actions[: context - 1]))
    steps = range(context, len(tokens))
    return np.stack([decoder.decode(actions[i - 1], sampler, 0, i, forced=tokens[i])[1] for i in steps])


@needs_compiler
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_gives_the_eager_engines_logits_after_the_ring_has_rolled(shape, guided):
    config = SHAPES[shape]
    model = tiny_transformer(config)
    tokens, actions = played(config, 3 * config.transformer.window + 2)
    sampler = Sampler(guidance=0.7) if guided else GREEDY
    decoder = NativeDecoder(model, 1, guided, int8=False)
    made = forced_logits(decoder, tokens, actions, sampler)
    expected = forced_logits(eager_of(model), tokens, actions, sampler)
    assert abs(made - expected).max() < 1e-4
    assert decoder.filled == config.transformer.window
    changed = tokens.copy()
    changed[-2, 0] = (changed[-2, 0] + 1) % config.image_tokenizer.codebook_size
    assert abs(forced_logits(decoder, changed, actions, sampler) - expected)[-1].max() > 1e-3  # the test can fail


@needs_compiler
@pytest.mark.parametrize(
    "sampler",
    [
        GREEDY,
        Sampler(),
        Sampler(0.7, 5, 1.0, 0.5),
        Sampler(1.5, 0, 1.0, guidance=0.8),
        Sampler(1.0, 3, 0.9),
    ],
    ids=["greedy", "default", "top-k", "guided", "both"],
)
@pytest.mark.parametrize("kind", [lambda config: config, with_detail, with_signs], ids=["one", "detail", "signs"])
def test_float32_draws_the_eager_engines_tokens(sampler, kind):
    config = kind(tiny_config())
    model = tiny_transformer(config)
    tokens, actions = played(config, 40)

    def play(decoder):
        decoder.open(list(tokens[:2]), list(actions[:1]))
        return np.stack([decoder.decode(action, sampler, -5, 2**40 + i)[0] for i, action in enumerate(actions)])

    assert (play(NativeDecoder(model, 1, int8=False)) == play(eager_of(model))).all()


@needs_compiler
@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("shape", ["far", "detail", "signs", "odd", "wide", "tiles"])
def test_every_path_and_any_number_of_threads_give_the_same_bits(shape, int8):
    config = SHAPES[shape]
    model = tiny_transformer(config)
    tokens, actions = played(config, 14)
    sampler = Sampler(0.9, 0, 0.9, 0.6)
    results = []
    for path, threads in [*((path, 1) for path in PATHS), (PATHS[0], 2), (PATHS[0], 3)]:
        decoder = NativeDecoder(model, threads, int8=int8, path=path)
        logits = forced_logits(decoder, tokens, actions, sampler)
        drawn = np.stack([decoder.decode(action, sampler, 3, i)[0] for i, action in enumerate(actions)])
        results.append((logits, drawn))
    for logits, drawn in results[1:]:
        assert logits.tobytes() == results[0][0].tobytes()
        assert (drawn == results[0][1]).all()


@needs_compiler
@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_known_frames_that_are_read_in_one_pass_each_give_the_same_bits_as_group_by_group(shape, int8):
    config = SHAPES[shape]
    window = config.transformer.window
    tokens, actions = played(config, window + 3)
    decoder = NativeDecoder(tiny_transformer(config), 2, int8=int8)
    at_once = forced_logits(decoder, tokens, actions, GREEDY, window)
    by_groups = forced_logits(decoder, tokens, actions, GREEDY, 1)
    assert len(at_once) == 3
    assert (by_groups[-3:] == at_once).all()


@needs_compiler
def test_int8_is_near_to_float32():
    config = with_detail(tiny_config("diagonal-1", (1, 2, 4), hidden=128, mlp=256, head_dim=64))
    model = tiny_transformer(config)
    tokens, actions = played(config, 17)
    sampler = Sampler(guidance=0.5)
    near = forced_logits(NativeDecoder(model, 1), tokens, actions, sampler)
    exact = forced_logits(eager_of(model), tokens, actions, sampler)
    error = np.sqrt(np.mean((near - exact) ** 2)) / exact.std()
    assert 1e-4 < error < 0.03  # it is rounded, and not by much


@needs_compiler
def test_reopening_rebuilds_the_same_context():
    config = tiny_config("diagonal-1", (1, 3))
    model = tiny_transformer(config)
    tokens, actions = played(config, 12)
    decoder = NativeDecoder(model, 1)
    first = forced_logits(decoder, tokens, actions, GREEDY)
    assert (forced_logits(decoder, tokens, actions, GREEDY) == first).all()
    window = config.transformer.window
    decoder.open(list(tokens[:-1]), list(actions[:-2]))
    known = decoder.decode(actions[-2], GREEDY, 0, 0, forced=tokens[-1])[1]
    decoder.open(list(tokens[-1 - window : -1]), list(actions[-1 - window : -2]))
    assert (decoder.decode(actions[-2], GREEDY, 0, 0, forced=tokens[-1])[1] == known).all()
    with pytest.raises(ValueError, match="n - 1 actions"):
        decoder.open(list(tokens), list(actions))


@needs_compiler
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e38, 0.0])
def test_weights_that_are_no_numbers_harm_nothing_else(value):
    config = with_detail(tiny_config())
    model = tiny_transformer(config)
    for parameter in model.parameters():
        parameter.fill_(value)
    tokens, actions = played(config, 6)
    for int8 in (True, False):
        decoder = NativeDecoder(model, 2, int8=int8)
        decoder.open(list(tokens[:2]), list(actions[:1]))
        for sampler in (GREEDY, Sampler(), Sampler(top_k=3, guidance=1.0)):
            drawn = decoder.decode(actions[1], sampler, 0, 0)[0]
            assert drawn.min() >= 0
            assert drawn.max() < config.image_tokenizer.codebook_size


@needs_compiler
def test_a_world_plays_on_it_by_default_and_again_from_its_name(tiny_folder):
    world = NeuralWorld(tiny_folder, EngineOptions(device="cpu", threads=1))
    assert world.engine == "native"
    assert world.notices == ()
    world.reset(1, seed=4)
    made = [world.step(Action(frozenset({"forward"}), yaw=3.0)).tokens for _ in range(5)]
    other = NeuralWorld(tiny_folder, EngineOptions("native", threads=2))
    other.reset(1, seed=4)
    assert (np.stack(made) == [other.step(Action(frozenset({"forward"}), yaw=3.0)).tokens for _ in range(5)]).all()


@needs_compiler
def test_a_large_model_is_played_by_it_too_and_measured_with_a_full_context():
    config = PRESETS["mineworld-300m"]
    assert choice.pick_engine("auto", torch.device("cpu"), config, count_parameters(config)) == "native"
    config = tiny_config("diagonal-1", (1, 3))
    decoder = NativeDecoder(tiny_transformer(config), 1)
    fill_context(decoder, np.random.default_rng(0))
    assert decoder.filled == config.transformer.window


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A cache and a PATH with nothing in them. -> the folder on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(native, "_failed", {})
    cached = (native.compile_problem, native.compiled)
    for function in cached:
        function.cache_clear()
    yield folder
    for function in cached:
        function.cache_clear()


def write_compiler(folder, body):
    """A c++ that says its version and then does `body`."""
    program = folder / "c++"
    program.write_text(f'#!{sys.executable}\nimport sys, time\nif "--version" in sys.argv:\n    sys.exit(0)\n{body}\n')
    program.chmod(0o755)


def test_without_a_compiler_openvino_plays_and_one_sentence_says_why(bare, tiny_folder):
    assert native_problem(tiny_config()) == "there is no C++ compiler (c++, g++, clang++)"
    world = NeuralWorld(tiny_folder, EngineOptions(device="cpu", threads=1))
    assert world.engine == "openvino"
    assert world.notices == (
        "the native engine cannot be had: there is no C++ compiler (c++, g++, clang++); openvino plays",
    )
    with pytest.raises(choice.WorldModelError, match="native engine cannot be had: there is no C\\+\\+ compiler"):
        NeuralWorld(tiny_folder, EngineOptions("native"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('sys.exit("x.cpp:1: error: no such flag")', r"does not compile the decoder \(x.cpp:1: error: no such flag\)"),
        ("sys.exit(3)", r"does not compile the decoder \(no message\)"),
        ('open(sys.argv[sys.argv.index("-o") + 1], "w").write("no library")', "does not load"),
    ],
)
def test_a_broken_compiler_is_named(bare, body, said):
    write_compiler(bare, body)
    problem = native_problem(tiny_config())
    assert re.search(said, problem)
    assert "\n" not in problem
    assert not list(library.cache_folder().glob("*.tmp"))


def test_a_slow_compiler_is_not_waited_for_but_ends_its_work(bare):
    ready = bare / "ready"
    write_compiler(bare, f"import os\nwhile not os.path.exists({str(ready)!r}):\n    time.sleep(0.01)")
    with pytest.raises(NativeError, match=r"still being compiled after 0.05 s"):
        build("portable", 0.05)
    ready.touch()
    assert build("portable").is_file()


def test_pictures_do_not_wait_for_a_slow_compiler(bare):
    ready = bare / "ready"
    write_compiler(bare, f"import os\nwhile not os.path.exists({str(ready)!r}):\n    time.sleep(0.01)")
    tokenizer = tiny_tokenizer()
    painter = choice.painter_of(tokenizer)
    assert not isinstance(painter, NativePainter)
    config = tokenizer.config
    assert painter(np.zeros(config.tokens_per_frame, np.int32)).shape == (config.height, config.width, 3)
    ready.touch()
    assert build(native.best_path()).is_file()


def test_what_a_compiler_left_long_ago_is_cleared_away(bare):
    write_compiler(bare, "pass")
    folder = library.cache_folder()
    folder.mkdir(mode=0o700, parents=True)
    old, new = folder / "old.tmp", folder / "new.tmp"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    build("portable")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_cache_that_others_can_write_or_nobody_is_refused(bare, tmp_path):
    write_compiler(bare, "pass")
    folder = library.cache_folder()
    made = build("portable")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    made.chmod(0o777)
    with pytest.raises(NativeError, match="is a link, belongs to another user or may be written by others"):
        build("portable")
    made.unlink()
    (tmp_path / "elsewhere.so").touch()
    made.symlink_to(tmp_path / "elsewhere.so")
    with pytest.raises(NativeError, match="is a link"):
        build("portable")
    shutil.rmtree(folder)
    folder.write_text("a file where the folder should be")
    with pytest.raises(NativeError, match="cannot be used"):
        build("portable")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_cache_is_named(bare):
    write_compiler(bare, "pass")
    library.cache_folder().mkdir(parents=True, mode=0o500)
    with pytest.raises(NativeError, match="cannot be written"):
        build("portable")


def test_the_path_is_the_best_that_the_processor_has(tmp_path):
    info = tmp_path / "cpuinfo"
    every = {name for path in library.PATHS.values() for name in path.needs if path.machine == "x86_64"}
    info.write_text(f"processor : 0\nflags\t\t: fpu {' '.join(every)}\n\nprocessor : 1\nflags : fpu\n")
    assert usable_paths(cpu_flags(info)) == ["amx", "avx512-vnni", "avx2", "portable"]
    assert usable_paths(frozenset(every - {"amx_int8"})) == ["avx512-vnni", "avx2", "portable"]
    assert usable_paths(frozenset({"avx2", "avx512f"})) == ["avx2", "portable"]
    info.write_text("processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimddp\n")
    assert usable_paths(cpu_flags(info)) == ["neon-dotprod", "portable"]
    assert usable_paths(cpu_flags(tmp_path / "none")) == ["portable"]


@pytest.fixture
def newest(monkeypatch):
    """A processor of this kind that has everything."""
    every = frozenset(name for path in library.PATHS.values() for name in path.needs if path.machine == "x86_64")
    for module in (library, native):
        monkeypatch.setattr(module, "cpu_flags", lambda: every)
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(library, "_ask_for_registers", lambda number: 0)


def test_registers_that_the_system_refuses_leave_the_next_path(bare, newest, monkeypatch):
    assert own_paths() == ["amx", "avx512-vnni", "avx2", "portable"]
    assert native.path_reason() == "the fastest there is"
    monkeypatch.setattr(library, "_ask_for_registers", lambda number: errno.EPERM)
    assert own_paths() == ["avx512-vnni", "avx2", "portable"]
    assert native.best_path() == "avx512-vnni"
    refused = "the system does not give its registers (Operation not permitted)"
    assert native.path_reason() == f"the processor's best (amx: {refused})"
    with pytest.raises(NativeError, match="amx cannot run here: the system does not give its registers"):
        native.compiled("amx")


def test_a_compiler_that_is_too_old_for_a_path_makes_the_next_one(bare, newest, monkeypatch):
    write_compiler(bare, 'if "-mamx-int8" in sys.argv:\n    sys.exit("c++: error: no option -mamx-int8")')
    monkeypatch.setattr(native, "compiled", lambda path: None)  # what that compiler makes is no library
    assert native_problem(tiny_config()) == ""
    assert native.best_path() == "avx512-vnni"
    assert "amx: " in native.path_reason()
    (notice,) = native.path_notices()
    assert notice.startswith("the native engine's path amx cannot be had: ")
    assert notice.endswith("(c++: error: no option -mamx-int8); avx512-vnni plays")


def test_a_model_whose_sums_do_not_fit_is_refused():
    config = tiny_config(offsets=tuple(range(1, 1024)))
    far = replace(config, image_tokenizer=replace(config.image_tokenizer, height=256, width=256))
    assert "this model's rows may see" in native_problem(far)


@needs_compiler
def test_tokens_that_are_none_are_refused_before_they_are_looked_up():
    config = tiny_config()
    decoder = NativeDecoder(tiny_transformer(config), 1)
    tokens, actions = played(config, 3)
    with pytest.raises(AssertionError, match="image tokens"):
        decoder.open([np.full_like(tokens[0], config.image_tokenizer.codebook_size)], [])
    decoder.open(list(tokens[:1]), [])
    with pytest.raises(AssertionError, match="action tokens"):
        decoder.decode(np.zeros_like(actions[0]), GREEDY, 0, 0)
