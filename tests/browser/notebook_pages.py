"""Notebooks in a real JupyterLab: opened, run to the end, looked into."""

import time

READY_S = 60  # until a kernel has started and answers


RUN_S = 300  # until the last cell has ended


ERROR_OUTPUT = '[data-mime-type="application/vnd.jupyter.error"]'


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
