"""Plays every story on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.interpreter import Line, Story, StoryError, duration_s, read
from tests.support.books import Books

STORIES = sorted(Path(__file__).parent.glob("*.ledger"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_goes_as_it_says(books: Books, path: Path):
    story = Story(books)

    for line in read(path):
        story.play(line)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_begins_with_a_comment_and_ends_with_balanced_books(path: Path):
    text = path.read_text(encoding="utf-8")

    assert text.startswith("# ")
    last = read(path)[-1]
    assert (last.verb, last.words) == ("books", ("balanced",))


def test_there_are_at_least_fifteen_stories():
    assert len(STORIES) >= 15


# The interpreter itself: a story that is wrong is told so.


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["grant alice 500", "balance alice posted 499"], "posted is 500, not 499"),
        (["grant alice 500", "open r1 alice hold 501"], "it was refused: insufficient_credit"),
        (["grant alice 500", "open r1 alice hold 40 !insufficient_credit"], "refusal is None, not insufficient_credit"),
        (["grant alice 500", "open r1 alice hold 501 !run_closed"], "it was refused: insufficient_credit"),
        (["grant alice 500", "expire alice", "again"], "is_replay is False, not True"),
        (["again"], "nothing was said yet"),
        (["dance alice"], "there is no verb dance"),
        (["balance alice posted"], "are not pairs"),
        (["advance soon"], "soon is no duration"),
        (["grant alice 5", "lots alice 6"], "lots is ['5'], not ['6']"),
        (["grant alice 5", "house alice sales -6"], "sales is -5, not -6"),
    ],
)
def test_a_story_that_is_wrong_names_its_line(books: Books, tmp_path: Path, lines: list[str], complaint: str):
    path = tmp_path / "wrong.ledger"
    path.write_text("\n".join(lines), encoding="utf-8")
    story = Story(books)
    *before, last = read(path)
    for line in before:
        story.play(line)

    with pytest.raises(StoryError) as caught:
        story.play(last)

    assert complaint in str(caught.value)


def test_words_after_a_hash_are_for_people(tmp_path: Path):
    path = tmp_path / "story.ledger"
    path.write_text("# A story.\n\ngrant alice 5  # five !credits\nclose r1 failed  !run_closed\n", encoding="utf-8")

    assert read(path) == [
        Line("story.ledger:3", "grant", ("alice", "5"), None),
        Line("story.ledger:4", "close", ("r1", "failed"), "run_closed"),
    ]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("40d", 3456000)])
def test_durations_say_their_unit(text: str, seconds: int):
    assert duration_s(text) == seconds
