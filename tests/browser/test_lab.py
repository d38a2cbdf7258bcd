"""The notebooks in a real JupyterLab, as a person uses them: all cells are run by the menu, a slider is moved."""

import time

import nbformat
import pytest

pytestmark = pytest.mark.browser

READY_S = 60  # until a kernel has started and answers
RUN_S = 300  # until the last cell has ended
ERROR_OUTPUT = '[data-mime-type="application/vnd.jupyter.error"]'
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


def wait_for_kernel(page, lab, name: str) -> None:
    """Until the notebook's kernel is idle and the page is connected to it: cells run earlier are dropped."""
    ends = time.monotonic() + READY_S
    while time.monotonic() < ends:
        sessions = page.request.get(f"{lab.url}/api/sessions?token={lab.token}").json()
        kernels = [session["kernel"] for session in sessions if session["path"] == name]
        if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
            break
        page.wait_for_timeout(200)
    else:
        raise TimeoutError(f"no kernel for {name} within {READY_S} s: {kernels}")
    page.locator(".jp-StatusBar-TextItem, .jp-StatusBar-Item", has_text="| Idle").first.wait_for()


def run_all_cells(page, lab, name: str) -> None:
    """Opens a notebook, runs it by the menu and waits for its last cell; a cell's error fails with its text."""
    page.goto(lab.address(name))
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
    wait_for_kernel(page, lab, name)
    page.locator(".lm-MenuBar-item").get_by_text("Run", exact=True).click()
    page.locator('.lm-Menu-item[data-command="runmenu:run-all"]').click()
    page.wait_for_function(
        """error => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')];
            const ended = prompts.every(prompt => /^\\[\\d+\\]:$/.test(prompt.textContent.trim()));
            return ended || document.querySelector(error);
        }""",
        arg=ERROR_OUTPUT,
        timeout=RUN_S * 1000,
        polling=200,
    )
    assert page.locator(ERROR_OUTPUT).all_inner_texts() == []


def cell_with(page, source: str):
    """The code cell whose source holds a text."""
    return page.locator(".jp-CodeCell").filter(has=page.locator(".jp-InputArea", has_text=source))


def test_the_quickstart_runs_to_its_end_and_shows_its_pictures_and_videos(lab, page, shot):
    notebook = lab.folder / "00_quickstart.ipynb"
    written = notebook.read_text()
    notebook.write_text(written.replace("num_inference_steps = 8", "num_inference_steps = 2"))
    assert notebook.read_text() != written
    run_all_cells(page, lab, notebook.name)
    cells = nbformat.reads(written, 4).cells
    assert page.locator(".jp-CodeCell").count() == sum(cell.cell_type == "code" for cell in cells)
    for source, name in {"strips({": "pictures", "mouths({": "mouths"}.items():
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
