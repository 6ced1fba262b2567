"""The camera of docs/video.md: its pictures arrive whole, and cost no reading."""

import asyncio
import base64
import json
import re

from host_sim.world import ROOT
from tests.e2e.simulation import program, simulate

[EXAMPLE] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "video.md").read_text(), re.DOTALL)
CAMERA = ROOT / "tests" / "e2e" / "fake_camera.py"


def test_pictures_of_a_camera(vm, tmp_path):
    (tmp_path / "camera.py").write_bytes(CAMERA.read_bytes())
    source = EXAMPLE.replace("    px.sleep", '    px.send("n", 1)\n    px.sleep')
    pictures = []

    async def watch(world, placement):
        viewer = world.gateway.live.attach()
        for _ in range(200):
            viewer.ready()
            message = json.loads(await asyncio.wait_for(viewer.next(), 60))
            if message["type"] == "video_frame":
                pictures.append(message)
            if len(pictures) == 12:
                break
        world.gateway.live.detach(viewer)

    outcome = simulate(program(tmp_path, source), vm, 60, watch)
    counters = outcome.world.gateway.counters
    assert counters["video_frames"] >= 12 and counters["video_frames_invalid"] == 0
    assert outcome.verdict.clean and outcome.verdict.stored > 50 and outcome.console == ""
    for picture in pictures:
        jpeg = base64.b64decode(picture["frame"])
        assert (picture["source_id"], picture["camera_id"]) == ("door-1", "front")
        assert (picture["width"], picture["height"], len(jpeg)) == (320, 240, 6000)
        assert len(set(jpeg[100:5900])) == 1, "two pictures in one"
    stamps = [picture["timestamp"] for picture in pictures]
    assert stamps == sorted(stamps) and len(set(stamps)) == 12
