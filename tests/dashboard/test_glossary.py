from dashboard.glossary import GLOSSARY, OWN, glossary_of
from dashboard.pages import sections


def test_a_page_reads_its_own_words_first_and_all_others_after_them():
    for page, terms in OWN.items():
        listed = glossary_of(page)
        assert tuple(listed)[: len(terms)] == terms
        assert listed == GLOSSARY


def test_words_are_listed_for_pages_that_there_are():
    assert OWN.keys() <= {page.name for shown in sections().values() for page in shown}
