"""Tables in a notebook: nothing of them is cut, and no text becomes markup."""

import pandas as pd

from latentsync.lab.widgets.tables import table_view

LONG = "the voice is silent in 1 frames with a face; 10 are needed, so take a longer clip or another voice"


def test_a_table_shows_long_texts_whole_and_numbers_short():
    table = pd.DataFrame(
        {"pair": ["a", "b"], "value": [0.123456, None], "count": [12345, 7], "note": ["<b>", LONG]}
    ).set_index("pair")
    html = table_view(table).data
    assert LONG in html and "&lt;b&gt;" in html and "<b>" not in html
    assert '<td class="number">0.1235</td><td class="number">12345</td>' in html
    assert '<td>b</td><td class="number">-</td>' in html and "<th>pair</th>" in html
    assert "max-height" in html and html.count("<tr>") == 3


def test_an_index_without_a_name_is_no_column_and_one_of_two_levels_is_two():
    table = pd.DataFrame({"pair": ["a"], "metric": ["m"], "agrees": [True]})
    assert table_view(table).data.count("</th>") == 3
    both = table_view(table.set_index(["pair", "metric"])).data
    assert "<th>pair</th><th>metric</th>" in both and ">True</td>" in both
