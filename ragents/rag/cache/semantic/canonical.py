"""The canonical form of a question: what is left when everything is off that two wordings of it may differ in."""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from ragents.rag.cache.semantic import vocabulary as words

NAME = "^"
"""Stands before a word that has a capital inside the sentence: "IT" is no "it"."""
_TOKEN = re.compile(
    r"\^?\d+(?:[.,:/-]\d+)*(?:st|nd|rd|th)?(?![^\W_])|\^?[^\W\d_]+(?:[.'_]?[\w]+)*(?:'s|')?|\^?\d\w*(?:[.]\w+)*|[^\s\w,.?!;:'\"()^]"
)
_UNIT = re.compile(r"\b(\d+(?:[.,]\d+)?) ?(kb|mb|gb|tb|kg|km|mg|ml|cm|mm|ms|hz|khz|mhz|ghz)\b", re.IGNORECASE)
_MILLIONS = re.compile(r"\b(\d+)(?:\.(\d+))? (thousand|million|billion)\b")
_ZEROS = {"thousand": 3, "million": 6, "billion": 9}
_AUXILIARIES = {"is": "be", "are": "be", "am": "be", "was": "was", "were": "was", "did": "did", "do": "", "does": ""}
_KEYWORDS = 6
"""Words up to which a text that is no question asks what something is."""


@dataclass(frozen=True, slots=True)
class Canonical:
    """`asked` is the question word or the auxiliary that a yes/no question begins with, `tense` the auxiliary of a
    question word, `negated` how often "not" was taken out of `words`, `words` the rest in order.
    """

    asked: str
    tense: str
    negated: int
    words: tuple[str, ...]
    lower_case: bool
    """typed without any capital: then a name may lack its own"""
    of_the_moment: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if word.startswith(NAME))

    @property
    def numbers(self) -> tuple[str, ...]:
        return tuple(word for word in self.words if any(c.isdigit() for c in word))


@lru_cache(maxsize=4_096)
def canonical(question: str) -> Canonical:
    text, lower_case = _marked(unicodedata.normalize("NFKC", question).strip())
    of_the_moment = words.MOMENT.search(text) is not None
    text, indirect = _direct(text)
    if found := words.FRONTED.match(text) or words.FRONTED_YEAR.match(text):
        text = f"{found[2]} {found[1]}"
    text = " ".join(_tokens(text))
    for pattern, replacement in words.REWRITES:
        text = pattern.sub(replacement, text, count=1)
    for pattern, replacement in words.PHRASES:
        text = pattern.sub(replacement, text)
    asked, tense, rest = _kind(text.split(), indirect=indirect)
    negated = 0
    if rest.count("not") == 1 and not words.CLAUSES & set(rest):
        rest.remove("not")
        negated = 1
    if asked in ("what", "who") and tense == "be":
        rest = _attribute_last(rest)
    rest = _without_the(rest) if asked else rest
    return Canonical(asked, tense, negated, tuple(_each(rest)), lower_case, of_the_moment)


def _without_the(rest: list[str]) -> list[str]:
    """But for the first word, and what singles out."""
    follows = [*rest[1:], ""]
    return [w for n, w in enumerate(rest) if n == 0 or w != "the" or follows[n] in words.SINGLED]


def same_word(a: str, b: str, *, lower_case: bool) -> bool:
    """Whether two words are one: the same, or singular and plural of a word that is no name."""
    if a == b:
        return True
    if NAME not in (a[0], b[0]):
        return stem(a) == stem(b)
    bare_a, bare_b = a.removeprefix(NAME), b.removeprefix(NAME)
    return lower_case and bare_a == bare_b and bare_a not in words.CAPITALS_COUNT


def stem(word: str) -> str:
    """A noun's singular, a verb's plain form."""
    if word in words.IRREGULAR:
        return words.IRREGULAR[word]
    if word in words.KEPT_PLURALS or len(word) < 4 or word.endswith(("ss", "us", "is", "as", "ics", "ous")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("xes", "ches", "shes", "sses", "zzes")):
        return word[:-2]
    return word.removesuffix("s") if word.isalpha() else word


