"""Search in a notebook: the figure, and the effect of the controls. test_browser uses a real browser."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cprlib.data.manifest import Manifest
from cprlib.report.explorers.search import known_videos, neighbours, search_explorer, search_figure
from cprlib.search import search, update_index
from tests.report.explorers.test_widgets import control, shown


@pytest.fixture(scope="module")
def index(small_run, toy_manifest, tmp_path_factory):
    """An index of the videos of six classes."""
    folder = tmp_path_factory.mktemp("videos")
    for path in Manifest.read(toy_manifest).table.path[:24]:
        (folder / Path(path).parent.name).mkdir(exist_ok=True)
        (folder / Path(path).parent.name / Path(path).name).symlink_to(path)
    return update_index(folder, small_run / "infonce", tmp_path_factory.mktemp("index"), workers=1)[0]


def test_neighbours_equal_search_and_can_be_limited_to_classes(index, toy_manifest):
    known, video = known_videos(toy_manifest, index), index.videos.path[0]
    assert (known.class_name != "").all() and known.class_name[video] == Path(video).parent.name
    found = neighbours(index, video, 3)
    assert list(found) == ["rgb", "flow", "both"]
    assert found["flow"].path.tolist() == search(index, video, 3, view="flow").path.tolist()
    assert found["both"].path.tolist() == search(index, video, 3).path.tolist()
    narrowed = neighbours(index, video, 9, known=known, class_name=known.class_name.iloc[-1], others=True)
    assert set(narrowed["rgb"].class_name) == {known.class_name.iloc[-1]}
    figure = search_figure(video, neighbours(index, video, 3, known=known), known.class_name[video])
    assert "Both views" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_control_shows_clips_and_a_dropped_file_replaces_the_video(index, toy_manifest):
    box = search_explorer(index, known_videos(toy_manifest, index))
    assert shown(box).count("<img") == 1 + 3 * 5 and "Both views" in shown(box)
    control(box, "top").value = 2
    assert shown(box).count("<img") == 7
    control(box, "a moment of it").value = True
    control(box, "second").value = 99.0
    assert "has no second 99" in shown(box)
    control(box, "a moment of it").value = False
    path = Path(index.videos.path[3])
    about = {"type": "video/mp4", "size": path.stat().st_size, "last_modified": datetime.now(UTC)}
    control(box, "or a file").value = ({"name": "drop<ped.mp4", "content": path.read_bytes(), **about},)
    assert "Query: drop&lt;ped.mp4" in shown(box)
    control(box, "video").value = index.videos.path[5]  # the control used last counts
    assert f"Query: {Path(index.videos.path[5]).name}" in shown(box)
    control(box, "class").value = "any"
