"""The notebooks in a real JupyterLab, as a person uses them: all cells are run by the menu, a slider is moved."""

import time

import nbformat
import pytest

pytestmark = pytest.mark.browser

READY_S = 60  # until a kernel has started and answers
RUN_S = 300  # until the last cell has ended; the quickstart takes 25 s on 2 idle cores
ERROR_OUTPUT = '[data-mime-type="application/vnd.jupyter.error"]'
SLIDER_CELL = """
from ipywidgets import IntSlider, interact
from experiments.pairs import SHIPPED_DIR
from experiments.sheets import strips

frames = IntSlider(value=3, min=2, max=6, description="frames")
interact(lambda frames: strips({"source": SHIPPED_DIR / "g-clara.mp4"}, count=frames), frames=frames);
""".strip()


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
    name = "00_quickstart.ipynb"
    run_all_cells(page, lab, name)
    written = [cell for cell in nbformat.read(lab.folder / name, 4).cells if cell.cell_type == "code"]
    assert page.locator(".jp-CodeCell").count() == len(written)
    for source in ("strips({", "mouths({"):
        picture = cell_with(page, source).locator(".jp-OutputArea-output img")
        assert picture.evaluate("image => image.naturalWidth") > 400
    videos = cell_with(page, "videos_side_by_side({").frame_locator("iframe").locator("video")
    assert videos.count() == 3
    videos.first.evaluate(
        "video => new Promise(resolve => video.readyState >= 2 ? resolve() : video.onloadeddata = resolve)"
    )
    assert videos.evaluate_all("all => all.every(video => video.videoWidth > 0 && video.duration > 1)")
    for name, source in {"pictures": "strips({", "mouths": "mouths({", "videos": "videos_side"}.items():
        cell_with(page, source).scroll_into_view_if_needed()
        shot(page, f"quickstart_{name}")


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
