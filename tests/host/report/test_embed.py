import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.report.embed import embedded_json, embedded_script, policy

TEXTS = st.text(st.characters(exclude_categories=[]))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | TEXTS, lambda part: st.lists(part) | st.dictionaries(TEXTS, part)
    )
)
def test_json_comes_back_and_can_stand_anywhere(value: object) -> None:
    text = str(embedded_json(value))
    assert json.loads(text) == value
    assert not set("<>&\u2028\u2029\r\n\x00") & set(text)
    text.encode("utf-8")


def test_readable_scripts_of_the_world_stay_short() -> None:
    assert embedded_json(["日本", "é"]) == '["日本","é"]'


def test_a_number_that_json_has_not_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embedded_json([math.nan])


@pytest.mark.parametrize("script", ["x = '</script>'", "</SCRIPT", "<!-- x"])
def test_a_script_that_would_end_itself_is_our_mistake(script: str) -> None:
    with pytest.raises(AssertionError, match="would end its own element"):
        embedded_script(script)


def test_without_scripts_none_may_run() -> None:
    assert "script" not in policy([], files=False)
    assert policy([], files=False).startswith("default-src 'none'")
