"""A world that plays wholly in a tab of a real browser (Debian packages chromium and chromium-driver)."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browser import chromium, run, served
from conftest import random_steps, tiny_config, tiny_transformer, with_detail
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from client.web.folder import write_web
from kernels.sampling import GREEDY, Sampler
from worldmodel.engine.host.native import NativeDecoder
from worldmodel.model.loading import StartScene, load_world_model, save_starts, save_world_model
from worldmodel.tokenizers.image import ImageTokenizer
from worldmodel.types import WorldModelError
from worldmodel.web.stored import with_stored_values

PATIENCE = 120  # seconds; a busy machine needs some
pytestmark = [
    pytest.mark.window,
    pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium here"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Two codes a token, frames with gaps between, and every optional input."""
    path = tmp_path_factory.mktemp("tiny_web")
    options = {"previous_frame": True, "action_input": True, "place_embedding": True}
    config = with_detail(tiny_config(offsets=(1, 2, 4), **options))
    save_world_model(path, config, ImageTokenizer(config.image_tokenizer), tiny_transformer(config))
    tokens, actions = random_steps(config, 4)
    save_starts(path, [StartScene(tokens, actions[:3])])
    return path


@pytest.fixture(scope="module")
def folder(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("web") / "out"
    assert write_web(out, str(checkpoint)) == 0
    return out


def test_the_tab_makes_the_tokens_of_python(checkpoint, folder):
    """Greedy, guided in every other step, over more frames than the context holds."""
    model = load_world_model(checkpoint).transformer
    tokens, actions = random_steps(model.config, 4)
    _, taken = random_steps(model.config, 50, seed=1)
    strengths = [0.0, 0.7] * 25
    decoder = NativeDecoder(with_stored_values(model, 8), 1)
    decoder.open(list(tokens), list(actions[:3]))
    wanted = [
        decoder.decode(action, Sampler(GREEDY.temperature, top_p=1.0, guidance=strength), 7, frame)[0]
        for frame, (action, strength) in enumerate(zip(taken, strengths, strict=True))
    ]
    with served(folder) as address, chromium() as driver:
        driver.get(f"{address}LICENCES.txt")
        made = run(
            driver,
            """const [actions, strengths] = given, made = [];
            const { Game } = await import("/game.js");
            const game = await Game.load(new URL("/", location.href));
            await game.open(0, 7n);
            for (const [step, action] of actions.entries()) {
              const { tokens } = await game.step(action, { temperature: 0, guidance: strengths[step] });
              made.push(Array.from(tokens));
            }
            return [crossOriginIsolated, made];""",
            taken.tolist(),
            strengths,
        )
    assert made[0]
    np.testing.assert_array_equal(made[1], wanted)


def test_a_plain_host_is_enough(folder):
    """No headers: the service worker isolates the page; keys reach the game; weights are fetched once."""
    asked = []
    with served(folder, isolated=False, asked=asked) as address, chromium() as driver:
        wait = WebDriverWait(driver, PATIENCE)

        def told(name):
            return driver.execute_script(f"return document.documentElement.dataset.{name}")

        driver.get(address)
        wait.until(lambda _: told("ready"))
        assert driver.execute_script("return crossOriginIsolated")
        driver.find_element(By.ID, "play").click()
        ActionChains(driver).key_down("w").perform()
        wait.until(lambda _: int(told("frames") or 0) > 3 and driver.find_element(By.ID, "held").text == "forward")
        assert re.search(r"context \d+/\d+$", driver.find_element(By.ID, "speed").text)
        assert driver.find_element(By.ID, "about").text.endswith("in this tab. Licences")
        driver.get(f"{address}index.html")
        wait.until(lambda _: told("ready"))
    assert sum(path.startswith("/transformer.safetensors") for path in asked) == 1


def test_what_is_no_folder_of_ours_is_left_alone(tmp_path, checkpoint):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(WorldModelError, match="holds something else"):
        write_web(tmp_path, str(checkpoint))
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    for out in (tmp_path / "letter.txt/web", Path("/proc/nothing/web")):
        with pytest.raises(WorldModelError, match=f"{out} cannot be written"):
            write_web(out, str(checkpoint))