def _marked(text: str) -> tuple[str, bool]:
    """Lower case, with NAME before each word that had a capital inside the sentence; whether there was none at all."""
    text = text.replace("’", "'").replace("‘", "'")
    text = _UNIT.sub(_unit, text)
    lower_case = text == text.lower() or text == text.upper()
    if text == text.upper():
        return text.lower(), True
    marked = re.sub(
        r"(?<![^\W_])(?<!^)[^\W\d_]\w*",
        lambda found: found[0] if found[0] == found[0].lower() or found[0] in ("I",) else NAME + found[0],
        text,
    )
    # What begins a second sentence, or follows "I" and an apostrophe, has its capital from there.
    marked = re.sub(r"(?<=[.!?:] )\^(?=(?:What|Which|Who|Whom|When|Where|Why|How|Is|Are|Do|Does|Can)\b)", "", marked)
    first = marked.split(" ", 1)[0]
    if len(first) > 1 and first[1:] != first[1:].lower():
        marked = NAME + marked
    lowered = marked.lower()
    for pattern, replacement in words.CONTRACTIONS:
        lowered = pattern.sub(replacement, lowered)
    return lowered, lower_case


def _unit(found: re.Match[str]) -> str:
    """ "4GB" as "4 gb"; "4 Mb" are bits."""
    unit = found[2].lower()
    return f"{found[1]} {unit[0]}bit" if found[2][0].isupper() and found[2].endswith("b") else f"{found[1]} {unit}"


def _direct(text: str) -> tuple[str, bool]:
    """Greetings and thanks off, and "tell me what x is" as "what x is"; whether it was such a question."""
    text = words.CLOSING.sub("", words.OPENING.sub("", text)).rstrip(" ?!.,")
    bare = words.INDIRECT.sub("", text)
    return words.OPENING.sub("", bare), bare != text


def _tokens(text: str) -> list[str]:
    text = re.sub(r"[$](\d[\d.,]*)", r"\1 dollars", text)
    text = re.sub(r"[€](\d[\d.,]*)", r"\1 euros", text)
    text = text.replace("%", " percent ").replace("°c", " celsius ").replace("°^c", " celsius ")
    text = text.replace("°f", " fahrenheit ").replace("°^f", " fahrenheit ")
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"([^\W\d_]+)-(?=\^?[^\W\d_])", lambda m: m[0] if m[1] in words.PREFIXES else f"{m[1]} ", text)
    text = re.sub(r"(?:\^?\bv)(?=\d)", "version ", text)
    found = [_number(word) for word in _TOKEN.findall(text)]
    kept = [word for n, word in enumerate(found) if not _left_out(found, n)]
    return _dates(_MILLIONS.sub(_multiplied, " ".join(kept)).split())


def _left_out(found: list[str], n: int) -> bool:
    """A filler, or an article that says nothing. The one right behind "what is" stays."""
    word = found[n]
    if word in words.FILLERS:
        return True
    before, after = found[n - 1] if n else "", found[n + 1] if n + 1 < len(found) else ""
    if word not in words.ARTICLES or (n == 2 and before in _AUXILIARIES and found[0] in ("what", "who")):
        return False
    if word == "the":
        return after not in words.LATER | words.SINGLED
    is_english = words.QUESTION.match(found[0]) or words.YES_NO.match(found[0])
    return bool(is_english and after) and before not in words.LETTERED and after not in words.COUNTED


def _number(word: str) -> str:
    if word in words.CARDINALS:
        return words.CARDINALS[word]
    if word in words.ORDINALS:
        return words.ORDINALS[word]
    return re.sub(r"^(\d+)(?:st|nd|rd|th)$", r"\1th", word)


def _multiplied(found: re.Match[str]) -> str:
    fraction = found[2] or ""
    zeros = _ZEROS[found[3]]
    return found[1] + fraction + "0" * (zeros - len(fraction)) if len(fraction) <= zeros else found[0]


