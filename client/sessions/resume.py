"""Play that goes on from a moment of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.play.recording import RecordedWorld
from client.sessions.playback import tell_if_cut, usable
from client.sessions.simulation import check_weights, context_at
from recordings.reader import read_session
from worldmodel.types import Neural, Step, WorldModelError


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from a recording, after step `step` (None: its last). A `Moment` of client.play.game."""

    file: Path
    step: int | None = None

    def open(self, world: Neural, seed: int) -> Step:
        """RecordingError or WorldModelError if the recording is not of the world, or has no such step."""
        from worldmodel.worlds.neural import NeuralWorld

        model = world.neural if isinstance(world, RecordedWorld) else world
        assert isinstance(model, NeuralWorld), "a recording is of the neural world itself"
        session = read_session(self.file)
        check_weights(session, model)
        session = usable(session, self.file, model.model.config.image_tokenizer, model.actions)
        tell_if_cut(session, self.file)
        at = len(session.steps) - 1 if self.step is None else self.step
        if not 0 <= at < len(session.steps):
            raise WorldModelError(f"{self.file} has no step {at}: it has {len(session.steps)}, numbered from 0")
        scene = context_at(session, at, model.actions.encode, model.window)
        return world.open(scene, seed, session.steps[at].frame + 1)
