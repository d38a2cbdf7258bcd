"""The notebooks in a real JupyterLab, as a person uses them: all cells are run by the menu, a slider is moved."""

import nbformat
import pytest
from notebook_pages import cell_with, run_all_cells

pytestmark = pytest.mark.browser
SLIDER_CELL = """
from ipywidgets import IntSlider, interact
from latentsync.lab.options.pairs import SHIPPED_DIR
from latentsync.lab.figures.sheets import strips

frames = IntSlider(value=3, min=2, max=6, description="frames")
interact(lambda frames: strips({"source": SHIPPED_DIR / "g-clara.mp4"}, count=frames), frames=frames);
""".strip()

# The difference of the brightest and the darkest level (0..255) of a video's frame at 1 s, once it is on the screen.
CONTRAST_AT_1_S = """async video => {
    video.scrollIntoView();
    await new Promise((done, failed) => {
        video.requestVideoFrameCallback(done);
        video.onerror = () => failed(new Error(video.error.message));
        video.currentTime = 1;
    });
    const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    const levels = context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 == 1);
    return levels.reduce((a, b) => Math.max(a, b)) - levels.reduce((a, b) => Math.min(a, b));
}"""


def test_the_quickstart_runs_to_its_end_and_shows_its_pictures_and_videos(lab, page, shot):
    notebook = lab.folder / "00_quickstart.ipynb"
    written = notebook.read_text()
    notebook.write_text(written.replace("num_inference_steps = 2", "num_inference_steps = 1"))
    assert notebook.read_text() != written
    run_all_cells(page, lab, notebook.name)
    cells = nbformat.reads(written, 4).cells
    assert page.locator(".jp-CodeCell").count() == sum(cell.cell_type == "code" for cell in cells)
    for source, name in {'strips({"source"': "pictures", "mouths({": "mouths"}.items():
        picture = cell_with(page, source).locator(".jp-OutputArea-output img")
        assert picture.evaluate("image => image.naturalWidth") > 400
        picture.scroll_into_view_if_needed()
        shot(page, f"quickstart_{name}")
    videos = cell_with(page, "videos_side_by_side({").frame_locator("iframe").locator("video").all()
    assert len(videos) == 3
    assert min(video.evaluate(CONTRAST_AT_1_S) for video in videos) > 100
    videos[0].evaluate("video => video.scrollIntoView({block: 'center'})")
    shot(page, "quickstart_videos")


def test_a_slider_that_is_moved_by_keyboard_draws_the_figure_anew(lab, page, shot):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SLIDER_CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.folder / "slider.ipynb")
    run_all_cells(page, lab, "slider.ipynb")
    picture = page.locator(".jp-OutputArea-output img")
    before = picture.get_attribute("src")
    width = picture.evaluate("image => image.naturalWidth")
    page.locator(".widget-slider .noUi-handle").press("ArrowRight")
    page.wait_for_function(
        "before => [...document.querySelectorAll('.jp-OutputArea-output img')].some(image => image.src !== before)",
        arg=before,
    )
    assert page.locator(".widget-readout").inner_text() == "4"
    assert picture.evaluate("image => image.naturalWidth") > width
    shot(page, "slider")