def _dates(tokens: list[str]) -> list[str]:
    """ "May 3" as "3 May"."""
    for n in range(len(tokens) - 1):
        month, day = tokens[n].removeprefix(NAME), re.sub(r"th$", "", tokens[n + 1])
        if month in words.MONTHS and day.isdigit() and len(day) <= 2:
            tokens[n], tokens[n + 1] = day, tokens[n]
    return tokens


def _kind(tokens: list[str], *, indirect: bool) -> tuple[str, str, list[str]]:
    """What is asked, the auxiliary, and the rest."""
    text = " ".join(tokens)
    if text.startswith("how to "):
        return "how to", "", tokens[2:]
    if words.YES_NO.match(text):
        first = tokens[0]
        return f"whether {_AUXILIARIES.get(first) or ('do' if first == 'does' else first)}", "", tokens[1:]
    if not words.QUESTION.match(text):
        return ("what", "be", ["the", *tokens]) if 2 <= len(tokens) <= _KEYWORDS else ("", "", tokens)
    asked = "what" if tokens[0] == "which" else tokens[0]
    rest = tokens[1:]
    at = [n for n, word in enumerate(rest) if word in _AUXILIARIES]
    if not at or (indirect and len(at) > 1) or (rest[at[0]] in ("do", "did", "does") and at[0] == len(rest) - 1):
        return asked, "", rest
    return asked, _AUXILIARIES[rest.pop(at[0])], rest


def _attribute_last(rest: list[str]) -> list[str]:
    """ "the price of the ticket", "the ticket's price" and "the ticket price" as the last; "the number of users" and
    "the users' number" as "users 's number".
    """
    article, bare = (rest[:1], rest[1:]) if rest[:1] and rest[0] in words.ARTICLES else ([], rest)
    if article in (["a"], ["an"]):
        return ["a", *bare]
    owner = next((n for n, word in enumerate(bare) if word.endswith(("'s", "s'"))), None)
    if owner is not None:
        before, after = [*bare[:owner], bare[owner].removesuffix("'s").removesuffix("'")], bare[owner + 1 :]
        end = _end(after)
        of_it, behind = after[:end], after[end:]
    elif "of" in bare:
        at = bare.index("of")
        end = at + 1 + _end(bare[at + 1 :])
        of_it, before, behind = bare[:at], bare[at + 1 : end], bare[end:]
    else:
        return rest
    if not of_it or not before or stem(of_it[-1]) not in _ATTRIBUTES:
        return rest
    return ["the", *before, *([] if stem(of_it[-1]) in _COMPOUNDS else ["'s"]), *of_it, *behind]


def _end(of: list[str]) -> int:
    return next((n for n, word in enumerate(of) if word in words.PREPOSITIONS), len(of))


def _each(rest: list[str]) -> list[str]:
    """Spelling and synonyms, word by word."""
    spelled = []
    for word in rest:
        if word.startswith(NAME):
            spelled += words.CAPITAL_NAMES.get(word[1:], word).split()
        else:
            american = _american(word)
            spelled += words.SYNONYMS.get(american, words.SYNONYMS.get(stem(american), american)).split()
    return _joined(spelled)


def _joined(spelled: list[str]) -> list[str]:
    """ "data base" as "database"."""
    joined: list[str] = []
    for word in spelled:
        both = (joined[-1] + word).replace(NAME, "") if joined else ""
        if stem(both) in words.JOINED:
            joined[-1] = both
        else:
            joined.append(word[1:] if word[:1] == NAME and word[1:] in words.JOINED else word)
    return joined


def _american(word: str) -> str:
    if len(word) >= 6:
        word = re.sub(r"is(?=(?:e|es|ed|ing|ation|ations|er|ers)$)", "iz", word)
        word = re.sub(r"tre(s?)$", r"ter\1", word)
    if len(word) >= 5:
        word = re.sub(r"our(?=(?:s|ed|ing|ful|ite|ites|able)?$)", "or", word)
    return re.sub(r"^(an|h)ae(?=m)|^(p)ae(?=d)", lambda m: (m[1] or m[2]) + "e", word)


_ATTRIBUTES = {stem(word) for word in words.ATTRIBUTES}
_COMPOUNDS = {stem(word) for word in words.COMPOUNDS}
