"""The comparison with the real game: its rules by hand, then on trials that the real game plays here."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from scripts import evaluate_against_game
from scripts.evaluate_against_game import Arguments, main
from worldmodel.evaluation.beside_game import run
from worldmodel.evaluation.beside_game.block_rule import STANDS, change_shown, stands
from worldmodel.evaluation.beside_game.neural_model import NeuralModel
from worldmodel.evaluation.beside_game.real_trials import Pose, change_mask, read_trial, really_happened, settled
from worldmodel.evaluation.beside_game.run import AgainstOptions, claim, record_real, run_trials, write_results
from worldmodel.evaluation.beside_game.scores import FALSE_ALARM, QUESTIONS, Result, answers, bars_of, score, scores_of
from worldmodel.evaluation.beside_game.trials import KINDS, MOVES, PACES, SPEEDS, make_trial, name_of_walk
from worldmodel.evaluation.beside_game.view import EYE_HEIGHT, node_mask
from worldmodel.evaluation.beside_game.view_motion import view_turn
from worldmodel.evaluation.metrics.motion import world_weights
from worldmodel.games.luanti import build
from worldmodel.games.luanti.build import missing_packages
from worldmodel.games.luanti.controls import Event
from worldmodel.locking import LOCK_FILE
from worldmodel.settings import EngineOptions
from worldmodel.tokenizers.action import bin_to_camera, camera_to_bin
from worldmodel.types import Action, WorldModelError
from worldmodel.worlds.neural import NeuralWorld

TRIALS = 2
OPTIONS = AgainstOptions(out=None, trials=TRIALS, seed=3)  # type: ignore[arg-type]


def test_a_seed_makes_the_same_trials_and_every_look_away_ends_where_it_began():
    for kind in KINDS:
        assert make_trial(kind, 7, 1) == make_trial(kind, 7, 1)
        assert make_trial(kind, 7, 1) != make_trial(kind, 7, 2)
    for index in range(12):
        for kind in ("dig", "place"):
            trial = make_trial(kind, index, 0)
            assert sum(action.yaw for action in trial.script) == pytest.approx(0)
            turned = np.cumsum([action.yaw for action in trial.script])
            assert np.abs(turned).max() == pytest.approx(45, abs=1)
        back = make_trial("mirror", index, 0)
        assert sum(action.yaw for action in back.script) == 0
        keys = [key for action in back.script for key in action.buttons]
        assert keys.count("forward") == keys.count("back") == (0 if back.variant == "turn" else 5)
    assert {make_trial("turn", index, 0).variant.split()[0] for index in range(4)} == {"right", "left", "down", "up"}
    assert {make_trial("move", index, 0).variant for index in range(5)} == set(MOVES)
    assert {make_trial("pace", index, 0).variant for index in range(3)} == set(PACES)
    assert len({make_trial("place", index, 0).variant for index in range(6)}) == 6


def test_the_model_is_told_what_the_game_did():
    """A camera speed is quantised by the action tokens: these are the centres of bins."""
    for speed in SPEEDS:
        assert bin_to_camera(camera_to_bin(speed)) == pytest.approx(speed, abs=0.08)


def test_a_share_has_wilsons_interval():
    found = score("place", "q", "all", "model", [True] * 30 + [False] * 20)
    assert (found.hits, found.n, found.share) == (30, 50, 0.6)
    # (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) with z = 1.96
    assert (found.low, found.high) == pytest.approx((0.4618, 0.7239), abs=1e-4)
    none = score("place", "q", "all", "model", [False] * 10)
    assert none.low == 0
    assert none.high == pytest.approx(0.2775, abs=1e-4)


def test_a_node_shows_where_the_camera_is_pointed():
    feet = (0.0, 0.0, 0.0)
    ahead = node_mask((0, EYE_HEIGHT, 4), feet, yaw=0, pitch=0, height=112, width=192)
    rows, columns = np.nonzero(ahead)
    # The near face is 3.5 nodes away; the focal length is 56 / tan(35 degrees) = 80 pixels: 23 pixels.
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == pytest.approx((23, 23), abs=2)
    assert (rows.mean(), columns.mean()) == pytest.approx((55.5, 95.5), abs=1)
    faces = node_mask((0, EYE_HEIGHT, 4), feet, 0, 0, 112, 192, edge=5)
    assert faces[56, 96]
    assert ahead[45, 96]
    assert not faces[45, 96]  # where the game draws its outline
    assert 0.3 < faces.sum() / ahead.sum() < 0.7
    assert not node_mask((0, EYE_HEIGHT, -4), feet, 0, 0, 112, 192).any()
    assert node_mask((4, EYE_HEIGHT, 0), feet, 90, 0, 112, 192).sum() == pytest.approx(ahead.sum(), abs=30)
    assert np.nonzero(node_mask((1, EYE_HEIGHT, 4), feet, 0, 0, 112, 192))[1].mean() > 105
    assert np.nonzero(node_mask((0, EYE_HEIGHT, 4), feet, 0, 10, 112, 192))[0].mean() < 48  # looking down: it is above


def test_a_change_shows_in_part_wholly_or_not_at_all():
    mask = np.zeros((112, 192), bool)
    mask[40:70, 80:110] = True
    without = np.full((112, 192, 3), 60, np.uint8)
    shown, half = without.copy(), without.copy()
    shown[40:70, 80:110] = 160
    half[40:70, 80:110] = 110
    assert change_shown(shown, without, shown, mask) == 1
    assert change_shown(without, without, shown, mask) == pytest.approx(0)
    assert change_shown(half, without, shown, mask) == pytest.approx(0.75, abs=0.01)  # 1 - 50^2 / 100^2
    assert change_shown(np.roll(shown, (4, -9), (0, 1)), without, shown, mask) > 0.99  # the view is a little off
    assert change_shown(np.roll(shown, 60, 1), without, shown, mask) < 0.1  # elsewhere is not there


def test_a_block_stands_there_whatever_its_shape_and_a_picture_of_its_colour_shows_none():
    rng = np.random.default_rng(0)
    mask, world = np.zeros((112, 192), bool), np.ones((112, 192), bool)
    mask[40:70, 80:110] = True
    rows, columns = np.mgrid[:112, :192]

    def picture(block: np.ndarray) -> np.ndarray:
        colours = np.where(block[..., None], (150, 110, 70), (60, 110, 30))
        return (colours + rng.integers(-20, 21, (112, 192, 1))).astype(np.uint8)

    without, shown = picture(np.zeros_like(mask)), picture(mask)
    disc = picture((rows - 55) ** 2 + (columns - 95) ** 2 < 15**2)
    small = picture((rows - 55) ** 2 + (columns - 95) ** 2 < 7**2)
    everywhere, elsewhere = picture(np.ones_like(mask)), np.roll(shown, 60, 1)
    told = [stands(frame, without, shown, mask, world) for frame in (shown, np.roll(shown, (4, -9), (0, 1)), disc)]
    assert told == pytest.approx([1, 1, 0.8], abs=0.1)
    told = [stands(frame, without, shown, mask, world) for frame in (without, elsewhere, everywhere, small)]
    assert told == pytest.approx([0, 0, 0, 0.2], abs=0.1)


def test_directions_have_names():
    assert [name_of_walk(*walk) for walk in ((3, 0.5), (-3, 1), (0.2, 2), (1, -2), (0.4, -0.4))] == [
        "forward",
        "back",
        "right",
        "left",
        "stand",
    ]


def test_a_trial_counts_only_if_the_game_did_it():
    still = Pose(0, 10, 0, 0, 40, 3)
    placed = Event("place", "default:wood", 0, 10, 2)
    place, move = make_trial("place", 0, 0), make_trial("move", 0, 0)
    assert move.variant == "forward"
    assert really_happened(place, [still, still], [placed])
    assert not really_happened(place, [still, still], [])
    assert not really_happened(place, [still, still], [placed, placed])
    assert not really_happened(place, [still, replace(still, z=0.5)], [placed])
    assert really_happened(move, [still, replace(still, z=3.0)], [])
    assert not really_happened(move, [still, replace(still, z=0.8)], [])  # something was in the way
    assert not really_happened(move, [still, replace(still, x=3.0)], [])  # it slid along a wall
    walk, sprint, sneak = (make_trial("pace", index, 0) for index in range(3))
    far = replace(still, z=3.1)
    assert [really_happened(trial, [still, far], []) for trial in (walk, sprint, sneak)] == [True, False, True]
    assert really_happened(sprint, [still, replace(still, z=4.8)], [])
    hold = make_trial("hold", 0, 0)
    walk = [replace(still, z=0.4 * step) for step in range(61)]
    assert really_happened(hold, walk, [])
    assert not really_happened(hold, [*walk[:56], *walk[55:56] * 5], [])  # it ran into something at last
    assert not really_happened(hold, [*walk[:1] * 40, *walk[:21]], [])  # it stood before something for long
    assert not really_happened(sneak, [still, replace(still, z=0.1)], [])


def test_a_pace_is_as_far_within_a_third_or_it_is_not():
    def told(forward):
        found = {"truth": {"forward": 4.8}, "model": {"forward": forward}}
        return list(answers(Result("pace-001", "pace", "sprint", found), "model").values())

    assert [told(forward)[0] for forward in (0.0, 3.1, 3.3, 4.8, 7.1, 7.3)] == [False, False, True, True, True, False]


def test_a_held_walk_goes_on_or_it_does_not():
    def told(forward):
        found = {"truth": {"forward": 3.2}, "model": {"forward": forward}}
        return list(answers(Result("hold-001", "hold", "forward", found), "model").values())

    assert [told(forward)[0] for forward in (-3.2, 0.0, 2.5, 2.6, 4.0)] == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, "--trials must be 1"),
        ({"away": 61.0}, "--away must be 0"),
        ({"preset": "moon"}, "grassland"),
        ({"kinds": ("fly",)}, "got fly"),
    ],
)
def test_bad_options_are_told_before_any_work(tmp_path, changes, message):
    with pytest.raises(WorldModelError, match=message):
        AgainstOptions(tmp_path, **changes)


def test_a_missing_checkpoint_or_game_is_told_before_any_work(tmp_path, monkeypatch, tiny_folder):
    with pytest.raises(WorldModelError, match="no world 'nowhere'"):
        main(Arguments("nowhere", tmp_path / "out"))
    monkeypatch.setattr(build, "find_program", lambda *_: None)
    with pytest.raises(WorldModelError, match=r"apt-get install --yes minetest"):
        main(Arguments(str(tiny_folder), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_trials_of_another_sampler_are_not_taken_for_those_of_this_one(tmp_path, monkeypatch, tiny_folder):
    folder, out = tmp_path / "world", tmp_path / "out"
    shutil.copytree(tiny_folder, folder)
    for name, result in (("require_packages", None), ("record_real", out), ("run_trials", []), ("write_results", None)):
        monkeypatch.setattr(evaluate_against_game, name, lambda *_, result=result: result)
    main(Arguments(str(folder), out))
    main(Arguments(str(folder), out))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"sampling": {"guidance": 0.9}}))
    with pytest.raises(WorldModelError, match=r"'guidance': 0.0.*'guidance': 0.9.*delete it"):
        main(Arguments(str(folder), out))


def test_a_checkpoint_continues_the_real_start(tiny_folder):
    world = NeuralWorld(tiny_folder, EngineOptions(engine="eager"))
    model = NeuralModel(world)
    frames = np.random.default_rng(0).integers(0, 255, (6, *model.frame_shape, 3), dtype=np.uint8)
    actions = [Action(yaw=float(degrees)) for degrees in (5, -9, 20, 0, -40)]
    script = [Action(frozenset({"forward"})), Action(pitch=9.0), Action()]
    made = model.play(frames, actions, script, seed=1)
    assert made.shape == (3, *model.frame_shape, 3)
    assert (model.play(frames, actions, script, seed=1) == made).all()
    assert (model.play(frames, actions, script, seed=2) != made).any()
    n = world.window
    assert (model.play(frames[-n:], actions[-(n - 1) :], script, seed=1) == made).all()  # it sees no further back
    turned = [*actions[:-1], Action(yaw=40.0)]
    # The last action before the start counts: not in every draw of so small a model, but in one of these.
    draws = [[model.play(frames, way, script, seed=s) for way in (actions, turned)] for s in range(8)]
    assert any((one != other).any() for one, other in draws)
    assert model.reconstruct(frames).shape == frames.shape


def test_one_process_at_a_time_records_the_real_trials(tmp_path, monkeypatch):
    """Several checkpoints may be tried at once; the trials that they share are written by one of them."""
    held = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    seen = []

    def record(_trials, folder, *_):
        seen.append(subprocess.run([sys.executable, "-c", held, folder / LOCK_FILE], capture_output=True, check=False))

    monkeypatch.setattr(run, "record_trials", record)
    folder = record_real(replace(OPTIONS, out=tmp_path))
    assert seen[0].returncode != 0
    subprocess.run([sys.executable, "-c", held, folder / LOCK_FILE], check=True)


def test_a_folder_of_other_trials_is_refused(tmp_path):
    claim(tmp_path, "settings.json", {"seed": 1}, "choose another --out")
    claim(tmp_path, "settings.json", {"seed": 1}, "choose another --out")
    with pytest.raises(WorldModelError, match=r"'seed': 1.*'seed': 2.*choose another --out"):
        claim(tmp_path, "settings.json", {"seed": 2}, "choose another --out")


def test_a_block_counts_as_kept_only_if_it_was_seen_before_too():
    def result(after: float, back: float, drawn: float = 0.9) -> Result:
        seen = {"stands_control": 0.0, "stands_after": after, "stands_back": back}
        seen |= {"drawn_after": drawn, "drawn_back": drawn}
        return Result("place-000", "place", "default:wood", dict.fromkeys(("truth", *SOURCES), seen))

    appears, stays, alike = QUESTIONS["place"]
    for after, back, expected in ((0.9, 0.9, (True, True)), (0.9, 0.1, (True, False)), (0.1, 0.9, (False, False))):
        found = answers(result(after, back), "model")
        assert (found[appears], found[stays]) == expected
    assert answers(result(0.9, 0.9), "model")[alike]
    assert not answers(result(0.9, 0.9, drawn=0.4), "model")[alike]
    results = [result(0.9, 0.9)] * 6 + [result(0.9, 0.2)] * 4
    (bar,) = bars_of(scores_of(results), 2.5)
    assert (bar["hits"], bar["n"], bar["met"]) == (6, 10, True)
    assert not bars_of(scores_of(results[1:]), 2.5)[0]["met"]
    assert not bars_of(scores_of(results), 1.0)[0]["met"]


SOURCES = ("real", "tokenizer", "model", "frozen")


class Echo:
    """The perfect model: it shows what the real game showed. `frozen`: it shows the start for ever. Counts its plays;
    `fail_at`: the play that is interrupted."""

    frame_shape = (112, 192)

    def __init__(self, real, frozen=False, fail_at=None):
        self.trials = [read_trial(real, trial.name, *self.frame_shape) for trial in OPTIONS.all_trials()]
        self.frozen, self.fail_at, self.plays = frozen, fail_at, 0

    def reconstruct(self, frames):
        return frames

    def play(self, frames, actions, script, seed):
        self.plays += 1
        if self.plays == self.fail_at:
            raise KeyboardInterrupt
        assert len(actions) == len(frames) - 1
        if self.frozen:
            return np.repeat(frames[-1:], len(script), 0)
        (trial,) = (t for t in self.trials if np.array_equal(t.frames[: t.start + 1], frames))
        assert tuple(script) == trial.actions[trial.start :]
        return trial.frames[trial.start + 1 :]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("against")


@pytest.fixture(scope="module")
def real(out):
    return record_real(replace(OPTIONS, out=out))


needs_game = [
    pytest.mark.game,
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_packages()), reason=f"needs: apt-get install {' '.join(missing_packages())}"),
]


# The land is not quite the same each time, and a rule may misread real pictures: of 50 blocks one, of 20 walks none.
MISREAD = 1


class TestWithTheGame:
    pytestmark = needs_game

    def test_what_the_game_did_is_kept_as_a_clip_of_training(self, real):
        trial = read_trial(real, "turn-000", 112, 192)
        assert trial.frames.shape == (len(trial.actions) + 1, 112, 192, 3)
        script = trial.actions[trial.start :]
        assert [round(action.yaw, 2) for action in script] == [SPEEDS[0]] * 4
        turned = (trial.poses[-1].yaw - trial.poses[trial.start].yaw + 180) % 360 - 180
        asked = len(script) * SPEEDS[0]
        assert -0.1 <= turned <= asked + 0.1  # the server is behind, on a busy machine by any number of ticks,
        first, *_, last = trial.frames[trial.start :]
        turn = view_turn(first, last, trial.poses[trial.start].pitch)
        assert turn == pytest.approx((0, asked), abs=0.6)  # the picture is not

    def test_turns_are_read_in_degrees(self, real):
        trial = read_trial(real, "turn-001", 112, 192)
        frames, pitch = trial.frames[trial.start :], trial.poses[trial.start].pitch
        one = view_turn(frames[0], frames[1], pitch)
        three = view_turn(frames[0], frames[3], pitch)
        assert one == pytest.approx((0, -SPEEDS[0]), abs=0.3)
        assert three == pytest.approx((0, -3 * SPEEDS[0]), abs=0.5)

    def test_the_rule_finds_the_change_and_no_other(self, real):
        wrong, world = [], world_weights(112, 192) > 0
        for name in ("place-000", "place-001", "dig-000", "dig-001"):
            trial = read_trial(real, name, 112, 192)
            start, rest = trial.start, settled(trial.start, trial.held)
            mask = change_mask(trial.node, trial.poses[start], 112, 192)
            without, shown, back = trial.frames[start], trial.frames[rest], trial.frames[-1]
            for frame, there in ((back, True), (trial.frames[0], False)):
                off = np.roll(frame, (2, 5), (0, 1))  # about 4 degrees
                told = [stands(picture, without, shown, mask, world) >= STANDS for picture in (frame, off)]
                wrong += [(name, there)] * (told != [there, there])
        assert len(wrong) <= MISREAD, wrong

    def test_a_perfect_model_does_all_and_a_frozen_one_nothing(self, out, real):
        options = replace(OPTIONS, out=out)
        perfect = run_trials(options, real, Echo(real), out / "perfect")
        frozen = run_trials(options, real, Echo(real, frozen=True), out / "frozen")
        assert len(perfect) == TRIALS * len(KINDS)
        misread = []
        for result in perfect:
            assert answers(result, "model") == answers(result, "real")
            told = answers(result, "model")
            if told.pop(FALSE_ALARM, False) or not all(told.values()):
                misread.append((result.name, result.measures))
        assert len(misread) <= MISREAD, misread
        seen = [(result.name, result.measures) for result in frozen if any(answers(result, "model").values())]
        assert len(seen) <= MISREAD, seen

    def test_an_interrupted_run_goes_on_where_it_stopped(self, out, real):
        options, folder = replace(OPTIONS, out=out), out / "interrupted"
        with pytest.raises(KeyboardInterrupt):
            run_trials(options, real, Echo(real, fail_at=4), folder)
        again = Echo(real)
        results = run_trials(options, real, again, folder)
        assert again.plays == len(results) - 3
        assert not list(folder.glob("*.tmp"))
        done = Echo(real)
        assert run_trials(options, real, done, folder) == results
        assert done.plays == 0
        old = {"truth": {"node": "default:dirt"}, **{source: {"control": 0.0} for source in SOURCES}}
        (folder / "place-000.json").write_text(json.dumps(old))
        with pytest.raises(WorldModelError, match=r"place-000\.json .* older version .* remove it"):
            run_trials(options, real, done, folder)
        (folder / "place-000.json").unlink()
        (folder / "place-001.json").write_text('{"truth": {}')
        with pytest.raises(WorldModelError, match=r"place-001\.json holds no measures .* remove it"):
            run_trials(options, real, done, folder)

    def test_the_real_side_is_played_once(self, out, real, monkeypatch):
        monkeypatch.setattr(build, "find_program", lambda *_: None)  # no game any more
        assert record_real(replace(OPTIONS, out=out)) == real
        with pytest.raises(WorldModelError, match="--seed"):
            record_real(replace(OPTIONS, out=out, seed=4))

    def test_the_results_are_a_table_scores_and_a_page(self, out, real):
        folder = out / "perfect"
        results = run_trials(replace(OPTIONS, out=out), real, Echo(real), folder)
        write_results(folder, results, {"checkpoint": "<perfect>", "seed": 3})
        values = json.loads((folder / "scores.json").read_text())
        assert values["bars"][0]["met"] is True
        assert values["amounts"]["turn"]["real"]["error_degrees_a_step"] < 0.3
        with (folder / "trials.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 5 * len(results)
        assert rows[0]["trial"] == "turn-000"
        page = (folder / "page.html").read_text()
        assert page.count("data:image/jpeg;base64,") == len(results)
        assert "&lt;perfect&gt; against the real game" in page
        assert "://" not in page  # base64 has no colon: letters alone may come about by chance
